"""Hits that differ from each other: maximal marginal relevance."""

import numpy as np

from usad_workbench.core.errors import ConfigError, ShapeError
from usad_workbench.core.metrics import Metric, check_k, scores
from usad_workbench.indexes.hits import FloatArray, Ids


def maximal_marginal_relevance(
    relevance: FloatArray, vectors: FloatArray, k: int, weight: float, metric: Metric = "cosine"
) -> Ids:
    """Rows of k hits that are near the query and far from each other, in the order of choice.

    The next row is that of the greatest ``weight * relevance - (1 - weight) * s``, where s is
    its score with the nearest row that was chosen before (Carbonell & Goldstein 1998, *The use
    of MMR*); the first row is the most relevant. Equal ones come in the order of the rows.

    Args:
        relevance: Scores [row] with the query.
        vectors: Shape [row, dim], not all zeros where the metric is the cosine.
        k: How many; fewer come back where there are fewer rows.
        weight: 1 is by relevance alone, 0 by diversity alone.
        metric: By which rows are compared with each other.

    Raises:
        ConfigError: a weight outside of 0 to 1, or a ``k`` below 1.
        ShapeError: another number of scores than of vectors.

    >>> vectors = np.array([[1, 0], [1, 0.01], [0.8, 0.6]], np.float32)
    >>> maximal_marginal_relevance(np.array([1, 0.99, 0.8], np.float32), vectors, 2, 0.5)
    array([0, 2])
    """
    if not 0 <= weight <= 1:
        raise ConfigError(f"Found the weight {weight:g} of relevance, expected 0 to 1.")
    if len(relevance) != len(vectors):
        raise ShapeError(f"Found {len(relevance)} scores of {len(vectors)} vectors.")
    k = min(check_k(k), len(vectors))
    gains = np.asarray(relevance, np.float64)
    nearest = np.full(len(vectors), -np.inf)
    is_left = np.ones(len(vectors), bool)
    chosen: list[int] = []
    while len(chosen) < k:
        marginal = weight * gains
        if chosen:
            marginal = marginal - (1 - weight) * nearest
        best = int(np.argmax(np.where(is_left, marginal, -np.inf)))
        is_left[best] = False
        chosen.append(best)
        nearest = np.maximum(nearest, scores(vectors, _as_query(vectors[best], metric), metric))
    return np.array(chosen, np.int64)


def _as_query(vector: FloatArray, metric: Metric) -> FloatArray:
    length = float(np.linalg.norm(vector.astype(np.float64)))
    if metric != "cosine" or length == 0:
        return vector.astype(np.float32)
    return (vector.astype(np.float64) / length).astype(np.float32)
