"""Secondary readings: literal definitions, the reference package's values, planted truth."""

import json
from pathlib import Path

import numpy as np
import pytest

from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.similarity.canonical_correlation import pwcca, svcca
from usad_workbench.core.similarity.disagreement import FAMILIES, nearest_by_measure
from usad_workbench.core.similarity.gulp import gulp_distance
from usad_workbench.core.similarity.procrustes import angular_procrustes_distance
from usad_workbench.core.similarity.rsa import rsa_spearman

REFERENCE = Path(__file__).parent / "fixtures" / "rsa_reference.json"
MEASURES = [
    angular_procrustes_distance,
    rsa_spearman,
    gulp_distance,
    lambda x, y: svcca(x, y).value,
    lambda x, y: pwcca(x, y).value,
]


def fixture_pair():
    """The arrays of ``fixtures/make_rsa_reference.py``."""
    rng = np.random.default_rng(2026)
    x = rng.normal(size=(40, 12))
    return x, x @ rng.normal(size=(12, 9)) + rng.normal(size=(40, 9))


def centred(x):
    return x - x.mean(axis=0)


def test_rsa_is_rsatoolboxes():
    x, y = fixture_pair()
    values = json.loads(REFERENCE.read_text())["spearman"]
    assert rsa_spearman(x, y) == pytest.approx(values["x,y"], abs=1e-10)
    assert rsa_spearman(np.round(x), y) == pytest.approx(values["ties,y"], abs=1e-10)


@pytest.mark.parametrize(("n", "p", "q"), [(40, 12, 9), (8, 20, 30)])
def test_procrustes_is_the_least_angle_over_rotations(n, p, q):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(n, p)), rng.normal(size=(n, q))
    a, b = centred(x), centred(y)
    width = max(p, q)
    a, b = (np.pad(side, ((0, 0), (0, width - side.shape[1]))) for side in (a, b))
    left, _, right = np.linalg.svd(a.T @ b)
    cosine = np.sum((a @ left @ right) * b) / np.linalg.norm(a) / np.linalg.norm(b)
    found = angular_procrustes_distance(x, y)
    assert found == pytest.approx(np.arccos(cosine), abs=1e-10)
    for _ in range(20):  # no other rotation comes nearer
        turn = np.linalg.qr(rng.normal(size=(width, width)))[0]
        other = np.sum((a @ turn) * b) / np.linalg.norm(a) / np.linalg.norm(b)
        assert found <= np.arccos(other) + 1e-12


@pytest.mark.parametrize("penalty", [1e-3, 1e-1, 1.0])
def test_gulp_is_its_formula_and_the_worst_ridge_prediction(penalty):
    x, y = fixture_pair()
    a, b = (side / np.sqrt(np.mean(side**2)) for side in (centred(x), centred(y)))
    n = len(a)
    saa, sbb, sab = a.T @ a / n, b.T @ b / n, a.T @ b / n
    inverse_a = np.linalg.inv(saa + penalty * np.eye(12))
    inverse_b = np.linalg.inv(sbb + penalty * np.eye(9))
    expected = (
        np.trace(inverse_a @ saa @ inverse_a @ saa)
        + np.trace(inverse_b @ sbb @ inverse_b @ sbb)
        - 2 * np.trace(inverse_a @ sab @ inverse_b @ sab.T)
    )
    assert gulp_distance(x, y, penalty) ** 2 == pytest.approx(expected, abs=1e-10)
    smoothers = a @ inverse_a @ a.T / n - b @ inverse_b @ b.T / n
    assert gulp_distance(x, y, penalty) == pytest.approx(np.linalg.norm(smoothers), abs=1e-10)


def test_canonical_correlations_are_the_literal_ones():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(300, 5))
    y = np.hstack([x[:, :2] @ rng.normal(size=(2, 2)), rng.normal(size=(300, 4))])
    a, b = centred(x), centred(y)
    literal = np.linalg.inv(a.T @ a) @ (a.T @ b) @ np.linalg.inv(b.T @ b) @ (b.T @ a)
    expected = np.sqrt(np.sort(np.linalg.eigvals(literal).real)[::-1])
    found = svcca(x, y, 1.0)
    np.testing.assert_allclose(found.correlations, expected, atol=1e-8)
    assert found.value == pytest.approx(expected.mean(), abs=1e-8)
    assert found.correlations[1] == pytest.approx(1.0)
    assert found.warning == ""
    weighted = pwcca(x, y)
    assert expected.min() <= weighted.value <= expected.max()
    # Weights follow the variance of x: with the shared dims loud, nearly all of it is shared.
    loud = x * [30, 30, 1, 1, 1]
    assert pwcca(loud, y).value > weighted.value + 0.1
    assert pwcca(loud, y).value > 0.85


