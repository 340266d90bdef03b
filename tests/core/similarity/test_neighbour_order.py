"""Order and distances of neighbours: literal definitions and planted truths."""

import numpy as np
import pytest
from scipy.spatial.distance import cosine

from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.similarity import mutual_knn
from usad_workbench.core.similarity.neighbour_order import rank_similarity, second_order_cosine

CLUSTERS = np.arange(60) // 3


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 6)) + 2 * rng.normal(size=(20, 6))[CLUSTERS]
    return x, x + 0.7 * rng.normal(size=(60, 6))


def literal_neighbours(x, clip, k):
    others = [i for i in range(len(x)) if CLUSTERS[i] != CLUSTERS[clip]]
    return sorted(others, key=lambda i: cosine(x[clip], x[i]))[:k]


def literal_rank_similarity(x, y, k):
    values = []
    for clip in range(len(x)):
        near_x, near_y = literal_neighbours(x, clip, k), literal_neighbours(y, clip, k)
        common = set(near_x) & set(near_y)
        score = 0.0
        for other in common:
            r, s = near_x.index(other) + 1, near_y.index(other) + 1
            score += 2 / ((1 + abs(r - s)) * (r + s))
        values.append(score / sum(1 / i for i in range(1, len(common) + 1)) if common else 0.0)
    return np.mean(values)


def literal_second_order_cosine(x, y, k):
    values = []
    for clip in range(len(x)):
        near = sorted({*literal_neighbours(x, clip, k), *literal_neighbours(y, clip, k)})
        sides = [[cosine(side[clip], side[i]) for i in near] for side in (x, y)]
        values.append(1 - cosine(*sides))
    return np.mean(values)


@pytest.mark.parametrize(
    ("measure", "literal"),
    [
        (rank_similarity, literal_rank_similarity),
        (second_order_cosine, literal_second_order_cosine),
    ],
)
def test_it_is_its_definition_and_knows_the_rows(pair, measure, literal):
    x, y = pair
    value = measure(x, y, 5, CLUSTERS)
    assert value == pytest.approx(literal(x, y, 5), abs=1e-12)
    assert measure(y, x, 5, CLUSTERS) == pytest.approx(value, abs=1e-12)
    turned = 3 * y @ np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))[0]
    assert measure(x, turned, 5, CLUSTERS) == pytest.approx(value, abs=1e-12)
    assert measure(x, 2 * x, 5, CLUSTERS) == pytest.approx(1.0, abs=1e-12)
    shuffled = np.random.default_rng(2).permutation(60)
    assert measure(x, y[shuffled], 5, CLUSTERS) < value - 0.05


def test_the_order_of_the_same_neighbours_is_seen_only_here():
    """Six clips in a group of six directions: the same neighbours, in another order."""
    rng = np.random.default_rng(3)
    centres = np.repeat(np.eye(8), 6, axis=0)
    x, y = (centres + 0.05 * rng.normal(size=(48, 8)) for _ in range(2))
    assert mutual_knn(x, y, 5) == 1.0
    assert 0.2 < rank_similarity(x, y, 5) < 0.8
    nearly = x + 0.002 * rng.normal(size=(48, 8))
    assert rank_similarity(x, nearly, 5) > 0.9


def test_neighbours_that_are_copies_are_at_no_distance():
    x = np.repeat(np.random.default_rng(4).normal(size=(10, 3)), 4, axis=0)
    assert second_order_cosine(x, x, 3) == 1.0


@pytest.mark.parametrize("measure", [rank_similarity, second_order_cosine])
def test_what_has_no_neighbours_is_refused(pair, measure):
    x, y = pair
    with pytest.raises(ShapeError, match="at least k"):
        measure(x, y, 58, CLUSTERS)
    with pytest.raises(ShapeError, match="same clips"):
        measure(x[:-1], y)
    with pytest.raises(DegenerateError, match="one direction"):
        measure(np.ones((60, 3)), y)
