"""T14: SpEAT with a planted shift, and its null with speakers and with clips.

``WEFE_VALUE`` is of the package wefe 1.0.1 (ddof 0), made by ``reference_values.py``.
Rejections at 0.05 of 120 data sets without a shift.
"""

import numpy as np
import pytest
from scipy.spatial.distance import cosine
from scipy.stats import nct

from usad_workbench.core.bias.associations import (
    AssociationTest,
    association,
    association_inheritance,
    association_scores,
    effect_size,
)
from usad_workbench.core.errors import DegenerateError, ShapeError

WEFE_VALUE = -1.3771559149261086


def world(seed: int, shift: float, n: int = 20, clips: int = 10, speaker: float = 1.0):  # type: ignore[no-untyped-def]
    """Two groups of n speakers, and 60 clips for each of two attributes along one axis."""
    rng = np.random.default_rng(seed)
    unit = np.repeat(np.arange(2 * n), clips)
    x = speaker * rng.normal(size=(2 * n, 16))[unit] + rng.normal(size=(len(unit), 16))
    x[:, 0] += shift * (unit < n)
    attributes = rng.normal(size=(120, 16))
    attributes[:60, 0] += 1.5
    attributes[60:, 0] -= 1.5
    rows = np.arange(len(unit) + 120)
    m = n * clips
    test = AssociationTest(
        name="planted",
        x=rows[:m],
        y=rows[m : 2 * m],
        a=rows[2 * m : 2 * m + 60],
        b=rows[2 * m + 60 :],
    )
    return np.vstack([x, attributes]), test, np.concatenate([unit, 1000 + np.arange(120)])


def test_planted_shift_is_found_and_its_absence_too() -> None:
    x, test, unit = world(0, 1.5)
    found = association(x, test, unit)
    assert found.d > 0.5
    assert found.p_value < 0.01
    assert found.ci_low < found.d < found.ci_high
    none = [association(*world(seed, 0.0), n_permutations=199) for seed in range(1, 9)]
    assert abs(np.mean([one.d for one in none])) < 0.3
    assert np.median([one.p_value for one in none]) > 0.05


def test_sides_give_the_sign_and_the_test_has_two() -> None:
    x, test, unit = world(0, 1.5)
    turned = AssociationTest(name="t", x=test.y, y=test.x, a=test.a, b=test.b)
    one, other = association(x, test, unit), association(x, turned, unit)
    assert other.d == pytest.approx(-one.d)
    assert other.p_value < 0.01


def test_null_rejects_at_its_level_with_speakers_and_far_above_with_clips() -> None:
    by_speaker, by_clip = [], []
    for seed in range(120):
        x, test, unit = world(seed, 0.0, n=8, clips=25)
        by_speaker.append(association(x, test, unit, n_permutations=199).p_value <= 0.05)
        if seed < 40:
            p = association(x, test, np.arange(len(x)), n_permutations=99).p_value
            by_clip.append(p <= 0.05)
    assert np.mean(by_speaker) <= 0.08
    assert np.mean(by_clip) > 0.15


def test_offset_moves_the_raw_value_alone() -> None:
    x, test, unit = world(0, 1.0)
    moved = association(x + 10.0, test, unit)
    assert moved.d == pytest.approx(association(x, test, unit).d)
    assert moved.d_raw != pytest.approx(association(x, test, unit).d_raw, abs=0.01)


def test_effect_size_is_the_literal_one() -> None:
    rng = np.random.default_rng(0)
    w, a, b = rng.normal(size=(10, 4)), rng.normal(size=(6, 4)), rng.normal(size=(5, 4))
    s = np.array(
        [
            np.mean([1 - cosine(one, p) for p in a]) - np.mean([1 - cosine(one, q) for q in b])
            for one in w
        ]
    )
    np.testing.assert_allclose(association_scores(w, a, b), s, atol=1e-12)
    for ddof in (0, 1):  # 0 is wefe's
        literal = (s[:5].mean() - s[5:].mean()) / np.std(s, ddof=ddof)
        assert effect_size(s[:5], s[5:], ddof) == pytest.approx(literal, abs=1e-12)
    assert effect_size(s[:5], s[5:], 0) == pytest.approx(WEFE_VALUE, abs=1e-12)


def test_slope_over_tests() -> None:
    found = association_inheritance([0.2, -0.4, np.nan], [0.4, -0.8, 1.0])
    assert (found.slope, found.sign_agreement, found.n_tests) == (pytest.approx(0.5), 1.0, 2)


def test_degenerate_input_is_named() -> None:
    x, test, unit = world(0, 0.0)
    with pytest.raises(DegenerateError):
        association(np.ones_like(x), test, unit)
    with pytest.raises(ShapeError):
        association(x, AssociationTest(name="t", x=test.x, y=test.x, a=test.a, b=test.b), unit)
    with pytest.raises(ShapeError):
        association(x, AssociationTest(name="t", x=test.x[:0], y=test.y, a=test.a, b=test.b), unit)
    few = AssociationTest(name="t", x=test.x[:20], y=test.y, a=test.a, b=test.b)
    assert np.isnan(association(x, few, unit).p_value)
    with pytest.raises(DegenerateError):
        association_inheritance([np.nan], [1.0])


def test_the_interval_is_that_of_a_noncentral_t_and_holds_with_few_clusters() -> None:
    rng = np.random.default_rng(8)
    held = []
    for _ in range(200):
        x, test, unit = world(int(rng.integers(2**31)), 0.6, n=4, clips=3)
        found = association(x, test, unit, n_permutations=1)
        held.append((found.d, found.ci_low, found.ci_high))
    d, low, high = np.transpose(held)
    assert 0.9 <= np.mean((low <= d.mean()) & (d.mean() <= high)) <= 0.99
    n_x = n_y = 4
    root = np.sqrt(1 / n_x + 1 / n_y)
    # d is a rising function of t, and so are its limits of the shift.
    t = d[0] * np.sqrt((8 - 2) / (8 - 1 - n_x * n_y / 8 * d[0] ** 2)) / root
    for limit, tail in ((low[0], 0.975), (high[0], 0.025)):
        apart = limit / np.sqrt(1 - n_x * n_y / 64 * limit**2)
        assert nct.cdf(t, 6, apart / root) == pytest.approx(tail, abs=1e-3)
