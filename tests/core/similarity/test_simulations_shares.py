"""Coverage and false positives of variance partitioning and attribution.

30 clusters of six clips with effects of their own; intervals are to hold the truth in 95% of the
data sets, tests to reject in 5% of those without an effect. The slow version runs 300 data
sets and asserts 92 to 98 and 3 to 7%; its numbers stand in SIMULATIONS_shares.md.

The truth of an attribution is what was planted. That of a variance partition is the share that
can be predicted from this many clips: the mean over the data sets.
"""

import sys
from functools import cache

import numpy as np
import pytest
from scipy.stats import binom

from usad_workbench.core.similarity.attribution import attribute
from usad_workbench.core.similarity.variance import partition_variance

pytestmark = pytest.mark.long

N_CLUSTERS, N_EACH, DIM = 30, 6, 8
CLUSTERS = np.repeat(np.arange(N_CLUSTERS), N_EACH)
OF_CLUSTERS = 0.3
"""Share of every encoder's variance that lies between clusters."""
N_FAST, N_SLOW = 40, 300
PREDICTABLE = {"total": 0.731, "a": 0.341, "b": 0.232, "c": -0.018}
"""Means over the 300 data sets of the slow version, for the fast one."""
Found = dict[str, np.ndarray]
"""By quantity, ``value, low, high, p`` of every data set."""


def part(rng: np.random.Generator) -> np.ndarray:
    of_cluster = rng.normal(size=(N_CLUSTERS, DIM))[CLUSTERS]
    own = rng.normal(size=(len(CLUSTERS), DIM))
    return np.asarray(np.sqrt(OF_CLUSTERS) * of_cluster + np.sqrt(1 - OF_CLUSTERS) * own)


@cache
def partitions(n_worlds: int, seed: int) -> Found:
    """.30 only of a, .20 only of b, .30 of both, .20 new, c has nothing to do with it."""
    rng = np.random.default_rng(seed)
    found: dict[str, list[tuple[float, float, float, float]]] = {}
    for _ in range(n_worlds):
        a, b, both, new, c = (part(rng) for _ in range(5))
        blocks = zip((0.3, 0.2, 0.3, 0.2), (a, b, both, new), strict=True)
        student = np.hstack([np.sqrt(share) * x for share, x in blocks])
        teachers = {"a": np.hstack([a, both]), "b": np.hstack([b, both]), "c": c}
        one = partition_variance(student, teachers, CLUSTERS)
        for name, share in {"total": one.total, **one.unique}.items():
            row = (share.value, share.ci_low, share.ci_high, np.nan)
            found.setdefault(name, []).append(row)
    return {name: np.array(rows) for name, rows in found.items()}


@cache
def attributions(n_worlds: int, seed: int) -> Found:
    """.5 of a, .3 of b, .2 new, nothing of c."""
    rng = np.random.default_rng(seed)
    found: dict[str, list[tuple[float, float, float, float]]] = {}
    for _ in range(n_worlds):
        a, b, c, new = (part(rng) for _ in range(4))
        student = np.hstack([np.sqrt(0.5) * a, np.sqrt(0.3) * b, np.sqrt(0.2) * new])
        one = attribute(
            student,
            {"a": a, "b": b, "c": c},
            CLUSTERS,
            n_permutations=99,
            seed=int(rng.integers(2**31)),
        )
        for name in "abc":
            row = (one.shares[name], one.ci_low[name], one.ci_high[name], one.p_value[name])
            found.setdefault(name, []).append(row)
        row = (one.novel, one.novel_ci_low, one.novel_ci_high, np.nan)
        found.setdefault("novel", []).append(row)
    return {name: np.array(rows) for name, rows in found.items()}


def coverage(rows: np.ndarray, truth: float) -> float:
    return float(np.mean((rows[:, 1] <= truth) & (truth <= rows[:, 2])))


def least_hits(n: int, rate: float = 0.95) -> float:
    """Share of hits that falls short by chance once in a thousand times."""
    return float(binom.ppf(0.001, n, rate)) / n


def test_intervals_of_shares_hold_them() -> None:
    for name, rows in partitions(N_FAST, 1).items():
        truth = PREDICTABLE[name]
        assert coverage(rows, truth) >= least_hits(N_FAST)
        assert rows[:, 0].mean() == pytest.approx(truth, abs=0.015)
    assert np.mean(partitions(N_FAST, 1)["c"][:, 1] > 0) <= 0.05
    # Intervals are short enough to tell the two teachers apart.
    assert coverage(partitions(N_FAST, 1)["a"], PREDICTABLE["b"]) < 0.1


def test_intervals_of_attributions_hold_them() -> None:
    found = attributions(N_FAST, 1)
    for name, truth in {"a": 0.5, "b": 0.3, "c": 0.0, "novel": 0.2}.items():
        assert coverage(found[name], truth) >= least_hits(N_FAST)
        assert found[name][:, 0].mean() == pytest.approx(truth, abs=0.01)
    assert np.mean(found["c"][:, 3] <= 0.05) <= 1 - least_hits(N_FAST)
    assert np.all(found["b"][:, 3] <= 0.05)


@pytest.mark.slow
def test_shares_over_many_data_sets() -> None:
    found = partitions(N_SLOW, 0)
    for name in ("total", "a", "b"):
        assert 0.92 <= coverage(found[name], float(found[name][:, 0].mean())) <= 0.98
    # A teacher that only costs predictions is never found: below 5%, not around.
    assert np.mean(found["c"][:, 1] > 0) <= 0.05


@pytest.mark.slow
def test_attributions_over_many_data_sets() -> None:
    found = attributions(N_SLOW, 0)
    for name, truth in {"a": 0.5, "b": 0.3, "novel": 0.2}.items():
        assert 0.92 <= coverage(found[name], truth) <= 0.98
    # At the bound of what a weight can be, the interval is wide.
    assert coverage(found["c"], 0.0) >= 0.92
    assert 0.03 <= np.mean(found["c"][:, 3] <= 0.05) <= 0.07


if __name__ == "__main__":
    for simulation, truths in (
        (partitions, {}),
        (attributions, {"a": 0.5, "b": 0.3, "c": 0.0, "novel": 0.2}),
    ):
        for name, rows in simulation(N_SLOW, 0).items():
            value, low, high, p = rows.T
            truth = truths.get(name, float(value.mean()))
            sys.stdout.write(
                f"| {simulation.__name__} {name} | {value.mean():.4f} | {value.std():.4f} | "
                f"{(high - low).mean() / 2:.4f} | {coverage(rows, truth):.1%} | "
                f"{np.mean(low > 0):.1%} | {np.mean(p <= 0.05):.1%} |\n"
            )
