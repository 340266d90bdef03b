"""T15: speakers have effects, gender is nowhere; and the probe against scikit-learn.

The level of the null is tested on 60 data sets without gender (40 speakers, 5 clips, 16
dims, 19 permutations).
"""

import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import KFold

from usad_workbench.core.bias._linear import PENALTY, class_scores, reduced_features
from usad_workbench.core.bias.factors import categorical, continuous
from usad_workbench.core.bias.nuisance import amplification, probe_nuisance, profile_inheritance
from usad_workbench.core.errors import DegenerateError, ShapeError


def speakers(seed: int, n: int = 200, clips: int = 8, dim: int = 64, shift: float = 0.0):
    rng = np.random.default_rng(seed)
    unit = np.repeat(np.arange(n), clips)
    sex = rng.permutation(np.arange(n) % 2)[unit]
    x = rng.normal(size=(n, dim))[unit] + 0.7 * rng.normal(size=(n * clips, dim))
    x[:, 0] += shift * sex
    return x, sex, unit


def test_no_gender_is_found_where_random_folds_find_it() -> None:
    values, naive = [], []
    for seed in range(3):
        x, sex, unit = speakers(seed)
        values.append(probe_nuisance(x, categorical(sex), unit, n_permutations=1).value)
        hits = []
        for train, test in KFold(5, shuffle=True, random_state=seed).split(x):
            z = reduced_features(x, train)
            hits.append(np.argmax(class_scores(z, sex, 2, train, test), axis=1) == sex[test])
        naive.append(np.concatenate(hits).mean())
    assert abs(np.mean(values) - 0.5) < 0.05
    assert np.mean(naive) > 0.55


def test_planted_gender_is_found_and_selective() -> None:
    x, sex, unit = speakers(0, n=60, dim=16, shift=4.0)
    found = probe_nuisance(x, categorical(sex), unit, n_permutations=39)
    assert found.value > 0.85
    assert found.selectivity > 0.35
    assert found.p_value == 1 / 40
    assert found.ci_low < found.value < found.ci_high
    shuffled = np.random.default_rng(1).permutation(len(x))
    assert probe_nuisance(x[shuffled], categorical(sex), unit, n_permutations=1).value < 0.65


def test_null_keeps_its_level() -> None:
    rejected = []
    for seed in range(60):
        x, sex, unit = speakers(seed, n=40, clips=5, dim=16)
        p = probe_nuisance(x, categorical(sex), unit, n_permutations=19).p_value
        rejected.append(p <= 0.05)
    assert np.mean(rejected) <= 0.13  # 0.05 and two standard errors of 60 trials


def test_factor_that_varies_within_clusters_has_the_null_within() -> None:
    rng = np.random.default_rng(0)
    x, _, unit = speakers(0, n=20, clips=12, dim=16)
    loud = rng.normal(size=len(x))
    x[:, 1] += 3 * loud
    found = probe_nuisance(x, continuous(loud), unit, n_permutations=39)
    assert found.null_kind == "within clusters"
    assert found.value > 0.7
    assert found.p_value == 1 / 40
    assert found.null_mean < 0.1


def test_scores_are_those_of_ridge_classifier() -> None:
    rng = np.random.default_rng(0)
    z, labels = rng.normal(size=(90, 7)), rng.integers(0, 3, 90)
    train, test = np.arange(60), np.arange(60, 90)
    reference = RidgeClassifier(alpha=PENALTY * 60, class_weight="balanced")
    reference.fit(z[train], labels[train])
    scores = class_scores(z, labels, 3, train, test)
    expected = reference.decision_function(z[test])
    # Theirs are for targets of -1 and 1, with the intercept that balanced weights give.
    np.testing.assert_allclose(2 * scores - 1 / 3, expected, atol=1e-10)


def test_profile_needs_eight_factors_and_controls() -> None:
    rng = np.random.default_rng(0)
    teacher = rng.normal(size=10)
    controls = np.vstack([np.ones(10), 3 * np.ones(10)])
    found = profile_inheritance(teacher + 0.1 * rng.normal(size=10), teacher, controls)
    assert found.correlation > 0.9
    np.testing.assert_allclose(found.teacher_excess, teacher - 2)
    few = profile_inheritance(teacher[:7], teacher[:7], controls[:, :7])
    assert np.isnan(few.correlation)
    assert "7 factors" in few.reason
    with pytest.raises(ShapeError):
        profile_inheritance(teacher, teacher, np.empty((0, 10)))


def test_amplification_is_against_the_best_teacher() -> None:
    x, sex, unit = speakers(0, n=40, dim=16, shift=4.0)
    weak, _, _ = speakers(1, n=40, dim=16)
    factor = categorical(sex)
    strong, none = (probe_nuisance(v, factor, unit, n_permutations=1) for v in (x, weak))
    gap = amplification(factor, strong, [none], unit)
    assert gap.ci_low > 0.2
    assert amplification(factor, strong, [none, strong], unit).ci_high <= 0


@pytest.mark.parametrize(
    ("x", "labels", "unit"),
    [
        (np.ones((8, 2)), [0, 1] * 4, range(8)),
        (np.eye(8), [0, 1] * 4, [0] * 8),
        (np.eye(8), [0] * 7 + [1], range(8)),
        (np.full((8, 2), np.nan), [0, 1] * 4, range(8)),
    ],
)
def test_degenerate_input_is_named(x, labels, unit) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DegenerateError):
        probe_nuisance(x, categorical(labels), list(unit), n_permutations=1)


def test_missing_labels_and_constant_factors_are_named() -> None:
    with pytest.raises(ShapeError):
        categorical(["a", None])
    with pytest.raises(DegenerateError):
        categorical(["a", "a"])
    with pytest.raises(DegenerateError):
        continuous([1.0, np.nan])
    with pytest.raises(ShapeError):
        probe_nuisance(np.eye(3), categorical(list("ab")), [0, 1])
