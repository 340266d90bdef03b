"""Indexes of a workspace's spaces: built, brought up to date, and searched.

Where there is no index that belongs to the stored vectors (``files`` says when it does) and is
of the metric that is asked for, search compares with every stored vector: slower, never wrong.
Filtered search compares with the vectors that pass, at every size: see ``faiss_index`` for why.
"""

import logging
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pyarrow as pa

from usad_workbench.core.errors import ShapeError, StoreError
from usad_workbench.core.metrics import (
    Metric,
    check_k,
    check_metric,
    nearest,
    nearest_rows,
    query_of,
)
from usad_workbench.core.progress import Progress, no_progress, part_of
from usad_workbench.core.storage.vector_reading import rows_of
from usad_workbench.core.storage.vector_tables import digest_of, together
from usad_workbench.core.storage.workspace import Embeddings, FloatArray, SearchHits, Workspace
from usad_workbench.indexes.building import Built, add_in_blocks, build_index, tuned
from usad_workbench.indexes.faiss_index import VectorIndex
from usad_workbench.indexes.files import Opened, open_index, save_index
from usad_workbench.indexes.hits import Ids
from usad_workbench.indexes.opened import OpenSpace, open_space, rows_where
from usad_workbench.indexes.plans import BuildConfig, Kind
from usad_workbench.indexes.stored import ArrayVectors, StoredVectors

logger = logging.getLogger(__name__)

BLOCK_ROWS = 16_384
"""Vectors that are read from the database at a time, where there is no array of them."""
ATTEMPTS = 3
"""How often an index is begun again because its vectors were replaced meanwhile."""


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexReport:
    """An index as it now is."""

    encoder: str
    layer: int
    pooling: str
    kind: str
    metric: str
    n: int
    bytes: int
    is_new: bool
    """Whether anything was built, added or taken out."""
    reason: str
    """What was chosen and why, in words."""
    target_recall: float
    tuned_recall: float
    """Of the queries that it was tuned on; ``evaluate_index`` measures it on others."""


def update_index(
    workspace: Workspace,
    encoder: str,
    layer: int,
    pooling: str = "mean",
    kind: Kind = "auto",
    *,
    metric: Metric | None = None,
    config: BuildConfig | None = None,
    progress: Progress = no_progress,
) -> IndexReport:
    """Builds the index of a space, or adds the vectors that it misses and takes out what is gone.

    Args:
        workspace: Holds the embeddings; the file goes to its folder ``indexes``.
        encoder: Name of the encoder.
        layer: 0 enters the first block, negative counts from the end.
        pooling: ``mean`` or ``native``.
        kind: ``flat`` is exact, ``ivf``, ``ivfpq`` and ``hnsw`` are faster; ``auto`` keeps the
            kind that is there, else chooses by the number of vectors.
        metric: ``cosine``, ``inner_product`` or ``l2``; that of the index that is there, else
            the cosine, where none is named.
        config: The recall that is to be reached, the memory and the device.
        progress: Called while it is trained, filled and tuned.

    Returns:
        The index as it is now, what was chosen for it and why.

    Raises:
        UnknownNameError: a space that is not there.
        ConfigError: a metric or device that cannot be used.
        MissingExtraError: FAISS is not installed.
        StoreError: vectors that are replaced again and again while they are read.
        FileError: a folder that cannot be written.
    """
    config = config or BuildConfig()
    space = workspace.space(encoder, layer, pooling)
    old = open_index(workspace, space)
    measure: Metric = old.index.metric if metric is None and old.index else metric or "cosine"
    check_metric(measure)
    if old.index is not None and not _is_as_asked(old, kind, measure, config.target_recall):
        old = Opened()
    if old.index is not None and old.settings is not None and not old.is_behind:
        built = Built(index=old.index, settings=old.settings)
        return _report(workspace, encoder, space.layer, pooling, built, old.bytes, is_new=False)
    if old.problem and not old.is_behind:
        logger.warning("%s It is built again.", old.problem)
    for _ in range(ATTEMPTS):
        stored = workspace.embeddings(encoder, layer, pooling)
        built = _changed(old, stored, config, progress) or build_index(
            stored.segment_ids,
            stored.vectors,
            kind=kind,
            metric=measure,
            config=config,
            progress=progress,
        )
        path = save_index(workspace, stored.space, built)
        if path is not None:
            size = path.stat().st_size
            return _report(workspace, encoder, space.layer, pooling, built, size, is_new=True)
        old = Opened()  # what was added to is not as its file is any more
    raise StoreError(
        f"The vectors of {encoder} layer {space.layer} were written {ATTEMPTS} times while they "
        "were indexed. Run `usad index` when nothing else writes."
    )


