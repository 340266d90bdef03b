"""Displacements of planted encoders, and profiles that are copied or not."""

import numpy as np
import pytest
from numpy.typing import NDArray

from usad_workbench.core.bias.displacement import (
    Sensitivity,
    excess_of_cause,
    excess_similarity,
    inherited_trait,
    profile_slope,
    sensitivity,
    spread,
)
from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.interventions import (
    INTERVENTIONS,
    apply_intervention,
    intervention_rng,
)

N_CLIPS, N_INTERVENTIONS = 30, 20


def test_spread_is_the_mean_over_pairs_with_and_without_each_cluster() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(23, 5)) + 3
    labels = rng.integers(0, 4, 23)
    clusters = np.array([f"c{one}" for one in rng.integers(0, 9, 23)])

    def literal(rows: NDArray[np.intp], same_class: bool) -> float:
        pairs = [
            ((x[i] - x[j]) ** 2).sum()
            for i in rows
            for j in rows
            if i != j and (labels[i] == labels[j] or not same_class)
        ]
        return float(np.mean(pairs))

    found = spread(x, labels, clusters)
    everything = np.arange(23)
    assert found.within_class == pytest.approx(literal(everything, True))
    assert found.within_domain == pytest.approx(literal(everything, False))
    for name in set(clusters.tolist()):
        rows = np.flatnonzero(clusters != name)
        assert found.class_left_out[name] == pytest.approx(literal(rows, True))
        assert found.domain_left_out[name] == pytest.approx(literal(rows, False))


def test_an_encoder_that_ignores_gain_but_not_noise() -> None:
    """Real changes of real signals: the spectrum's shape does not see gain, its level does."""
    rng = np.random.default_rng(1)
    clips = []
    for i in range(12):
        hz = np.fft.rfftfreq(8000, 1 / 16_000)
        shape = np.exp(-(((hz - 400 * (1 + i % 3)) / 300) ** 2)) + 0.01
        clips.append(np.fft.irfft(np.fft.rfft(rng.normal(size=8000)) * shape).astype(np.float32))
    labels, clusters = [i % 3 for i in range(12)], [f"c{i}" for i in range(12)]
    changes = [one for one in INTERVENTIONS if one.name in ("gain", "white-noise")]

    def bands(x: NDArray[np.float32]) -> NDArray[np.float64]:
        power = np.abs(np.fft.rfft(x)) ** 2
        return np.log([part.sum() for part in np.array_split(power, 8)])

    def found(normalised: bool) -> dict[tuple[str, float], float]:
        def encode(x: NDArray[np.float32]) -> NDArray[np.float64]:
            levels = bands(x)
            return levels - levels.mean() if normalised else levels

        base = np.array([encode(x) for x in clips])
        distances = np.array(
            [
                [
                    np.linalg.norm(
                        encode(apply_intervention(one, x, 16_000, intervention_rng(0, one, str(i))))
                        - base[i]
                    )
                    for i, x in enumerate(clips)
                ]
                for one in changes
            ]
        )
        result = sensitivity(distances, clusters, spread(base, labels, clusters))
        keys = [(one.name, one.strength) for one in changes]
        return dict(zip(keys, result.displacement.tolist(), strict=True))

    invariant, fragile = found(True), found(False)
    assert invariant["gain", 12.0] < 1e-3
    assert fragile["gain", 12.0] > 1
    # The level of 8 log bands moves by ln(10) * 1.2 each under +12 dB: twice that of +6 dB.
    assert fragile["gain", 12.0] / fragile["gain", 6.0] == pytest.approx(2.0, rel=1e-3)
    assert invariant["white-noise", 0.0] > invariant["white-noise", 20.0] > 0.3


