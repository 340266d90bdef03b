"""Recall and time of an index against exact search, measured in one run.

Queries are stored vectors that the index was neither trained nor tuned on (``tuning.held_out``),
and each is left out of its own answer on both sides. Counted in, it is found by every index that
can find anything: an index that finds nothing else would reach 0.1. Its exact copies stay in, as
other segments that a search has to find.
"""

import time
from dataclasses import dataclass

import numpy as np

from usad_workbench.core.metrics import scores
from usad_workbench.core.progress import Progress, no_progress, part_of
from usad_workbench.core.storage.index_records import set_index_quality
from usad_workbench.core.storage.workspace import Embeddings, Workspace
from usad_workbench.indexes.faiss_index import VectorIndex
from usad_workbench.indexes.files import open_index
from usad_workbench.indexes.hits import FloatArray, Hits, Ids
from usad_workbench.indexes.stored import ArrayVectors
from usad_workbench.indexes.torch_search import neighbour_lists
from usad_workbench.indexes.tuning import K, query_rows, recall_shares

MAX_QUERIES = 500
MEASURED_GROUP = 2
"""Of ``tuning.held_out``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexEvaluation:
    """What an index gives up and what it gains."""

    encoder: str
    layer: int
    pooling: str
    kind: str
    metric: str
    n: int
    recall_at_10: float
    n_queries: int
    ms_per_query: float
    """One query after the other, their candidates compared exactly included."""
    exact_ms_per_query: float
    """All of them at once."""
    bytes: int


def evaluate_index(
    workspace: Workspace,
    encoder: str,
    layer: int,
    pooling: str = "mean",
    seed: int = 0,
    progress: Progress = no_progress,
) -> IndexEvaluation | None:
    """Compares the index of a space with exact search over the same vectors.

    Queries are up to 500 stored vectors, none of zeros. Of each the 10 nearest others are
    asked for, or all others where there are fewer. Recall is the share of them that the index
    finds, where a hit counts if its exact score reaches that of the last of them: equal scores
    in another order are no miss.

    Args:
        workspace: Holds the embeddings and their index.
        encoder: Name of the encoder.
        layer: 0 enters the first block, negative counts from the end.
        pooling: ``mean`` or ``native``.
        seed: Of the choice of queries.
        progress: Called after each block of the exact search, and each query of the index.

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
    index = index.with_stored(ArrayVectors(stored.segment_ids, stored.vectors))
    rows = query_rows(stored.segment_ids, stored.vectors, MEASURED_GROUP, MAX_QUERIES, seed)
    started = time.perf_counter()
    truth = neighbour_lists(
        stored.vectors, K, metric=index.metric, rows=rows, progress=part_of(progress, 0, 2)
    )
    exact_s = time.perf_counter() - started
    found, index_s = _timed(index, np.asarray(stored.vectors[rows]), part_of(progress, 1, 2))
    n_queries = max(len(rows), 1)
    own = without_self(found, stored.segment_ids[rows])
    shares = recall_shares(_scores(stored, rows, own, index), truth.scores)
    result = IndexEvaluation(
        encoder=encoder,
        layer=stored.space.layer,
        pooling=pooling,
        kind=index.kind,
        metric=index.metric,
        n=len(index),
        recall_at_10=float(shares.mean()) if len(shares) else 1.0,
        n_queries=len(rows),
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


def _scores(stored: Embeddings, rows: Ids, ids: Ids, index: VectorIndex) -> FloatArray:
    """Exact scores [query, hit] of what was found for queries; -inf where nothing was."""
    exact = np.full(ids.shape, -np.inf, np.float32)
    asked = index.prepared(np.asarray(stored.vectors[rows]))
    for i, query in enumerate(asked):
        is_there = ids[i] >= 0
        places = np.searchsorted(stored.segment_ids, ids[i][is_there])
        exact[i, is_there] = scores(np.asarray(stored.vectors[places]), query, index.metric)
    return exact


def _timed(index: VectorIndex, queries: FloatArray, progress: Progress) -> tuple[Hits, float]:
    """Hits of each query, and the seconds that they took one after the other."""
    hits, elapsed_s = [], 0.0
    for done, query in enumerate(queries, start=1):
        started = time.perf_counter()
        hits.append(index.search(query[None], K + 1))
        elapsed_s += time.perf_counter() - started
        progress(done, len(queries), "queries")
    width = min(K + 1, len(index))
    empty = Hits(np.empty((0, width), np.int64), np.empty((0, width), np.float32))
    return (
        Hits(
            np.concatenate([empty.ids, *(one.ids for one in hits)]),
            np.concatenate([empty.scores, *(one.scores for one in hits)]),
        ),
        elapsed_s,
    )