def _is_as_asked(old: Opened, kind: Kind, metric: Metric, target_recall: float) -> bool:
    if old.index is None or old.settings is None:
        return False
    has_recall = old.index.kind == "flat" or old.settings.target_recall == target_recall
    return kind in ("auto", old.index.kind) and old.index.metric == metric and has_recall


def _report(
    workspace: Workspace,
    encoder: str,
    layer: int,
    pooling: str,
    built: Built,
    size: int,
    *,
    is_new: bool,
) -> IndexReport:
    return IndexReport(
        encoder=encoder,
        layer=layer,
        pooling=pooling,
        kind=built.index.kind,
        metric=built.index.metric,
        n=len(built.index),
        bytes=size,
        is_new=is_new,
        reason=built.settings.reason,
        target_recall=built.settings.target_recall,
        tuned_recall=built.settings.tuned_recall,
    )


def _changed(
    old: Opened, stored: Embeddings, config: BuildConfig, progress: Progress
) -> Built | None:
    """The index that is there with what came since and without what is gone, tuned again.

    None where nothing is there, or too much changed: one that doubles or loses a third is built
    anew, as its lists were trained on other vectors. A segment keeps its vector as long as its
    space is there, and the number of one that is gone is not given again, so that what has the
    same number is the same vector; where nothing is gone the digests prove it.
    """
    if old.index is None or old.path is None or old.settings is None:
        return None
    there = old.index.ids()
    is_new = ~np.isin(stored.segment_ids, there, assume_unique=True)
    gone = there[~np.isin(there, stored.segment_ids, assume_unique=True)]
    rows = np.flatnonzero(is_new)
    if len(rows) > len(there) or 3 * len(gone) > len(there):
        return None
    added = np.asarray(stored.vectors[rows])
    ids = stored.segment_ids[rows]
    if not len(gone) and (
        old.digest is None or together(old.digest, digest_of(ids, added)) != stored.space.digest
    ):
        return None
    index = VectorIndex.load(
        old.path, old.index.kind, old.index.metric, old.index.effort, is_mapped=False
    )
    index.remove(gone)
    add_in_blocks(index, ids, added, part_of(progress, 0, 2))
    return tuned(
        index,
        stored.segment_ids,
        stored.vectors,
        factory=old.settings.factory,
        reason=f"{len(ids):,} vectors added and {len(gone):,} taken out",
        config=config,
        progress=part_of(progress, 1, 2),
    )


def search(
    workspace: Workspace,
    vector: FloatArray,
    encoder: str,
    layer: int,
    *,
    pooling: str = "mean",
    k: int = 10,
    where: str | Ids | None = None,
    metric: Metric = "cosine",
) -> SearchHits:
    """The k segments nearest to a vector, best first.

    With a condition, and where there is no index to rely on, the query is compared with every
    vector that matches: see ``Workspace.search``, whose hits, order and errors these are.

    Args:
        workspace: Where to search.
        vector: Shape [dim], of the same encoder, layer and pooling.
        encoder: Name of the encoder.
        layer: 0 enters the first block, negative counts from the end.
        pooling: ``mean`` or ``native``.
        k: How many; an index is tuned for 10.
        where: SQL condition on the columns of ``clips``, or the ids of the segments that may be
            found, each once.
        metric: ``cosine``, ``inner_product``, or ``l2``, whose scores are negative distances.

    Returns:
        Segment ids and exact scores, best first; fewer than k where fewer match.

    Raises:
        ConfigError: a ``k`` below 1, or no such metric.
        ShapeError: a vector of another width.
        DegenerateError: a vector that is not finite, or for the cosine all zeros.
        UnknownNameError: a space that is not there.
        QueryError: a condition that is not SQL.
    """
    k, metric = check_k(k), check_metric(metric)
    space = open_space(workspace, encoder, layer, pooling)
    query = query_of(vector, space.space.dim, metric)
    if where is None or isinstance(where, str):
        return _hits(workspace, space, query, k, where, metric)
    return _nearest_among(space.stored, query, k, np.sort(where), metric)