def test_unrelated_embeddings_correlate_by_chance_and_a_warning_says_so():
    """Mean correlation .76, .56, .32, .10 at 60, 100, 300, 3000 clips of 40 dims."""
    rng = np.random.default_rng(2)
    for n, expected in ((60, 0.76), (100, 0.56), (300, 0.32), (3000, 0.10)):
        x, y = rng.normal(size=(2, n, 40))
        found = svcca(x, y, 1.0)
        assert found.value == pytest.approx(expected, abs=0.03)
        assert bool(found.warning) == (n < 800)


@pytest.mark.parametrize("measure", MEASURES)
def test_shuffled_rows_are_farther_and_scale_does_not_matter(measure):
    rng = np.random.default_rng(3)
    x = rng.normal(size=(120, 6))
    y = x @ rng.normal(size=(6, 6)) + 0.1 * rng.normal(size=(120, 6))
    sign = -1 if measure in (angular_procrustes_distance, gulp_distance) else 1
    assert sign * measure(x, y) > sign * measure(x, y[rng.permutation(120)]) + 0.1
    assert measure(1e-100 * x + 3e-100, 5 * y) == pytest.approx(measure(x, y), abs=1e-6)
    order = rng.permutation(120)
    assert measure(x[order], y[order]) == pytest.approx(measure(x, y), abs=1e-9)


@pytest.mark.parametrize("measure", MEASURES)
def test_degenerate_input_is_refused(measure):
    y = np.random.default_rng(4).normal(size=(20, 3))
    with pytest.raises(DegenerateError, match="equal"):
        measure(np.ones((20, 3)), y)
    with pytest.raises(DegenerateError, match="not finite"):
        measure(np.full((20, 3), np.nan), y)
    with pytest.raises(ShapeError, match="same clips"):
        measure(y[:-1], y)
    with pytest.raises(ShapeError, match="at least"):
        measure(y[:1], y[:1])


def test_wrong_settings_are_refused():
    x, y = fixture_pair()
    with pytest.raises(ShapeError, match="penalty is -1"):
        gulp_distance(x, y, -1)
    with pytest.raises(DegenerateError, match="no inverse"):
        gulp_distance(x[:10], y[:10], 0)
    with pytest.raises(ShapeError, match="kept_variance"):
        svcca(x, y, 0)
    with pytest.raises(DegenerateError, match="distances"):
        rsa_spearman(np.eye(20), y[:20])


def test_the_families_agree_on_a_copy_and_a_split_is_named():
    rng = np.random.default_rng(5)
    x, other = rng.normal(size=(2, 300, 6))
    near = x + 0.2 * rng.normal(size=(300, 6))
    agreed = nearest_by_measure(x, {"other": other, "near": near})
    assert set(agreed.nearest) == set(FAMILIES)
    assert set(agreed.nearest.values()) == {"near"}
    assert agreed.warning == ""
    # An ill-conditioned linear map leaves predictions alone and turns the geometry over.
    loud = x * [1e3, 1, 1, 1, 1, 1]
    part = np.hstack([x[:, :1] + 0.5 * rng.normal(size=(300, 1)), rng.normal(size=(300, 5))])
    part = part * [1e3, 1, 1, 1, 1, 1]
    split = nearest_by_measure(loud, {"all": x, "part": part})
    assert len(set(split.nearest.values())) > 1
    assert "disagree on the nearest" in split.warning
    assert "all" in split.warning
    assert "part" in split.warning


def test_few_clips_and_undefined_measures_are_named():
    rng = np.random.default_rng(6)
    x, y = rng.normal(size=(2, 15, 40))
    found = nearest_by_measure(x, {"y": y}, k=10, clusters=np.arange(15) // 8)
    assert "15 clips for 40 dims" in found.warning
    assert "mutual_knn" not in found.nearest
    assert (
        "not defined here: debiased_linear_cka, standardised_linear_cka, mutual_knn"
        in found.warning
    )
    assert "canonical correlation" not in found.families
    with pytest.raises(DegenerateError, match="No measure"):
        nearest_by_measure(x, {})
