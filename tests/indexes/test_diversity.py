"""Maximal marginal relevance against its literal definition."""

import numpy as np
import pytest

from usad_workbench.core.errors import ConfigError, ShapeError
from usad_workbench.core.metrics import METRICS, Metric
from usad_workbench.indexes.diversity import maximal_marginal_relevance


def similarity(a: np.ndarray, b: np.ndarray, metric: Metric) -> float:
    if metric == "cosine":
        return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
    return float(a @ b) if metric == "inner_product" else -float(np.linalg.norm(a - b))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("weight", [0.0, 0.3, 0.7, 1.0])
def test_each_choice_is_the_best_that_is_left(weight: float, metric: Metric) -> None:
    rng = np.random.default_rng(2)
    vectors = rng.normal(size=(40, 5)).astype(np.float32)
    relevance = np.sort(rng.random(40).astype(np.float32))[::-1]
    wide = vectors.astype(np.float64)
    chosen = [0] if weight else [int(np.argmax(weight * relevance))]
    while len(chosen) < 12:
        left = [i for i in range(40) if i not in chosen]
        gain = [
            weight * relevance[i]
            - (1 - weight) * max(similarity(wide[i], wide[j], metric) for j in chosen)
            for i in left
        ]
        chosen.append(left[int(np.argmax(gain))])
    found = maximal_marginal_relevance(relevance, vectors, 12, weight, metric)
    assert found.tolist() == chosen
    if weight == 1:
        assert chosen == list(range(12))


def test_copies_are_passed_over() -> None:
    vectors = np.array([[1, 0], [1, 0], [1, 0], [0.6, 0.8]], np.float32)
    relevance = np.array([1, 1, 1, 0.7], np.float32)
    assert maximal_marginal_relevance(relevance, vectors, 2, 0.5).tolist() == [0, 3]
    assert len(maximal_marginal_relevance(relevance, vectors, 9, 0.5)) == 4


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="0 to 1"):
        maximal_marginal_relevance(np.ones(2), np.eye(2, dtype=np.float32), 1, 1.5)
    with pytest.raises(ShapeError):
        maximal_marginal_relevance(np.ones(3), np.eye(2, dtype=np.float32), 1, 0.5)
