"""Recall and time of an index against exact search, measured in one run.

Queries are stored vectors, and each is left out of its own answer on both sides. Counted in,
it is found by every index that can find anything: an index that finds nothing else would
reach 0.1. Its exact copies stay in, as other segments that a search has to find.
"""

import time
from dataclasses import dataclass

import numpy as np

from usad_workbench.core.cosine import normalise, scores_of
from usad_workbench.core.storage.index_records import set_index_quality
from usad_workbench.core.storage.workspace import Embeddings, FloatArray, Workspace
from usad_workbench.indexes.faiss_index import Hits, Ids, VectorIndex
from usad_workbench.indexes.files import open_index

MAX_QUERIES = 1000
K = 10
TIE = 1e-6
"""Cosines that differ by less are equal: the index may hold either."""


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexEvaluation:
    """What an index gives up and what it gains."""

    encoder: str
    layer: int
    pooling: str
    kind: str
    n: int
    recall_at_10: float
    ms_per_query: float
    exact_ms_per_query: float
    bytes: int


def evaluate_index(
    workspace: Workspace, encoder: str, layer: int, pooling: str = "mean", seed: int = 0
) -> IndexEvaluation | None:
    """Compares the index of a space with exact search over the same vectors.

    Queries are up to 1,000 stored vectors, none of zeros. Of each the 10 nearest others are
    asked for, or all others where there are fewer. Recall is the share of them that the index
    finds, where a hit counts if its exact cosine reaches that of the last of them: equal scores
    in another order are no miss.

    Args:
        workspace: Holds the embeddings and their index.
        encoder: Name of the encoder.
        layer: 0 enters the first block, negative counts from the end.
        pooling: ``mean`` or ``native``.
        seed: Of the choice of queries.

    Returns:
        Recall (0 to 1) and milliseconds per query of both; none without an index of the vectors
        that are stored now.

    Raises:
        UnknownNameError: a space that is not there.
    """
    stored = workspace.embeddings(encoder, layer, pooling)
    opened = open_index(workspace, stored.space)
    index = opened.index
    if index is None or opened.is_behind:
        return None
    rows = _query_rows(stored.vectors, seed)
    queries, own = stored.vectors[rows], stored.segment_ids[rows]
    exact = VectorIndex.build(stored.vectors, stored.segment_ids, "flat")
    truth, exact_s = _timed(exact, queries)
    found, index_s = _timed(index, queries)
    n_queries = max(len(rows), 1)
    result = IndexEvaluation(
        encoder=encoder,
        layer=stored.space.layer,
        pooling=pooling,
        kind=index.kind,
        n=len(index),
        recall_at_10=_recall(stored, queries, without_self(truth, own), without_self(found, own)),
        ms_per_query=1000 * index_s / n_queries,
        exact_ms_per_query=1000 * exact_s / n_queries,
        bytes=opened.bytes,
    )
    set_index_quality(
        workspace,
        stored.space.space_id,
        recall_at_10=result.recall_at_10,
        ms_per_query=result.ms_per_query,
    )
    return result


def without_self(hits: Hits, own: Ids) -> Ids:
    """The ids [query, k - 1] of hits, each query's own id left out, else its last hit.

    >>> without_self(Hits(np.array([[4, 2, 7], [5, 3, 1]]), np.ones((2, 3))), np.array([2, 9]))
    array([[4, 7],
           [5, 3]])
    """
    order = np.argsort(hits.ids == own[:, None], axis=1, kind="stable")  # its own id goes last
    return np.take_along_axis(hits.ids, order, 1)[:, :-1]


def _query_rows(vectors: FloatArray, seed: int) -> Ids:
    """Rows to ask with: a vector of zeros has no neighbours."""
    rows = np.flatnonzero(vectors.any(axis=1))
    return np.sort(np.random.default_rng(seed).permutation(rows)[:MAX_QUERIES])


def _recall(stored: Embeddings, queries: FloatArray, truth: Ids, found: Ids) -> float:
    """The share of hits that reach the exact cosine of the last true one; 1 without any."""
    if not truth.size:
        return 1.0
    floor = _cosines(stored, queries, truth[:, -1:]) - TIE
    is_hit = (found >= 0) & (_cosines(stored, queries, found) >= floor)
    return float(is_hit.mean())


def _cosines(stored: Embeddings, queries: FloatArray, ids: Ids) -> FloatArray:
    """Exact cosines [query, hit] of queries and the segments that were found for them."""
    rows = np.searchsorted(stored.segment_ids, np.maximum(ids, stored.segment_ids[0]))
    unit = normalise(queries)
    return np.stack(
        [scores_of(normalise(stored.vectors[r]), u) for r, u in zip(rows, unit, strict=True)]
    )


def _timed(index: VectorIndex, queries: FloatArray) -> tuple[Hits, float]:
    started = time.perf_counter()
    hits = index.search(queries, K + 1)
    return hits, time.perf_counter() - started
