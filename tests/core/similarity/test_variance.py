"""Variance partitioning on planted shares (T6, T7), against scikit-learn, and its traps."""

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, Ridge

from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.similarity._grouped_ridge import PENALTIES, cluster_folds, out_of_fold
from usad_workbench.core.similarity.r2_calibration import calibrated_r2
from usad_workbench.core.similarity.variance import Blocks, partition_variance

DIM = 32


def planted(seed: int, n: int, dim: int = DIM) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """.30 only of a, .20 only of b, .30 of both, .20 new; c has nothing to do with it."""
    rng = np.random.default_rng(seed)
    own_a, own_b, both, new, c = rng.normal(size=(5, n, dim))
    student = np.hstack(
        [
            np.sqrt(share) * x
            for share, x in zip((0.3, 0.2, 0.3, 0.2), (own_a, own_b, both, new), strict=True)
        ]
    )
    return student, {"a": np.hstack([own_a, both]), "b": np.hstack([own_b, both]), "c": c}


def test_planted_shares_come_back_from_many_clips() -> None:
    student, teachers = planted(0, 800, 4)
    found = partition_variance(student, teachers, np.arange(800) // 5)
    assert found.unique["a"].value == pytest.approx(0.30, abs=0.02)
    assert found.unique["b"].value == pytest.approx(0.20, abs=0.02)
    assert found.unique["c"].value == pytest.approx(0.0, abs=0.02)
    assert found.cells["a+b"] == pytest.approx(0.30, abs=0.02)
    assert found.shared == pytest.approx(0.30, abs=0.02)
    assert found.residual == pytest.approx(0.20, abs=0.02)
    assert sum(found.cells.values()) == pytest.approx(found.total.value, abs=1e-12)
    for name in ("a+c", "b+c", "a+b+c"):
        assert abs(found.cells[name]) < 0.02
    # Half of a's variance is its own, half shared, and the student holds both.
    assert found.retention["a"] > 0.95
    assert found.retention["c"] < 0.02
    assert found.nonlinear_total < found.total.value + 0.02


def test_few_clips_are_corrected_by_spiked_students() -> None:
    student, teachers = planted(1, 300)
    teachers.pop("c")
    found = calibrated_r2(student, teachers, np.arange(300) // 3)
    assert found.raw < 0.78
    assert list(found.corrected.values()) == pytest.approx([0.8, 0.8], abs=0.03)
    assert found.do_cuts_agree


def test_an_unrelated_teacher_explains_nothing_out_of_fold() -> None:
    rng = np.random.default_rng(2)
    student, teacher = rng.normal(size=(2, 150, 128))
    in_sample = LinearRegression().fit(teacher, student).score(teacher, student)
    assert in_sample > 0.8  # the trap
    found = partition_variance(student, {"a": teacher}, np.arange(150))
    assert abs(found.total.value) < 0.02


def test_speakers_must_not_be_predicted_from_themselves() -> None:
    rng = np.random.default_rng(3)
    speakers = np.arange(240) // 12
    of_student, of_teacher = (rng.normal(size=(20, DIM))[speakers] for _ in range(2))
    student, teacher = (x + 0.3 * rng.normal(size=x.shape) for x in (of_student, of_teacher))
    by_clip = partition_variance(student, {"a": teacher}, np.arange(240))
    by_speaker = partition_variance(student, {"a": teacher}, speakers)
    assert by_clip.total.value > 0.7  # the trap: speakers are recognised
    assert by_speaker.total.value < 0.05


def test_units_of_a_teacher_do_not_matter() -> None:
    student, teachers = planted(4, 240)
    groups = np.arange(240) // 4
    plain = partition_variance(student, teachers, groups)
    large = partition_variance(student, teachers | {"b": 100 * teachers["b"] + 7}, groups)
    for name in "abc":
        assert large.unique[name].value == pytest.approx(plain.unique[name].value, abs=0.01)


def test_clips_add_up_to_the_share() -> None:
    student, teachers = planted(5, 200)
    found = partition_variance(student, teachers, np.arange(200) // 4)
    for name in "abc":
        assert found.clip_gain[name].sum() == pytest.approx(found.unique[name].value, abs=1e-12)
    copied = np.arange(200) < 20
    student[copied, :DIM] *= 0  # nothing of a in these clips
    again = partition_variance(student, teachers, np.arange(200) // 4)
    assert again.clip_gain["a"][copied].mean() < again.clip_gain["a"][~copied].mean()


def test_four_teachers_have_cells_of_one_and_two() -> None:
    student, teachers = planted(6, 500, 3)
    extra = np.random.default_rng(7).normal(size=(500, 3))
    found = partition_variance(student, teachers | {"d": extra}, np.arange(500) // 4)
    assert len(found.cells) == 4 + 6
    assert found.cells["a"] == pytest.approx(found.unique["a"].value, abs=1e-12)
    assert found.cells["a+b"] == pytest.approx(0.30, abs=0.03)
    assert abs(found.cells["c+d"]) < 0.02
    assert found.unique["a"].value == pytest.approx(0.30, abs=0.03)


def test_predictions_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(8)
    x, y = rng.normal(size=(90, 6)), rng.normal(size=(90, 4))
    y[:, :2] += x[:, :2]
    codes = np.arange(90) // 3
    blocks = Blocks(teachers={"x": x})
    ours = out_of_fold(blocks.kernel(["x"]), [y], codes)
    folds = cluster_folds(codes)
    # At the penalty that scikit-learn finds best by leaving out whole clusters.
    residual = np.empty(90)
    for fold in range(5):
        train, test = folds != fold, folds == fold
        z = x - x[train].mean(axis=0)
        z = z / np.sqrt(np.mean(np.sum(z[train] ** 2, axis=1)))
        gram = z[train] @ z[train].T
        penalties = np.geomspace(1e-4, 1e3, 8) * np.trace(gram) / (len(gram) - 1)
        mean = y[train].mean(axis=0)
        errors = []
        for penalty in penalties:
            error = 0.0
            held = cluster_folds(np.unique(codes[train], return_inverse=True)[1], 10)
            for inner_fold in range(10):
                inner = held != inner_fold
                fit = Ridge(alpha=penalty).fit(z[train][inner], y[train][inner])
                error += np.sum((y[train][~inner] - fit.predict(z[train][~inner])) ** 2)
            errors.append(error)
        best = Ridge(alpha=penalties[int(np.argmin(errors))], fit_intercept=False)
        best.fit(z[train], y[train] - mean)
        residual[test] = np.sum((y[test] - mean - best.predict(z[test])) ** 2, axis=1)
    assert ours.residual[0] == pytest.approx(residual, abs=1e-8)


def test_errors_without_a_cluster_are_those_of_fits_without_it() -> None:
    rng = np.random.default_rng(10)
    x, y = rng.normal(size=(60, 6)), rng.normal(size=(60, 4))
    y[:, :2] += x[:, :2]
    codes = np.arange(60) // 4
    folds = cluster_folds(codes)
    fixed = rng.normal(size=(60, 6)) + x  # no statistics of training rows in the kernel
    gram = (fixed - fixed.mean(axis=0)) @ (fixed - fixed.mean(axis=0)).T
    fit = out_of_fold(lambda train: _centred_on(gram, train), [y], codes, codes)
    # At the penalty of the whole, recovered as the only one that gives its errors.
    for group in range(15):
        sums = np.zeros(2)
        for fold in range(5):
            train, test = np.flatnonzero(folds != fold), folds == fold
            penalty = _penalty_of(gram, train, test, y, fit.residual[0, test])
            train = train[codes[train] != group]
            kept = test & (codes != group)
            model = Ridge(alpha=penalty).fit(fixed[train], y[train])
            sums += [
                np.sum((y[kept] - model.predict(fixed[kept])) ** 2),
                np.sum((y[kept] - y[train].mean(axis=0)) ** 2),
            ]
        assert fit.left_out[:, 0, group] == pytest.approx(sums, rel=1e-8)


def _centred_on(gram: np.ndarray, train: np.ndarray) -> np.ndarray:
    rows = gram[train].mean(axis=0)
    return np.asarray(gram - rows - rows[:, None] + rows[train].mean())


def _penalty_of(
    gram: np.ndarray, train: np.ndarray, test: np.ndarray, y: np.ndarray, errors: np.ndarray
) -> float:
    kernel = _centred_on(gram, train)
    inside, mean = kernel[np.ix_(train, train)], y[train].mean(axis=0)
    for penalty in PENALTIES * np.trace(inside) / (len(train) - 1):
        dual = np.linalg.solve(inside + penalty * np.eye(len(train)), y[train] - mean)
        found = np.sum((y[test] - mean - kernel[np.ix_(test, train)] @ dual) ** 2, axis=1)
        if np.allclose(found, errors):
            return float(penalty)
    raise AssertionError("no penalty of the list gives these errors")


def test_what_has_no_answer_is_refused() -> None:
    x = np.random.default_rng(9).normal(size=(20, 4))
    with pytest.raises(ShapeError, match="no teachers"):
        partition_variance(x, {}, range(20))
    with pytest.raises(ShapeError, match="clips"):
        partition_variance(x, {"a": x[:10]}, range(20))
    with pytest.raises(DegenerateError, match="one cluster"):
        partition_variance(x, {"a": x}, [0] * 20)
    with pytest.raises(DegenerateError, match="rows of a are equal"):
        partition_variance(x, {"a": np.ones((20, 4))}, range(20))
    few = partition_variance(x, {"a": x}, np.arange(20) % 4)
    assert np.isnan(few.total.ci_low)
    assert few.reason.startswith("no interval: 4 clusters")
