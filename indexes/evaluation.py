"""Recall and time of an index against exact search, measured in one run."""

import time
from dataclasses import dataclass

import numpy as np

from usad_workbench.core.storage.workspace import FloatArray, Workspace
from usad_workbench.indexes.faiss_index import Hits, VectorIndex
from usad_workbench.indexes.spaces import index_path, open_index

MAX_QUERIES = 1000
K = 10


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

    Queries are up to 1,000 stored vectors. A hit counts if its exact cosine reaches the
    exact 10th best, so that equal scores in another order are no miss. None without an index.
    """
    space_id = workspace.space_id(encoder, layer, pooling)
    index = open_index(workspace, space_id)
    if index is None:
        return None
    stored = workspace.embeddings(encoder, layer, pooling)
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(stored))[:MAX_QUERIES]
    queries = stored.vectors[np.sort(rows)]
    exact = VectorIndex.build(stored.vectors, stored.segment_ids, "flat")
    truth, exact_s = _timed(exact, queries)
    found, index_s = _timed(index, queries)
    floor = truth.scores[:, -1:] - 1e-6
    recall = float((found.scores >= floor).mean()) if truth.ids.size else 1.0
    result = IndexEvaluation(
        encoder=encoder, layer=layer, pooling=pooling, kind=index.kind, n=len(index),
        recall_at_10=recall, ms_per_query=1000 * index_s / len(queries),
        exact_ms_per_query=1000 * exact_s / len(queries),
        bytes=index_path(workspace, space_id).stat().st_size,
    )  # fmt: skip
    with workspace.database.write() as connection:
        connection.execute(
            "UPDATE indexes SET recall_at_10 = ?, ms_per_query = ? WHERE space_id = ?",
            [result.recall_at_10, result.ms_per_query, space_id],
        )
    return result


def _timed(index: VectorIndex, queries: FloatArray) -> tuple[Hits, float]:
    started = time.perf_counter()
    hits = index.search(queries, K)
    return hits, time.perf_counter() - started
