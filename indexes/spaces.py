"""Indexes of a workspace's spaces: built, brought up to date, and searched.

Where there is no index that belongs to the stored vectors (``files`` says when it does),
search compares with every stored vector instead: slower, never wrong.
"""

import logging
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pyarrow as pa

from usad_workbench.core.cosine import unit_query
from usad_workbench.core.errors import StoreError
from usad_workbench.core.metrics import check_k
from usad_workbench.core.storage.vector_tables import digest_of
from usad_workbench.core.storage.workspace import Embeddings, FloatArray, SearchHits, Workspace
from usad_workbench.indexes.faiss_index import Kind, VectorIndex
from usad_workbench.indexes.files import Opened, open_index, save_index

logger = logging.getLogger(__name__)

ATTEMPTS = 3
"""How often an index is begun again because its vectors were replaced meanwhile."""


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexReport:
    """An index as it now is."""

    encoder: str
    layer: int
    pooling: str
    kind: str
    n: int
    bytes: int
    is_new: bool
    """Whether anything was built or added."""


def update_index(
    workspace: Workspace, encoder: str, layer: int, pooling: str = "mean", kind: Kind = "auto"
) -> IndexReport:
    """Builds the index of a space, or adds the vectors that it misses.

    Args:
        workspace: Holds the embeddings; the file goes to its folder ``indexes``.
        encoder: Name of the encoder.
        layer: 0 enters the first block, negative counts from the end.
        pooling: ``mean`` or ``native``.
        kind: ``flat`` is exact, ``ivf``, ``ivfpq`` and ``hnsw`` are faster; ``auto`` keeps the
            kind that is there, else chooses by the number of vectors.

    Returns:
        The kind, the number of vectors and the bytes of the index, and whether it is new.

    Raises:
        UnknownNameError: a space that is not there.
        StoreError: vectors that are replaced again and again while they are read.
        FileError: a folder that cannot be written.
    """
    space = workspace.space(encoder, layer, pooling)
    old = open_index(workspace, space)
    same_kind = old.index is not None and kind in ("auto", old.index.kind)
    if old.index is not None and same_kind and not old.is_behind:
        return IndexReport(
            encoder=encoder,
            layer=space.layer,
            pooling=pooling,
            kind=old.index.kind,
            n=len(old.index),
            bytes=old.bytes,
            is_new=False,
        )
    if old.problem and not old.is_behind:
        logger.warning("%s It is built again.", old.problem)
    for _ in range(ATTEMPTS):
        stored = workspace.embeddings(encoder, layer, pooling)
        index = _added(old, stored) if kind == "auto" else None
        index = index or VectorIndex.build(stored.vectors, stored.segment_ids, kind)
        path = save_index(workspace, stored.space, index)
        if path is not None:
            return IndexReport(
                encoder=encoder,
                layer=space.layer,
                pooling=pooling,
                kind=index.kind,
                n=len(index),
                bytes=path.stat().st_size,
                is_new=True,
            )
        old = Opened()  # what was added to is not as its file is any more
    raise StoreError(
        f"The vectors of {encoder} layer {space.layer} were written {ATTEMPTS} times while they "
        "were indexed. Run `usad index` when nothing else writes."
    )


def _added(old: Opened, stored: Embeddings) -> VectorIndex | None:
    """The index that is there with the vectors that came since; none where others changed too.

    One that doubles is built anew: its lists were trained on too little.
    """
    if old.index is None or not len(old.index) <= len(stored) <= 2 * len(old.index):
        return None
    is_old = np.isin(stored.segment_ids, old.index.ids())
    if digest_of(stored.segment_ids[is_old], stored.vectors[is_old]) != old.digest:
        return None
    return old.index.with_added(stored.vectors[~is_old], stored.segment_ids[~is_old])


def search(
    workspace: Workspace,
    vector: FloatArray,
    encoder: str,
    layer: int,
    *,
    pooling: str = "mean",
    k: int = 10,
    where: str | None = None,
) -> SearchHits:
    """The k segments nearest to a vector by cosine, best first.

    With a condition, and where there is no index to rely on, the query is compared with every
    vector that matches: see ``Workspace.search``, whose hits, order and errors these are.

    Args:
        workspace: Where to search.
        vector: Shape [dim], of the same encoder, layer and pooling.
        encoder: Name of the encoder.
        layer: 0 enters the first block, negative counts from the end.
        pooling: ``mean`` or ``native``.
        k: How many.
        where: SQL condition on the columns of ``clips``.

    Returns:
        Segment ids and cosines, best first; fewer than k where fewer match.

    Raises:
        ConfigError: a ``k`` below 1.
        ShapeError: a vector of another width.
        DegenerateError: a vector that is not finite, or all zeros.
        UnknownNameError: a space that is not there.
        QueryError: a condition that is not SQL.
    """
    k = check_k(k)
    space = workspace.space(encoder, layer, pooling)
    opened = open_index(workspace, space) if where is None else Opened()
    if opened.index is None or opened.is_behind:
        notice = ""
        if opened.problem:
            notice = f"{opened.problem} Compared with every vector; `usad index` builds it again."
            logger.warning("%s", notice)
        exact = workspace.search(vector, encoder, layer, k, where, pooling=pooling)
        return replace(exact, notice=notice)
    hits = opened.index.search(unit_query(vector, opened.index.dim)[None], k)
    is_hit = hits.ids[0] >= 0
    return SearchHits(segment_ids=hits.ids[0][is_hit], scores=hits.scores[0][is_hit])


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
