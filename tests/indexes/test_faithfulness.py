"""Faithfulness: by its definition, against all points, and equal to scikit-learn's."""

import numpy as np
import pytest
from sklearn.manifold import trustworthiness

from usad_workbench.core.cosine import normalise
from usad_workbench.indexes.faithfulness import judge_map


def _planted(n: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Vectors, and a map of them that is faithful in part."""
    rng = np.random.default_rng(seed)
    unit = normalise(3 * np.eye(4, 12)[np.arange(n) % 4] + rng.normal(size=(n, 12)))
    points = unit[:, :2] + 0.1 * rng.normal(size=(n, 2))
    return unit, points.astype(np.float32)


def _ranks(distances: np.ndarray) -> np.ndarray:
    """The rank of each point among the others of each point, 1 is the nearest."""
    np.fill_diagonal(distances, -np.inf)
    return np.argsort(np.argsort(distances, axis=1), axis=1)


def _literal(unit: np.ndarray, points: np.ndarray, k: int) -> tuple[float, float, float]:
    """The formulas of Venna & Kaski (2001), point by point."""
    n = len(unit)
    in_space = _ranks(-(unit.astype(np.float64) @ unit.T.astype(np.float64)))
    on_map = _ranks(((points[:, None].astype(np.float64) - points[None]) ** 2).sum(-1))
    intruders = lost = kept = 0.0
    for i in range(n):
        for j in set(range(n)) - {i}:
            if on_map[i, j] <= k < in_space[i, j]:
                intruders += in_space[i, j] - k
            if in_space[i, j] <= k < on_map[i, j]:
                lost += on_map[i, j] - k
            kept += max(in_space[i, j], on_map[i, j]) <= k
    scale = 2 / (n * k * (2 * n - 3 * k - 1))
    return 1 - scale * intruders, 1 - scale * lost, kept / (n * k)


@pytest.mark.parametrize("k", [3, 10])
def test_judged_on_all_points_it_is_the_definition_and_scikit_learn(k: int) -> None:
    unit, points = _planted(120)
    found = judge_map(unit, points, k=k)
    assert found is not None and found.n_judged == 120
    values = [s.value for s in (found.trustworthiness, found.continuity, found.neighbours_kept)]
    assert values == pytest.approx(_literal(unit, points, k), abs=1e-9)
    peer = trustworthiness(unit, points, n_neighbors=k, metric="cosine")
    assert found.trustworthiness.value == pytest.approx(peer, abs=1e-6)
    assert found.trustworthiness.ci_low == found.trustworthiness.ci_high
    mixed = judge_map(unit, points[np.random.default_rng(1).permutation(120)], k=k)
    assert mixed is not None and mixed.trustworthiness.value < found.trustworthiness.value - 0.1


def test_a_sample_is_judged_against_all_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over many samples the mean is the value of all; judged among themselves it is not."""
    unit, points = _planted(300)
    whole = judge_map(unit, points)
    assert whole is not None
    inside, values, among = 0, [], []
    for seed in range(20):
        monkeypatch.setattr("usad_workbench.indexes.faithfulness.SEED", seed)
        found = judge_map(unit, points, n_judged=60)
        assert found is not None and found.n_judged == 60
        values.append(found.neighbours_kept.value)
        share = found.neighbours_kept
        inside += share.ci_low <= whole.neighbours_kept.value <= share.ci_high
        rows = np.random.default_rng(seed).permutation(300)[:60]
        few = judge_map(unit[rows], points[rows])
        assert few is not None
        among.append(few.neighbours_kept.value)
    error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values) - whole.neighbours_kept.value) < 4 * error
    assert abs(np.mean(among) - whole.neighbours_kept.value) > 10 * error
    assert inside >= 16  # of 20 intervals of 95 %


def test_copies_and_zeros_are_judged() -> None:
    unit, points = _planted(100)
    unit[:30], unit[30:60] = 0.0, unit[30]
    points[:60] = points[0]
    found = judge_map(unit, points)
    assert found is not None and 0 <= found.trustworthiness.value <= 1
    same = judge_map(np.repeat(unit[60:], 12, axis=0), np.repeat(points[60:], 12, axis=0))
    assert same is not None  # eleven copies of each point are its neighbours in both
    assert same.neighbours_kept.value == same.trustworthiness.value == 1


def test_too_few_points_have_no_ranks() -> None:
    unit, points = _planted(21)
    assert judge_map(unit, points) is None
