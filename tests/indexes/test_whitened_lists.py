"""Neighbours within whitened clusters: the literal ones, and never a worse list."""

import numpy as np
import pytest

from usad_workbench.core.cosine import normalise
from usad_workbench.indexes import whitened_lists
from usad_workbench.indexes.whitened_lists import join_within_lists


def _clusters(n: int = 600, dim: int = 24, size: int = 30) -> tuple[np.ndarray, np.ndarray]:
    """Small clusters, far apart in all but the three directions that vary most."""
    rng = np.random.default_rng(3)
    cluster = np.arange(n) % (n // size)
    centres = rng.normal(size=(n // size, dim))
    strong = 4 * rng.normal(size=(n, 3)) @ rng.normal(size=(3, dim)) / np.sqrt(dim)
    points = 3 * centres[cluster] + strong + 0.1 * rng.normal(size=(n, dim))
    return normalise(points.astype(np.float32)), cluster


def _scores(unit: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return np.einsum("ijd,id->ij", unit[rows].astype(np.float64), unit.astype(np.float64))


def _any_others(n: int, k: int) -> np.ndarray:
    own = np.arange(n)[:, None]
    return ((own + np.arange(k) * 7) % n).astype(np.int32)


def test_one_list_of_all_gives_the_literal_neighbours() -> None:
    unit, _ = _clusters()
    joined = join_within_lists(unit, _any_others(len(unit), 9))
    scores = unit.astype(np.float64) @ unit.T
    np.fill_diagonal(scores, np.inf)
    true = np.argsort(-scores, axis=1)[:, :9]
    assert [set(row) for row in joined.tolist()] == [set(row) for row in true.tolist()]
    np.testing.assert_array_equal(joined[:, 0], np.arange(len(unit)))


def test_rows_of_one_cluster_find_each_other_and_no_list_gets_worse(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(whitened_lists, "LIST_ROWS", 60)
    unit, cluster = _clusters()
    before = _any_others(len(unit), 9)
    seen: list[tuple[int, int]] = []
    joined = join_within_lists(unit, before, lambda done, total, what: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] > 5 and len(seen) == seen[-1][1]
    assert all(len(set(row)) == 9 for row in joined.tolist())
    same = (cluster[joined[:, 1:]] == cluster[:, None]).mean()
    assert (cluster[before[:, 1:]] == cluster[:, None]).mean() < 0.1
    assert same > 0.9
    worst_before, worst = (_scores(unit, rows[:, 1:]).min(axis=1) for rows in (before, joined))
    assert (worst >= worst_before - 1e-6).all()


def test_copies_zeros_and_places_that_were_filled_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whitened_lists, "LONGEST_LIST", 50)
    unit = np.tile(np.eye(1, 6, dtype=np.float32), (200, 1))
    unit[:20] = 0.0
    rows = np.tile(np.arange(200, dtype=np.int32)[:, None], (1, 5))  # nothing but itself
    joined = join_within_lists(unit, rows)
    np.testing.assert_array_equal(joined[:, 0], np.arange(200))
    assert all(len(set(row)) == 5 for row in joined.tolist())