def world(seed: int, copy: float) -> tuple[Sensitivity, Sensitivity, list[Sensitivity]]:
    """A student, a teacher and five controls; a share of the teacher's own traits is copied."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=N_INTERVENTIONS) * 0.5
    difficulty = rng.normal(size=N_CLIPS) * 0.1
    scale = spread(rng.normal(size=(N_CLIPS, 4)), np.zeros(N_CLIPS, dtype=int), np.arange(N_CLIPS))

    def encoder(own: NDArray[np.float64]) -> Sensitivity:
        noise = rng.normal(size=(N_INTERVENTIONS, N_CLIPS)) * 0.1
        logs = (common + own)[:, None] + difficulty + noise
        return sensitivity(10**logs, np.arange(N_CLIPS), scale)

    traits = rng.normal(size=N_INTERVENTIONS) * 0.4
    teacher = encoder(traits)
    controls = [encoder(rng.normal(size=N_INTERVENTIONS) * 0.4) for _ in range(5)]
    own = rng.normal(size=N_INTERVENTIONS) * 0.4
    return encoder(copy * traits + (1 - copy) * own), teacher, controls


def test_a_copied_profile_has_an_excess_and_an_independent_one_has_none() -> None:
    copied, independent = [], []
    for seed in range(40):
        copied.append(excess_similarity(*world(seed, 0.9)))
        independent.append(excess_similarity(*world(seed, 0.0)))
    found = sum(one.ci_low > 0 for one in copied)
    false = sum(one.ci_low > 0 for one in independent)
    # All encoders share what is hard: their profiles correlate with no copying at all.
    assert np.mean([one.value for one in independent]) > 0.3
    assert abs(np.mean([one.excess for one in independent])) < 0.1
    assert found >= 20 and false <= 4, (found, false)


def test_slope_and_causes_of_a_copy() -> None:
    student, teacher, controls = world(3, 1.0)
    assert profile_slope(student.profile, teacher.profile) == pytest.approx(1.0, abs=0.1)
    traits = [
        inherited_trait(
            excess_of_cause(student, controls, i), excess_of_cause(teacher, controls, i), 0.05
        )
        for i in range(N_INTERVENTIONS)
    ]
    stronger = teacher.profile - np.mean([one.profile for one in controls], axis=0)
    for trait, sign in zip(traits, stronger, strict=True):
        assert trait == "no" or (trait == "fragility") == (sign > 0)
    assert set(traits) > {"no"}


def test_intervals_cover_clustered_clips() -> None:
    """Nominal 95 %, 30 clusters of 3 clips; the truth is the expectation of the draw."""
    hits = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        clusters = np.repeat(np.arange(30), 3)
        x = rng.normal(size=(30, 6))[clusters] + rng.normal(size=(90, 6))
        scale = spread(x, np.zeros(90, dtype=int), clusters)
        moved = rng.normal(size=(30, 6))[clusters] * 0.5 + rng.normal(size=(90, 6)) * 0.5
        found = sensitivity(np.linalg.norm(moved, axis=1)[None], clusters, scale)
        low, high, _ = found.limits()
        # |moved|² has mean 6 * 0.5; two clips of x lie 2 * 6 * 2 apart, but for clips that
        # share a cluster (2 of 89 others), where the cluster's own part cancels.
        truth = np.sqrt(3 / (24 - 12 * 2 / 89))
        hits += bool(low[0] <= truth <= high[0])
    assert 182 <= hits <= 198


def test_degenerate_input_is_named() -> None:
    with pytest.raises(DegenerateError, match="share a class"):
        spread(np.eye(4), list("abcd"), list("abcd"))
    with pytest.raises(DegenerateError, match="share a class"):
        spread(np.ones((4, 2)), list("aabb"), list("abcd"))
    with pytest.raises(ShapeError):
        spread(np.ones((1, 2)), ["a"], ["a"])
    scale = spread(np.eye(4), list("aabb"), list("abcd"))
    with pytest.raises(ShapeError):
        sensitivity(np.ones((2, 0)), [], scale)
    one_clip = sensitivity(np.ones((3, 1)), ["a"], scale)
    assert np.isnan(one_clip.limits()[0]).all() and "1 clusters" in one_clip.limits()[2]
    with pytest.raises(DegenerateError, match="no differences"):
        excess_similarity(one_clip, one_clip, [])
    student, teacher, controls = world(0, 1.0)
    assert excess_similarity(student, teacher, []).reason == "not testable: no control"
    assert "at least 2" in excess_similarity(student, teacher, controls[:1]).reason
