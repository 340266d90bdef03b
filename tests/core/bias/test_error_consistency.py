"""Error consistency on planted copying; T11, T12 and T13 of the reference table."""

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from usad_workbench.core.bias.error_consistency import (
    error_consistency,
    excess_consistency,
    shared_confusions,
)
from usad_workbench.core.errors import DegenerateError, ShapeError

N = 20_000
CLUSTERS = np.arange(N) // 20


def _copying(rng, share, accuracy, teacher_accuracy, n=N):
    """A student that copies the teacher's rightness on a share of clips."""
    teacher = rng.random(n) < teacher_accuracy
    own = rng.random(n) < accuracy
    return np.where(rng.random(n) < share, teacher, own), teacher


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_kappa_is_the_share_of_copied_clips_at_equal_accuracy(share):
    student, teacher = _copying(np.random.default_rng(0), share, 0.8, 0.8)
    found = error_consistency(student, teacher, CLUSTERS)
    assert found.kappa == pytest.approx(share, abs=0.05)
    assert found.ci_low <= found.kappa <= found.ci_high
    assert found.copy_probability == pytest.approx(share, abs=0.05)


@pytest.mark.parametrize(("share", "kappa"), [(0.0, 0.0), (0.25, 0.146), (0.5, 0.374), (1.0, 1.0)])
def test_copy_probability_corrects_for_unequal_accuracies(share, kappa):
    student, teacher = _copying(np.random.default_rng(1), share, 0.7, 0.9)
    found = error_consistency(student, teacher, CLUSTERS)
    assert found.copy_probability == pytest.approx(share, abs=0.05)
    assert found.kappa == pytest.approx(kappa, abs=0.04)  # of the reference page


def test_two_good_independent_probes_agree_but_are_not_consistent():
    student, teacher = _copying(np.random.default_rng(2), 0.0, 0.95, 0.95)
    found = error_consistency(student, teacher, CLUSTERS)
    assert found.agreement > 0.89  # the naive reading
    assert abs(found.kappa) < 0.05