def search_many(
    workspace: Workspace,
    queries: FloatArray,
    encoder: str,
    layer: int,
    *,
    pooling: str = "mean",
    k: int = 10,
    where: str | None = None,
    metric: Metric = "cosine",
) -> list[SearchHits]:
    """The k segments nearest to each of several vectors, in one call.

    Args:
        workspace: Where to search.
        queries: Shape [query, dim], of the same encoder, layer and pooling.
        encoder: Name of the encoder.
        layer: 0 enters the first block, negative counts from the end.
        pooling: ``mean`` or ``native``.
        k: How many; an index is tuned for 10.
        where: SQL condition on the columns of ``clips``.
        metric: ``cosine``, ``inner_product``, or ``l2``, whose scores are negative distances.

    Returns:
        What ``search`` gives, for each query.

    Raises:
        ShapeError: queries that are no rows of the right width.
        ConfigError: a ``k`` below 1, or no such metric.
        DegenerateError: a query that is not finite, or for the cosine all zeros.
        UnknownNameError: a space that is not there.
        QueryError: a condition that is not SQL.
    """
    k, metric = check_k(k), check_metric(metric)
    if np.ndim(queries) != 2:
        raise ShapeError(f"Found queries of shape {np.shape(queries)}, expected [query, dim].")
    space = open_space(workspace, encoder, layer, pooling)
    index = _usable(space, metric)
    if index is not None and where is None:
        hits = index.search(queries, k)
        return [_found(*one) for one in zip(hits.ids, hits.scores, strict=True)]
    asked = [query_of(query, space.space.dim, metric) for query in queries]
    return [_hits(workspace, space, query, k, where, metric) for query in asked]


def _hits(
    workspace: Workspace,
    space: OpenSpace,
    query: FloatArray,
    k: int,
    where: str | None,
    metric: Metric,
) -> SearchHits:
    index = _usable(space, metric)
    if where is None and index is not None:
        ids, scores = index.nearest(query, k)
        return SearchHits(segment_ids=ids, scores=scores)
    notice = ""
    if where is None and space.problem:
        notice = f"{space.problem} Compared with every vector; `usad index` builds it again."
        logger.warning("%s", notice)
    if isinstance(space.stored, ArrayVectors):
        stored = space.stored
        rows = None if where is None else rows_where(workspace, space, stored, where)
        squares = stored.squares
        best, scores = nearest_rows(stored.vectors, query, k, metric, rows=rows, squares=squares)
        return SearchHits(segment_ids=stored.ids[best], scores=scores, notice=notice)
    key = (space.space.encoder, space.space.layer)
    exact = workspace.search(query, *key, k, where, pooling=space.space.pooling, metric=metric)
    return replace(exact, notice=notice)


def _nearest_among(
    stored: StoredVectors, query: FloatArray, k: int, among: Ids, metric: Metric
) -> SearchHits:
    """The nearest of some segments, ids ascending; those without a vector are passed over."""
    if isinstance(stored, ArrayVectors):
        rows = rows_of(stored.ids, among)
        squares = stored.squares
        best, scores = nearest_rows(stored.vectors, query, k, metric, rows=rows, squares=squares)
        return SearchHits(segment_ids=stored.ids[best], scores=scores)
    parts = (among[i : i + BLOCK_ROWS] for i in range(0, len(among), BLOCK_ROWS))
    ids, scores = nearest(map(stored.present, parts), query, k, metric)
    return SearchHits(segment_ids=ids, scores=scores)


def _usable(space: OpenSpace, metric: Metric) -> VectorIndex | None:
    index = space.index
    return None if index is None or index.metric != metric else index


def _found(ids: Ids, scores: FloatArray) -> SearchHits:
    is_hit = ids >= 0
    return SearchHits(segment_ids=ids[is_hit], scores=scores[is_hit])


def describe_hits(workspace: Workspace, hits: SearchHits) -> pd.DataFrame:
    """Hits with rank, score and the columns of their segments and clips, best first."""
    found = pa.table(
        {
            "rank": np.arange(1, len(hits.segment_ids) + 1),
            "segment_id": hits.segment_ids,
            "score": hits.scores,
        }
    )
    with workspace.database.read() as connection:
        connection.register("hits", found)
        return connection.execute(
            "SELECT rank, clip_id, segment_id, start_s, end_s, score, path, domain, label, "
            "dataset, cluster_id FROM hits JOIN segments_of_clips USING (segment_id) ORDER BY rank"
        ).df()
