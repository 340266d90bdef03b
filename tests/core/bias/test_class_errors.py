"""Errors copied in one class of many, and none: planted truth for the tests of single classes."""

import numpy as np
import pytest

from usad_workbench.core.bias.class_errors import class_excesses, shrunken_variances
from usad_workbench.core.bias.error_consistency import error_consistency, excess_consistency

N_CLASSES, PER_CLASS, N_CLUSTERS = 6, 50, 20


def world(rng, n_controls, copied_class=None):  # type: ignore[no-untyped-def]
    """Answers of teacher, student and controls that find the same clips hard."""
    labels = np.repeat(np.arange(N_CLASSES), PER_CLASS)
    clusters = rng.integers(N_CLUSTERS, size=len(labels))
    hard = rng.normal(size=len(labels)) + 0.5 * rng.normal(size=N_CLUSTERS)[clusters]

    def answers():  # type: ignore[no-untyped-def]
        own = rng.normal(size=len(labels)) + 0.4 * rng.normal(size=N_CLASSES)[labels]
        return own + 0.6 > hard

    teacher, student, *controls = (answers() for _ in range(2 + n_controls))
    if copied_class is not None:
        student = np.where(labels == copied_class, teacher, student)
    return student, teacher, controls, labels, clusters


@pytest.mark.parametrize("slot", ["teacher", "student"])
def test_errors_copied_in_one_class_are_found_there_alone(slot) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(0)
    named, overall = [], []
    for _ in range(30):
        student, teacher, controls, labels, clusters = world(rng, 6, copied_class=2)
        found = class_excesses(student, teacher, controls, labels, clusters, slot=slot)
        named.append([one.label for one in found if one.p_value < 0.05 / N_CLASSES])
        whole = excess_consistency(student, teacher, controls, clusters, slot=slot)
        overall.append(whole.p_value < 0.05)
    assert sum("2" in names for names in named) >= 27
    assert sum(len(set(names) - {"2"}) for names in named) <= 3
    assert sum(overall) < 20  # what the test over all classes sees of it


def test_classes_are_named_by_chance_at_the_level() -> None:
    rng = np.random.default_rng(1)
    smallest = []
    for _ in range(150):
        p = [one.p_value for one in class_excesses(*world(rng, 4))]
        smallest.append(min(p) * len(p))
    assert np.mean(np.asarray(smallest) <= 0.05) <= 0.09  # 0.05 + 2.3 standard errors


def test_kappa_of_a_class_is_that_of_its_clips() -> None:
    student, teacher, controls, labels, clusters = world(np.random.default_rng(2), 3)
    for one in class_excesses(student, teacher, controls, labels, clusters):
        rows = labels == int(one.label)
        alone = error_consistency(student[rows], teacher[rows], np.arange(PER_CLASS))
        if np.isfinite(alone.kappa):
            assert one.kappa == pytest.approx(alone.kappa, abs=1e-12)
        assert one.n_clips == PER_CLASS
        assert one.ci_low < one.value < one.ci_high


def test_what_cannot_be_asked_is_left_out() -> None:
    student, teacher, controls, labels, clusters = world(np.random.default_rng(3), 3)
    assert class_excesses(student, teacher, controls[:1], labels, clusters) == []
    assert class_excesses(student, teacher, controls[:1] * 3, labels, clusters) == []
    assert class_excesses(student, teacher, controls, labels, clusters % 5) == []
    assert class_excesses(student | True, teacher, controls, labels, clusters) == []


def test_variances_that_are_alike_are_taken_together() -> None:
    rng = np.random.default_rng(4)
    sizes = np.array([20.0, 40.0, 80.0] * 40)
    variances = 3 / sizes * rng.chisquare(3, size=120) / 3
    shrunk, df = shrunken_variances(variances, sizes, 3)
    assert df > 12
    assert np.median(shrunk * sizes) == pytest.approx(3, rel=0.15)
    assert np.std(np.log(shrunk * sizes)) < 0.6 * np.std(np.log(variances * sizes))
    far = shrunken_variances(variances * np.exp(3 * rng.normal(size=120)), sizes, 3)
    assert far[1] < 4