def test_kappa_is_that_of_scikit_learn_and_its_forms_are_literal():
    rng = np.random.default_rng(3)
    student, teacher = _copying(rng, 0.3, 0.6, 0.75, n=500)
    found = error_consistency(student, teacher, np.arange(500) // 10)
    assert found.kappa == pytest.approx(cohen_kappa_score(student, teacher), abs=1e-12)
    p, q = student.mean(), teacher.mean()
    chance = p * q + (1 - p) * (1 - q)
    assert found.kappa_unbiased == pytest.approx(500 * found.kappa / (499 + found.kappa))
    assert found.kappa_max == pytest.approx((min(p, q) + min(1 - p, 1 - q) - chance) / (1 - chance))
    copied = found.kappa * (1 - chance) / (1 - (q**2 + (1 - q) ** 2))
    assert found.copy_probability == pytest.approx(copied)


def test_kappa_max_is_reached_by_nested_errors():
    place = np.arange(1000)
    found = error_consistency(place < 700, place < 900, place // 10)
    assert found.kappa == pytest.approx(found.kappa_max)


def test_seeds_are_averaged():
    rng = np.random.default_rng(4)
    student, teacher = _copying(rng, 0.5, 0.7, 0.7, n=600)
    clusters = np.arange(600) // 10
    once = error_consistency(student, teacher, clusters)
    thrice = error_consistency(np.tile(student, (3, 1)), np.tile(teacher, (3, 1)), clusters)
    assert thrice == once


def test_shuffled_clips_lose_the_consistency():
    rng = np.random.default_rng(5)
    teacher = rng.random(2000) < 0.7
    found = error_consistency(rng.permutation(teacher), teacher, np.arange(2000) // 10)
    assert abs(found.kappa) < 0.08


@pytest.mark.parametrize(
    ("student", "teacher", "words"),
    [
        (np.ones(200, bool), np.ones(200, bool), "no error"),
        (np.zeros(200, bool), np.zeros(200, bool), "always wrong"),
        (np.arange(200) >= 29, np.arange(200) >= 100, "29 errors"),
    ],
)
def test_too_few_errors_give_no_number(student, teacher, words):
    found = error_consistency(student, teacher, np.arange(200) // 10)
    assert np.isnan(found.kappa)
    assert np.isnan(found.copy_probability)
    assert words in found.reason


def test_few_clusters_give_no_interval():
    student, teacher = _copying(np.random.default_rng(6), 0.5, 0.6, 0.6, n=300)
    found = error_consistency(student, teacher, np.arange(300) % 7)
    assert np.isfinite(found.kappa)
    assert np.isnan(found.ci_low)
    assert "7 clusters" in found.reason


def test_other_numbers_of_clips_are_refused():
    with pytest.raises(ShapeError, match="same"):
        error_consistency(np.ones(10, bool), np.ones(9, bool), np.arange(10))


def test_shared_difficulty_makes_kappa_but_no_excess():
    """T12: nobody copies; some clips are hard for everybody."""
    rng = np.random.default_rng(7)
    easy = rng.beta(1, 0.35, size=N)  # kappa near 0.36, as on the reference page
    student, teacher, *controls = (rng.random(N) < easy for _ in range(7))
    assert error_consistency(student, teacher, CLUSTERS).kappa > 0.3
    found = excess_consistency(student, teacher, controls, CLUSTERS)
    assert found.value == pytest.approx(0.0, abs=0.03)
    assert found.p_value > 0.05


@pytest.mark.parametrize("place", ["teacher", "student"])
def test_copied_errors_are_an_excess(place):
    rng = np.random.default_rng(8)
    easy = rng.beta(1, 0.35, size=4000)
    independent, teacher, *controls = (rng.random(4000) < easy for _ in range(7))
    student = np.where(rng.random(4000) < 0.5, teacher, independent)
    clusters = np.arange(4000) // 20
    found = excess_consistency(student, teacher, controls, clusters, slot=place)
    assert found.value > 0.2
    assert found.p_value < 0.01
    assert found.clips_low > 0.1
    kappas = [
        cohen_kappa_score(*pair)
        for pair in [
            (student, teacher),
            *((student, c) if place == "teacher" else (c, teacher) for c in controls),
        ]
    ]
    assert found.value == pytest.approx(kappas[0] - np.mean(kappas[1:]))


def test_an_excess_needs_a_control():
    right = np.arange(100) % 2 == 0
    with pytest.raises(DegenerateError, match="control"):
        excess_consistency(right, right, [], np.arange(100))


def _confused(rng, n_classes, copy, n=N):
    """Both wrong on every clip, each class with favourite wrong answers of its own."""
    labels = rng.integers(n_classes, size=n)
    favour = rng.dirichlet(np.full(n_classes - 1, 0.5), size=n_classes)

    def answers():
        step = np.array([rng.choice(n_classes - 1, p=favour[label]) for label in labels])
        return (labels + 1 + step) % n_classes

    teacher = answers()
    return np.where(rng.random(n) < copy, teacher, answers()), teacher, labels


def test_shared_confusions_of_independent_answers_are_those_that_classes_invite():
    student, teacher, labels = _confused(np.random.default_rng(9), 6, copy=0.0, n=5000)
    found = shared_confusions(student, teacher, labels, np.arange(5000) // 10)
    assert found.kappa == pytest.approx(0.0, abs=0.05)
    naive = (found.observed - 1 / 5) / (1 - 1 / 5)
    assert naive > 0.2  # chance at 1 / (classes - 1)


def test_shared_confusions_of_a_copy_are_all():
    student, teacher, labels = _confused(np.random.default_rng(10), 6, copy=1.0, n=2000)
    found = shared_confusions(student, teacher, labels, np.arange(2000) // 10)
    assert found.kappa == pytest.approx(1.0)


def test_shared_confusions_by_the_literal_definition():
    rng = np.random.default_rng(11)
    labels, student, teacher = (rng.integers(4, size=300) for _ in range(3))
    found = shared_confusions(student, teacher, labels, np.arange(300) // 10)
    both = (student != labels) & (teacher != labels)
    expected = 0.0
    for y in range(4):
        rows = np.flatnonzero(both & (labels == y))
        a, b = (np.bincount(p[rows], minlength=4) / len(rows) for p in (student, teacher))
        expected += len(rows) * float(a @ b) / both.sum()
    assert found.expected == pytest.approx(expected)
    assert found.observed == pytest.approx(float((student == teacher)[both].mean()))
    assert found.n_clips == both.sum()


def test_two_classes_have_no_confusion_to_share():
    labels = np.arange(200) % 2
    found = shared_confusions(1 - labels, 1 - labels, labels, np.arange(200) // 10)
    assert np.isnan(found.kappa)
    assert "one wrong answer" in found.reason
