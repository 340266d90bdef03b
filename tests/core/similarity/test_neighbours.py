import numpy as np
import pytest

from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.similarity import (
    chance_overlap,
    cknna,
    mutual_knn,
    nearest_neighbours,
    neighbour_overlap,
    neighbours,
)
from usad_workbench.core.similarity.neighbours import top_columns


def literal_neighbours(x, k, clusters):
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    out = []
    for i in range(len(x)):
        others = [j for j in range(len(x)) if j != i and clusters[j] != clusters[i]]
        out.append(set(sorted(others, key=lambda j, i=i: -unit[i] @ unit[j])[:k]))
    return out


@pytest.fixture
def world():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 8))
    return x, x + rng.normal(size=(50, 8)), np.arange(50) // 3


def test_overlap_is_the_literal_definition(world):
    x, y, clusters = world
    for ids in (clusters, np.arange(50)):
        pairs = zip(literal_neighbours(x, 6, ids), literal_neighbours(y, 6, ids), strict=True)
        expected = [len(a & b) / 6 for a, b in pairs]
        np.testing.assert_allclose(neighbour_overlap(x, y, 6, ids), expected)
        assert mutual_knn(x, y, 6, ids) == pytest.approx(np.mean(expected))


def test_shuffling_the_rows_of_one_side_breaks_it(world):
    x, y, _ = world
    order = np.random.default_rng(1).permutation(50)
    assert mutual_knn(x, y, 5) > 2 * mutual_knn(x, y[order], 5)
    assert mutual_knn(x[order], y[order], 5) == pytest.approx(mutual_knn(x, y, 5))


def test_ties_and_zero_vectors_go_by_row():
    x = np.vstack([np.zeros(2), np.tile([1.0, 0.0], (4, 1)), [[0.0, 1.0]]])
    found = nearest_neighbours(x, 2)
    assert found[0].tolist() == [1, 2]  # cosine 0 with all
    assert found[3].tolist() == [1, 2]  # equal clips
    assert found[5].tolist() == [0, 1]


def test_blocks_of_clips_find_what_one_block_finds(monkeypatch):
    rng = np.random.default_rng(3)
    x = rng.integers(-2, 3, size=(90, 4)).astype(np.float32)  # many ties, some zero vectors
    clusters = np.arange(90) // 7 % 5
    whole = nearest_neighbours(x, 6, clusters)
    queries = np.array([2, 3, 40, 88])
    np.testing.assert_array_equal(
        nearest_neighbours(x, 6, clusters, queries=queries), whole[queries]
    )
    monkeypatch.setattr(neighbours, "BLOCK_ROWS", 3)
    monkeypatch.setattr(neighbours, "BLOCK_CANDIDATES", 8)
    np.testing.assert_array_equal(nearest_neighbours(x, 6, clusters), whole)
    np.testing.assert_array_equal(
        nearest_neighbours(x, 6, clusters, queries=queries), whole[queries]
    )
    moved = nearest_neighbours(x, 6, clusters, queries=queries, origin=x.mean(axis=0))
    np.testing.assert_array_equal(
        moved, nearest_neighbours(x - x.mean(axis=0), 6, clusters)[queries]
    )
    with pytest.raises(DegenerateError, match="one direction"):
        nearest_neighbours(np.ones((90, 2)), 6, clusters)


def test_top_columns_is_a_stable_sort():
    rng = np.random.default_rng(2)
    score = rng.integers(0, 4, size=(40, 30)).astype(float)
    for k in (1, 7, 29, 30):
        expected = np.argsort(-score, axis=1, kind="stable")[:, :k]
        np.testing.assert_array_equal(top_columns(score, k), expected)


def test_chance_level():
    assert chance_overlap(301, 10) == pytest.approx(10 / 300)
    clusters = np.repeat([0, 1, 2], [10, 10, 5])
    expected = (20 * 5 / 15 + 5 * 5 / 20) / 25
    assert chance_overlap(25, 5, clusters) == pytest.approx(expected)
    rng = np.random.default_rng(3)
    drawn = [mutual_knn(*rng.normal(size=(2, 25, 40)), 5, clusters) for _ in range(100)]
    assert np.mean(drawn) == pytest.approx(expected, abs=0.02)


def test_cknna_is_high_for_copies_and_low_for_strangers():
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(2, 200, 20))
    assert cknna(x, x) == pytest.approx(1)
    assert abs(cknna(x, y)) < 0.1
    assert 0.1 < cknna(x, x + 0.5 * y) < 1
    with pytest.raises(ShapeError, match="k of 2"):
        cknna(x, y, k=1)


def test_cknna_is_the_literal_definition(world):
    x, y, _ = world
    unit = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in (x, y)]
    grams = [side @ side.T for side in unit]
    none = np.arange(50)
    masks = []
    for side in (x, y):
        mask = np.zeros((50, 50))
        for i, near in enumerate(literal_neighbours(side, 6, none)):
            mask[i, list(near)] = 1
        masks.append(mask)

    def hsic(k, m, mask, n=50):
        k, m = mask * k, mask * m
        ones = np.ones(n)
        value = np.trace(k @ m) + (ones @ k @ ones) * (ones @ m @ ones) / ((n - 1) * (n - 2))
        return value - 2 / (n - 2) * (ones @ k @ m @ ones)

    cross = hsic(grams[0], grams[1], masks[0] * masks[1])
    norms = hsic(grams[0], grams[0], masks[0]) * hsic(grams[1], grams[1], masks[1])
    assert cknna(x, y, 6) == pytest.approx(cross / np.sqrt(norms), abs=1e-10)


def test_input_that_has_no_neighbours_is_refused(world):
    x, y, _ = world
    with pytest.raises(ShapeError, match="at least k"):
        mutual_knn(x, y, 10, np.repeat([0, 1], [45, 5]))
    with pytest.raises(ShapeError, match="at least k"):
        mutual_knn(x, y, 0)
    with pytest.raises(ShapeError, match="at least k"):
        chance_overlap(5, 10)
    with pytest.raises(DegenerateError, match="one direction"):
        mutual_knn(np.arange(1.0, 51)[:, None] * np.ones(3), y)
    with pytest.raises(ShapeError, match="cluster_id"):
        mutual_knn(x, y, 5, ["a"])
