import math

import numpy as np
import pandas as pd
import pytest

from usad_workbench.core.diagnosis.sentences import describe_nearest
from usad_workbench.core.errors import ShapeError
from usad_workbench.core.similarity import (
    EncoderRole,
    jackknife_difference,
    layer_similarity,
    nearest_teachers,
)

ENCODERS = {
    "teacher-speech": EncoderRole(role="teacher", domain="speech"),
    "teacher-music": EncoderRole(role="teacher", domain="music"),
    "control-speech": EncoderRole(role="control", domain="speech"),
    "control-sound": EncoderRole(role="control", domain="sound"),
    "logmel": EncoderRole(role="baseline"),
}


def row(encoder, value, half=0.05, **more):
    return {
        "student": "s",
        "student_layer": 3,
        "teacher": encoder,
        "teacher_layer": 2,
        "domain": "speech",
        "measure": "debiased_linear_cka",
        "value": value,
        "ci_low": value - half,
        "ci_high": value + half,
        "p_value": 0.01,
        "n_clips": 290,
        "n_clusters": 9,
    } | more


def only(rows, **more):
    found = nearest_teachers(rows, ENCODERS, **more)
    assert len(found) == 1
    return found[0]


def test_maxima_are_compared_with_maxima():
    rows = [
        row("teacher-speech", 0.2, student_layer=0),
        row("teacher-speech", 0.62, student_layer=8, teacher_layer=4),
        row("teacher-music", 0.4),
        row("control-speech", 0.1),
        row("control-speech", 0.60, teacher_layer=5),
        row("someone-else", 0.99),
    ]
    found = only(rows)
    assert (found.teacher.encoder, found.teacher.value, found.teacher.n_pairs) == (
        "teacher-speech",
        0.62,
        2,
    )
    assert found.control.value == 0.60
    assert found.difference.value == pytest.approx(0.02)
    assert found.do_intervals_overlap is True
    assert found.is_nearer_than_control is False
    assert describe_nearest(found) == (
        "in speech the student's geometry is nearest to teacher-speech (debiased CKA 0.62 "
        "[0.57, 0.67] at student layer 8 × teacher layer 4, the maximum of 2 pairs; n = 290 "
        "clips, 9 clusters); the nearest control, control-speech, reaches 0.60 [0.55, 0.65] "
        "(the maximum of 2 pairs), so this alone does not show inheritance"
    )


def test_a_clear_lead_is_said_without_claiming_inheritance():
    found = only([row("teacher-speech", 0.8), row("control-speech", 0.3)])
    assert found.is_nearer_than_control is True
    assert "nearer than this control" in describe_nearest(found)
    assert "any other way" in describe_nearest(found)
    behind = only([row("teacher-speech", 0.3), row("control-speech", 0.8)])
    assert behind.is_nearer_than_control is False


def test_a_control_of_another_home_domain_is_no_yardstick():
    found = only([row("teacher-speech", 0.8), row("control-sound", 0.3)])
    assert found.control is None
    assert found.is_nearer_than_control is None
    assert "no control encoder whose home domain is speech" in describe_nearest(found)
    # On speech clips the music teacher is nearest: its control would be a music encoder.
    mismatch = only([row("teacher-music", 0.8), row("control-speech", 0.3)])
    assert mismatch.control is None
    assert "home domain is music" in describe_nearest(mismatch)


def test_without_intervals_nothing_is_told_apart():
    rows = [
        row("teacher-speech", 0.8, ci_low=None, ci_high=math.nan),
        row("control-speech", 0.3, ci_low=math.nan, ci_high=math.nan),
    ]
    found = only(rows)
    assert found.do_intervals_overlap is None
    assert found.is_nearer_than_control is None
    assert "0.80, no interval" in describe_nearest(found)
    assert "cannot be told apart" in describe_nearest(found)


def test_a_value_below_its_null_is_no_nearness():
    found = only([row("teacher-speech", 0.8, p_value=0.4), row("control-speech", 0.3)])
    assert found.is_above_null is False
    assert "does not stand out" in describe_nearest(found)
    assert only([row("teacher-speech", 0.8, p_value=None)]).is_above_null is None


def test_a_baseline_that_is_as_near_is_named():
    found = only([row("teacher-speech", 0.5), row("logmel", 0.6)])
    assert found.baseline.encoder == "logmel"
    assert "simple properties of the sound" in describe_nearest(found)
    farther = only([row("teacher-speech", 0.5), row("logmel", 0.4)])
    assert "simple" not in describe_nearest(farther)


def test_no_teacher_and_missing_values():
    found = only([row("control-speech", 0.6), row("teacher-speech", 0.9) | {"value": None}])
    assert found.teacher is None
    assert describe_nearest(found) == "in speech no teacher has been compared with the student"


def test_a_data_frame_and_several_domains():
    rows = [row("teacher-speech", 0.5), row("teacher-music", 0.6, domain="music")]
    found = nearest_teachers(pd.DataFrame(rows), ENCODERS)
    assert [(one.domain, one.teacher.encoder) for one in found] == [
        ("speech", "teacher-speech"),
        ("music", "teacher-music"),
    ]
    assert nearest_teachers([], ENCODERS) == []


@pytest.fixture(scope="module")
def matrices():
    rng = np.random.default_rng(0)
    clusters = np.arange(120) // 6
    shared = rng.normal(size=(120, 8))
    student = [shared + 0.5 * rng.normal(size=(120, 8)) for _ in range(2)]
    near = [shared + 0.5 * rng.normal(size=(120, 8)) for _ in range(2)]
    far = [shared + 2.0 * rng.normal(size=(120, 8)) for _ in range(3)]
    return [
        layer_similarity(student, side, clusters, n_permutations=0) for side in (near, far, near)
    ]


def test_joint_jackknife_of_the_difference(matrices):
    near, far, same = matrices
    found = jackknife_difference(near, far)
    assert found.value == pytest.approx(near.values.max() - far.values.max())
    assert 0 < found.ci_low < found.value < found.ci_high
    nothing = jackknife_difference(near, same)
    assert (nothing.value, nothing.ci_low, nothing.ci_high) == (0, 0, 0)
    key = ("s", "teacher-speech", "speech", "debiased_linear_cka")
    other = ("s", "control-speech", "speech", "debiased_linear_cka")
    # Separate intervals that overlap, a joint one that does not hold 0.
    rows = [row("teacher-speech", 0.8, half=0.5), row("control-speech", 0.3, half=0.5)]
    joint = only(rows, matrices={key: near, other: far})
    assert joint.do_intervals_overlap is True
    assert joint.is_nearer_than_control is True
    assert "a difference of" in describe_nearest(joint)
    strict = only(rows, matrices={key: near, other: far}, alpha=1e-40)
    assert strict.is_nearer_than_control is False
    assert "nearer than this control" not in describe_nearest(strict)


def test_difference_of_other_clips_is_refused(matrices):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(40, 3))
    few = layer_similarity([x], [x], np.arange(40) % 4, n_permutations=0)
    with pytest.raises(ShapeError, match="the clips that all encoders have"):
        jackknife_difference(matrices[0], few)
    assert "4 clusters" in jackknife_difference(few, few).reason
