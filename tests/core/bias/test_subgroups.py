"""Subgroup gaps on planted groups; T18 of the reference table."""

import numpy as np
import pytest

from usad_workbench.core.bias.subgroups import equalised_odds_gap, group_gap, inherited_gap
from usad_workbench.core.errors import DegenerateError, ShapeError


def test_a_gap_of_equal_groups_is_noise():
    """T18: 5 groups of 30 clips at accuracy 0.8 show a gap of 0.17 (reference page)."""
    rng = np.random.default_rng(0)
    groups = np.arange(150) % 5
    found = [
        group_gap(
            rng.random(150) < 0.8, groups, np.arange(150), n_permutations=200, n_resamples=200
        )
        for _ in range(60)
    ]
    assert np.mean([one.gap for one in found]) == pytest.approx(0.17, abs=0.02)
    assert np.mean([one.debiased_gap for one in found]) == pytest.approx(0.0, abs=0.03)
    assert np.mean([one.p_value <= 0.05 for one in found]) < 0.15


def test_a_planted_gap_is_found_and_named():
    rng = np.random.default_rng(1)
    speakers = np.arange(1200) // 20
    sex = np.where(speakers % 2 == 0, "f", "m")
    right = rng.random(1200) < np.where(sex == "f", 0.6, 0.8)
    found = group_gap(right, sex, speakers)
    assert found.worst_group == "f"
    assert found.worst_value == pytest.approx(right[sex == "f"].mean())
    assert found.worst_ci_low < 0.6 < found.worst_ci_high
    assert found.gap == pytest.approx(right[sex == "m"].mean() - right[sex == "f"].mean())
    assert found.ci_low < 0.2 < found.ci_high
    assert found.p_value < 0.01
    assert found.dealt_over == "clusters"


def test_groups_of_speakers_are_no_groups_of_clips():
    """Speaker effects alone, sex dealt at random: clip permutation sees a gap, ours does not."""
    rng = np.random.default_rng(2)
    speakers = np.repeat(np.arange(16), 25)
    by_clusters, by_clips = [], []
    for _ in range(40):
        right = rng.random(400) < rng.beta(3, 1, size=16)[speakers]
        sex = speakers % 2
        settings = {"n_permutations": 200, "n_resamples": 100}
        by_clusters.append(group_gap(right, sex, speakers, **settings).p_value <= 0.05)
        by_clips.append(group_gap(right, sex, np.arange(400), **settings).p_value <= 0.05)
    assert np.mean(by_clusters) < 0.15
    assert np.mean(by_clips) > 0.25


def test_groups_within_clusters_are_dealt_within_them():
    rng = np.random.default_rng(3)
    speakers, language = np.arange(600) // 20, np.arange(600) % 2
    found = group_gap(rng.random(600) < 0.6 + 0.3 * language, language, speakers)
    assert found.dealt_over == "clips of a cluster"
    assert found.worst_group == "0"
    assert found.p_value < 0.01


def test_seeds_are_averaged_and_few_clusters_give_no_interval():
    right = np.random.default_rng(4).random(140) < 0.7
    clusters = np.arange(140) // 20
    once = group_gap(right, clusters % 2, clusters)
    assert group_gap(np.tile(right, (3, 1)), clusters % 2, clusters) == once
    assert np.isnan(once.ci_low)
    assert "7 clusters" in once.reason


def test_groups_of_one_cluster_each_have_no_null():
    right = np.random.default_rng(9).random(200) < 0.7
    found = group_gap(right, np.arange(200) // 20, np.arange(200) // 20)
    assert np.isnan(found.p_value)
    assert np.isnan(found.debiased_gap)
    assert "no null" in found.reason


def test_one_group_is_refused():
    with pytest.raises(DegenerateError, match="at least 2"):
        group_gap(np.ones(20), ["a"] * 20, np.arange(20))
    with pytest.raises(ShapeError, match="groups for 20 clips"):
        group_gap(np.ones(20), ["a"] * 19, np.arange(20))


# Values of fairlearn 0.15.0 (frozen_fairlearn.py beside this file made them).
FAIRLEARN = {"accuracy_gap": 0.27, "odds_gap": 0.28935185185185186}


def test_gaps_are_those_of_fairlearn():
    rng = np.random.default_rng(5)
    labels, groups = rng.integers(2, size=300), np.arange(300) % 3
    flip = rng.random(300) < np.array([0.1, 0.2, 0.3])[groups]
    predicted = np.where(flip, 1 - labels, labels)
    gap = group_gap(predicted == labels, groups, np.arange(300)).gap
    odds = equalised_odds_gap(labels, predicted, groups)
    assert gap == pytest.approx(FAIRLEARN["accuracy_gap"], abs=1e-12)
    assert odds == pytest.approx(FAIRLEARN["odds_gap"], abs=1e-12)


def test_odds_of_many_classes_are_the_mean_of_one_against_the_rest():
    rng = np.random.default_rng(6)
    labels, predicted, groups = (rng.integers(k, size=500) for k in (4, 4, 3))
    gaps = []
    for y in range(4):
        rates = [
            [np.mean(predicted[(groups == g) & ((labels == y) == side)] == y) for g in range(3)]
            for side in (True, False)
        ]
        gaps.append(max(np.ptp(rate) for rate in rates))
    assert equalised_odds_gap(labels, predicted, groups) == pytest.approx(np.mean(gaps))


def _profiles(rng, copied):
    """Six groups; the teacher's weak ones are the student's in the share that is copied."""
    group = np.arange(3000) % 6
    clusters = np.arange(3000) // 30

    def profile():
        return rng.permutation([0.4, 0.5, 0.6, 0.7, 0.8, 0.9])

    teacher = profile()
    student = teacher if copied else profile()
    controls = [rng.random(3000) < profile()[group] for _ in range(4)]
    return (
        rng.random(3000) < student[group],
        rng.random(3000) < teacher[group],
        controls,
        group,
        clusters,
    )


def test_an_inherited_profile_exceeds_that_of_controls():
    found = inherited_gap(*_profiles(np.random.default_rng(7), copied=True))
    assert found.value > 0.5
    assert found.ci_low > 0


def test_a_profile_of_its_own_does_not():
    values = [
        inherited_gap(*_profiles(np.random.default_rng(seed), copied=False), n_resamples=50).value
        for seed in range(30)
    ]
    assert np.mean(values) == pytest.approx(0.0, abs=0.2)


def test_two_groups_have_no_profile():
    right = np.random.default_rng(8).random(100) < 0.5
    with pytest.raises(DegenerateError, match="at least 3"):
        inherited_gap(right, right, [right], np.arange(100) % 2, np.arange(100))
    with pytest.raises(DegenerateError, match="control"):
        inherited_gap(right, right, [], np.arange(100) % 5, np.arange(100))
