"""Coverage and false positives of kappa, its excess, subgroup gaps and probe differences.

Clips of 40 clusters, each with a skill of its own; intervals are to hold the truth in 95% of
the data sets, tests to reject in 5% of those without an effect. The slow version runs 1,000
data sets and asserts 92 to 98 and 3 to 7%; its numbers stand in SIMULATIONS_errors.md.
"""

from collections.abc import Callable

import numpy as np
import pytest

from usad_workbench.core.bias.error_consistency import error_consistency, excess_consistency
from usad_workbench.core.bias.subgroups import group_gap
from usad_workbench.core.probes import paired_difference

pytestmark = pytest.mark.long

N_CLUSTERS, N_EACH = 40, 12
CLUSTERS = np.repeat(np.arange(N_CLUSTERS), N_EACH)
N_CLIPS = len(CLUSTERS)
Hit = tuple[bool, bool]
"""Whether the interval holds the truth, whether the null was rejected."""


def _skill(rng: np.random.Generator, mean: float) -> np.ndarray:
    """The chance of being right of each clip: one for its cluster."""
    return rng.beta(12 * mean, 12 * (1 - mean), size=N_CLUSTERS)[CLUSTERS]


def independent_kappa(rng: np.random.Generator) -> Hit:
    """Two encoders with cluster effects of their own: the true kappa is 0."""
    student, teacher = (rng.random(N_CLIPS) < _skill(rng, 0.7) for _ in range(2))
    found = error_consistency(student, teacher, CLUSTERS, n_resamples=400)
    holds = found.ci_low <= 0.0 <= found.ci_high
    return holds, not holds


def copied_kappa(rng: np.random.Generator) -> Hit:
    """Half of the clips copied, no effect of its own: the true kappa is 0.5."""
    teacher, own = (rng.random(N_CLIPS) < _skill(rng, 0.7) for _ in range(2))
    student = np.where(rng.random(N_CLIPS) < 0.5, teacher, own)
    found = error_consistency(student, teacher, CLUSTERS, n_resamples=400)
    return found.ci_low <= 0.5 <= found.ci_high, found.ci_low > 0


def exchangeable_excess(rng: np.random.Generator) -> Hit:
    """Clips hard for everybody and four controls like the teacher: no excess."""
    hard = rng.beta(1.5, 0.7, size=N_CLIPS)
    student, teacher, *controls = (
        rng.random(N_CLIPS) < np.clip(hard + rng.normal(0, 0.05), 0, 1) for _ in range(6)
    )
    found = excess_consistency(student, teacher, controls, CLUSTERS)
    return found.ci_low <= 0.0 <= found.ci_high, found.p_value <= 0.05


def equal_groups(rng: np.random.Generator) -> Hit:
    """Two groups of clusters with the same mean."""
    right = rng.random(N_CLIPS) < _skill(rng, 0.8)
    found = group_gap(right, CLUSTERS % 2, CLUSTERS, n_permutations=400, n_resamples=400)
    return found.ci_low <= 0.0 <= found.ci_high, found.p_value <= 0.05


def unequal_groups(rng: np.random.Generator) -> Hit:
    """Two groups of clusters, 0.8 and 0.6."""
    skill = np.where(CLUSTERS % 2 == 0, _skill(rng, 0.8), _skill(rng, 0.6))
    right = rng.random(N_CLIPS) < skill
    found = group_gap(right, CLUSTERS % 2, CLUSTERS, n_permutations=99, n_resamples=400)
    return found.ci_low <= 0.2 <= found.ci_high, found.p_value <= 0.05


def equal_probes(rng: np.random.Generator) -> Hit:
    """Two probes that find the same clusters hard and are equally good."""
    hard = _skill(rng, 0.7)
    a, b = (rng.random(N_CLIPS) < hard for _ in range(2))
    found = paired_difference(a, b, np.ones(N_CLIPS, bool), CLUSTERS, n_resamples=400)
    holds = found.ci_low <= 0.0 <= found.ci_high
    return holds, not holds


SIMULATIONS: dict[Callable[[np.random.Generator], Hit], tuple[bool, bool]] = {
    independent_kappa: (True, True),
    copied_kappa: (True, False),
    exchangeable_excess: (True, True),
    equal_groups: (True, True),
    unequal_groups: (True, False),
    equal_probes: (True, True),
}
"""Whether coverage and false positives are asked of each."""


def run(simulate: Callable[[np.random.Generator], Hit], n: int) -> tuple[float, float]:
    """Coverage and share of rejections over data sets."""
    hits = np.array([simulate(np.random.default_rng(seed)) for seed in range(n)])
    return float(hits[:, 0].mean()), float(hits[:, 1].mean())


@pytest.mark.parametrize("simulate", SIMULATIONS)
def test_coverage_and_false_positives(simulate) -> None:  # type: ignore[no-untyped-def]
    coverage, rejected = run(simulate, 100)
    # Three standard errors of 100 data sets.
    assert coverage >= 0.88
    assert not SIMULATIONS[simulate][1] or rejected <= 0.12


@pytest.mark.slow
@pytest.mark.parametrize("simulate", SIMULATIONS)
def test_coverage_and_false_positives_of_a_thousand(simulate) -> None:  # type: ignore[no-untyped-def]
    coverage, rejected = run(simulate, 1000)
    assert 0.92 <= coverage <= 0.98
    assert not SIMULATIONS[simulate][1] or 0.03 <= rejected <= 0.07


def test_clip_bootstrap_is_too_short() -> None:
    """T21: the same cluster data, clips drawn instead of clusters."""

    def covers(rng: np.random.Generator, clusters: np.ndarray) -> bool:
        skill = rng.beta(1.4, 0.6, size=N_CLUSTERS)[CLUSTERS]
        right = rng.random(N_CLIPS) < skill
        never = np.zeros(N_CLIPS, bool)
        truth = np.ones(N_CLIPS, bool)
        found = paired_difference(right, never, truth, clusters, n_resamples=300)
        return bool(found.ci_low <= 0.7 <= found.ci_high)

    by_cluster = [covers(np.random.default_rng(s), CLUSTERS) for s in range(150)]
    by_clip = [covers(np.random.default_rng(s), np.arange(N_CLIPS)) for s in range(150)]
    assert 0.90 <= np.mean(by_cluster) <= 0.99
    assert np.mean(by_clip) < 0.85
