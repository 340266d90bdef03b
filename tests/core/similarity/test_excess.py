"""Excess over controls: nothing is found where nothing was copied, and what was copied is."""

import math

import numpy as np
import pytest
from scipy import stats

from tests.core.similarity.worlds import World, draw_world, rejection_rate
from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.similarity import debiased_linear_cka, mutual_knn
from usad_workbench.core.similarity._shares import clip_shares
from usad_workbench.core.similarity.excess import (
    difference_of_excesses,
    excess_over_controls,
    excess_similarity,
)

SIZES = {"n_clips": 90, "n_clusters": 30}


def found_in(world: World, **options):
    return excess_similarity(
        world.student, world.teacher, world.controls, world.clusters, **options
    )


def test_the_p_value_is_crawford_and_howells():
    controls = np.array([0.3, 0.2, 0.25, 0.31])
    left_out = np.full(30, 0.6)
    left_out[0] = 0.59
    found = excess_over_controls(0.6, controls, left_out, np.tile(controls, (30, 1)), **SIZES)
    t = (0.6 - controls.mean()) / (controls.std(ddof=1) * np.sqrt(1.25))
    assert found.value == pytest.approx(0.6 - controls.mean())
    assert found.p_value == pytest.approx(stats.t.sf(t, 3))
    half = stats.t.ppf(0.975, 3) * controls.std(ddof=1) * np.sqrt(1.25)
    assert (found.ci_low, found.ci_high) == pytest.approx((found.value - half, found.value + half))
    replicates = left_out - controls.mean()
    error = np.sqrt(29 / 30 * np.sum((replicates - replicates.mean()) ** 2))
    assert found.clip_error == pytest.approx(error)
    assert found.p_kind == "one case against 4 controls, t(3), one-sided"


@pytest.mark.parametrize("slot", ["student", "teacher"])
@pytest.mark.parametrize("measure", ["debiased_linear_cka", "mutual_knn"])
def test_excess_is_the_difference_of_pairwise_values(slot, measure):
    world = draw_world(np.random.default_rng(0), copied=0.5, n_controls=3)
    found = found_in(world, slot=slot, measure=measure)
    ids = world.clusters

    def value(x, y):
        if measure == "mutual_knn":
            return mutual_knn(x, y, 10, ids)
        return debiased_linear_cka(x, y, ids)

    controls = [
        value(c, world.teacher) if slot == "student" else value(world.student, c)
        for c in world.controls
    ]
    expected = value(world.student, world.teacher) - np.mean(controls)
    assert found.value == pytest.approx(expected, abs=1e-10)
    shares = clip_shares(world.student, world.teacher, ids, measure=measure)
    assert shares.mean() == pytest.approx(value(world.student, world.teacher), abs=1e-10)
    order = np.random.default_rng(1).permutation(len(ids))
    shuffled = excess_similarity(
        world.student[order], world.teacher, world.controls, ids, slot=slot, measure=measure
    )
    assert shuffled.observed < 0.6 * found.observed


def test_clip_shares_find_the_clips_that_were_copied():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(2, 200, 16))
    y[:40] = x[:40] + 0.1 * rng.normal(size=(40, 16))
    for measure in ("debiased_linear_cka", "mutual_knn"):
        shares = clip_shares(x, y, np.arange(200), measure=measure)
        ranks = stats.rankdata(shares)
        auc = (ranks[:40].sum() - 40 * 41 / 2) / (40 * 160)
        assert auc > 0.8


def test_t10_excess_is_zero_without_copying_and_grows_with_it():
    means = []
    for copied in (0.0, 0.25, 0.5, 1.0):
        rng = np.random.default_rng(4)
        values = [found_in(draw_world(rng, copied=copied, n_controls=4)).value for _ in range(12)]
        means.append(np.mean(values))
    assert means[0] == pytest.approx(0.0, abs=0.03)
    assert means[0] + 0.05 < means[1] < means[2] < means[3]


