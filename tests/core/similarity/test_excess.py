"""Excess over controls: the t of one case, its limits, and what has none."""

import math

import numpy as np
import pytest
from scipy import stats

from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.similarity import debiased_linear_cka
from usad_workbench.core.similarity._shares import clip_shares
from usad_workbench.core.similarity.excess import excess_over_controls

SIZES = {"n_clips": 90, "n_clusters": 30}


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


def test_clip_shares_find_the_clips_that_were_copied():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(2, 200, 16))
    y[:40] = x[:40] + 0.1 * rng.normal(size=(40, 16))
    for measure in ("debiased_linear_cka", "mutual_knn"):
        shares = clip_shares(x, y, np.arange(200), measure=measure)
        ranks = stats.rankdata(shares)
        auc = (ranks[:40].sum() - 40 * 41 / 2) / (40 * 160)
        assert auc > 0.8


def test_t10_partial_similarity_given_a_control_would_feign_inheritance():
    """A noisy control under-adjusts: what the excess gets right, holding it fixed does not."""
    rng = np.random.default_rng(5)
    partial, excess = [], []
    for _ in range(40):
        student, teacher, control = draw_encoders(rng)
        st = debiased_linear_cka(student, teacher)
        sc = debiased_linear_cka(student, control)
        tc = debiased_linear_cka(teacher, control)
        partial.append((st - sc * tc) / math.sqrt((1 - sc**2) * (1 - tc**2)))
        excess.append(excess_over_controls(st, np.array([sc]), None, None, **SIZES).value)
    assert np.mean(partial) > 0.3
    assert np.mean(excess) == pytest.approx(0.0, abs=0.03)


def draw_encoders(rng):
    """A student, a teacher and a control that hear the same content; nothing is copied."""
    clusters = np.repeat(np.arange(30), 4)

    def factors():
        return rng.normal(size=(120, 6)) + rng.normal(size=(30, 6))[clusters]

    def through_ears(what, size):
        ears = np.linalg.qr(rng.normal(size=(16, 6)))[0].T
        return size * what @ ears + 0.3 * rng.normal(size=(120, 16))

    content = factors()
    return [
        through_ears(content, 1.3 * np.exp(0.1 * rng.normal())) + through_ears(factors(), 1.0)
        for _ in range(3)
    ]


@pytest.mark.parametrize("n_controls", [2, 4, 8])
def test_one_draw_more_is_found_at_the_level(n_controls):
    rng = np.random.default_rng(6)
    p = []
    for _ in range(2000):
        draws, left_out = rng.normal(size=1 + n_controls), rng.normal(size=(30, 1 + n_controls))
        found = excess_over_controls(draws[0], draws[1:], left_out[:, 0], left_out[:, 1:], **SIZES)
        p.append(found.p_value)
    assert np.mean(np.array(p) <= 0.05) == pytest.approx(0.05, abs=0.015)


def test_one_control_gives_an_interval_over_clips_and_no_p():
    left_out = np.random.default_rng(9).normal(size=(30, 2)) / 100
    found = excess_over_controls(0.5, np.array([0.1]), left_out[:, 0], left_out[:, 1:], **SIZES)
    assert math.isnan(found.p_value)
    assert (found.ci_low, found.ci_high) == (found.clips_low, found.clips_high)
    assert "one control: no p" in found.reason


def test_equal_controls_and_few_clusters_give_no_p():
    left_out = np.random.default_rng(10).normal(size=(30, 4)) / 100
    twice = excess_over_controls(0.5, np.full(3, 0.2), left_out[:, 0], left_out[:, 1:], **SIZES)
    assert math.isnan(twice.p_value)
    assert "cannot be told apart" in twice.reason
    few = excess_over_controls(
        0.5, np.array([0.1, 0.2]), left_out[:7, 0], left_out[:7, 1:3], n_clips=28, n_clusters=7
    )
    assert math.isnan(few.p_value)
    assert math.isnan(few.ci_low)
    assert "7 clusters" in few.reason


def test_degenerate_input_is_refused():
    with pytest.raises(DegenerateError, match="no control"):
        excess_over_controls(0.5, np.array([]), None, None, **SIZES)
    with pytest.raises(DegenerateError, match="no geometry"):
        excess_over_controls(0.5, np.array([math.nan]), None, None, **SIZES)
    with pytest.raises(ShapeError, match="Leave out the same groups"):
        excess_over_controls(0.5, np.array([0.1, 0.2]), np.ones(9), np.ones((9, 3)), **SIZES)