def test_t10_partial_similarity_given_a_control_would_feign_inheritance():
    """A noisy control under-adjusts: what the excess gets right, holding it fixed does not."""
    rng = np.random.default_rng(5)
    partial, excess = [], []
    for _ in range(40):
        world = draw_world(rng, copied=0.0, n_controls=1, loudness=1.3)
        control = world.controls[0]
        st = debiased_linear_cka(world.student, world.teacher)
        sc = debiased_linear_cka(world.student, control)
        tc = debiased_linear_cka(world.teacher, control)
        partial.append((st - sc * tc) / math.sqrt((1 - sc**2) * (1 - tc**2)))
        excess.append(found_in(world).value)
    assert np.mean(partial) > 0.3
    assert np.mean(excess) == pytest.approx(0.0, abs=0.03)


@pytest.mark.parametrize("slot", ["student", "teacher"])
@pytest.mark.parametrize("n_controls", [2, 4, 8])
def test_false_positives_in_small(slot, n_controls):
    """A small version of SIMULATIONS_inheritance.md."""
    rate = rejection_rate(100, n_controls, slot=slot, seed=6)
    assert rate == pytest.approx(0.05, abs=0.046)


def test_copying_is_found():
    assert rejection_rate(40, 4, copied=0.7, slot="teacher", seed=7) > 0.9


def test_home_minus_others_is_positive_at_home_and_negative_elsewhere():
    rng = np.random.default_rng(8)
    inside = found_in(draw_world(rng, copied=0.8, n_controls=4))
    outside = [found_in(draw_world(rng, copied=0.0, n_controls=4)) for _ in range(2)]
    home = difference_of_excesses(inside, outside)
    assert home.value == pytest.approx(inside.value - np.mean([o.value for o in outside]))
    assert home.p_value < 0.05
    away = difference_of_excesses(outside[0], [inside])
    assert away.value < 0
    assert away.p_value < 0.05
    assert away.p_kind == "one case against 4 controls, t(3), two-sided"


def test_one_control_gives_an_interval_over_clips_and_no_p():
    found = found_in(draw_world(np.random.default_rng(9), copied=0.9, n_controls=1))
    assert math.isnan(found.p_value)
    assert (found.ci_low, found.ci_high) == (found.clips_low, found.clips_high)
    assert "one control: no p" in found.reason


def test_equal_controls_and_few_clusters_give_no_p():
    world = draw_world(np.random.default_rng(10), copied=0.9, n_controls=1)
    twice = excess_similarity(world.student, world.teacher, [world.controls[0]] * 3, world.clusters)
    assert math.isnan(twice.p_value)
    assert "cannot be told apart" in twice.reason
    few = excess_similarity(
        world.student, world.teacher, [world.controls[0], world.student], world.clusters % 7
    )
    assert math.isnan(few.p_value)
    assert math.isnan(few.ci_low)
    assert "7 clusters" in few.reason


def test_degenerate_input_is_refused():
    world = draw_world(np.random.default_rng(11), copied=0.0, n_controls=2)
    x, y, ids = world.student, world.teacher, world.clusters
    with pytest.raises(DegenerateError, match="no control"):
        excess_similarity(x, y, [], ids)
    with pytest.raises(DegenerateError, match="no geometry"):
        excess_similarity(x, y, [np.ones_like(x)], ids)
    with pytest.raises(DegenerateError, match="not finite"):
        excess_similarity(x, y, [np.full_like(x, np.nan)], ids)
    with pytest.raises(ShapeError, match="same clips"):
        excess_similarity(x, y, [x[:-1]], ids)
    with pytest.raises(ShapeError, match="Leave out the same groups"):
        excess_over_controls(0.5, np.array([0.1, 0.2]), np.ones(9), np.ones((9, 3)), **SIZES)
    one = excess_over_controls(0.5, np.array([0.1, 0.2]), None, None, **SIZES)
    with pytest.raises(DegenerateError, match="no other domain"):
        difference_of_excesses(one, [])
    other = excess_over_controls(0.5, np.array([0.1]), None, None, **SIZES)
    with pytest.raises(ShapeError, match="same controls"):
        difference_of_excesses(one, [other])
