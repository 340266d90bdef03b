"""Attribution and partial similarity on planted shares (T8, T9) and their definitions."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ortho_group
from sklearn.metrics import roc_auc_score

from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.similarity import debiased_linear_cka, layer_similarity
from usad_workbench.core.similarity._gram_products import (
    centred_grams,
    gram_products,
    unit_grams,
)
from usad_workbench.core.similarity.attribution import (
    MAX_FALSE_SHARE,
    attribute,
    collinear_groups,
)
from usad_workbench.core.similarity.cka import u_centre
from usad_workbench.core.similarity.partial import (
    partial_cka,
    partial_distance_correlation,
)
from usad_workbench.core.similarity.resampling import jackknife_groups

DIM = 64
REFERENCE = Path(__file__).parent / "fixtures" / "dcor_reference.json"


def teachers_of(rng: np.random.Generator, n: int) -> dict[str, np.ndarray]:
    """Three teachers that share half of their variance."""
    common = rng.normal(size=(n, DIM))
    return {
        name: np.sqrt(0.5) * common + np.sqrt(0.5) * rng.normal(size=(n, DIM)) for name in "abc"
    }


def student_of(
    rng: np.random.Generator, teachers: dict[str, np.ndarray], weights: list[float]
) -> np.ndarray:
    """Rotated teachers side by side, the rest of the variance new."""
    n = len(teachers["a"])
    parts = [
        np.sqrt(w) * x @ ortho_group.rvs(DIM, random_state=rng)
        for w, x in zip(weights, teachers.values(), strict=True)
    ]
    new = np.sqrt(max(0.0, 1 - sum(weights))) * rng.normal(size=(n, DIM))
    return np.hstack([*parts, new])


@pytest.mark.parametrize("n", [100, 400])
def test_planted_shares_come_back_at_any_size(n: int) -> None:
    rng = np.random.default_rng(0)
    teachers = teachers_of(rng, n)
    student = student_of(rng, teachers, [0.6, 0.3, 0.1])
    placebos = {"p": teachers_of(rng, n)["a"]}
    found = attribute(student, teachers, np.arange(n), n_permutations=19, placebos=placebos)
    assert list(found.shares.values()) == pytest.approx([0.6, 0.3, 0.1], abs=0.02)
    assert found.fit_r2 > 0.99
    assert found.is_reliable
    cka = np.array([debiased_linear_cka(student, x) for x in teachers.values()])
    assert abs(cka / cka.sum() - [0.6, 0.3, 0.1]).max() > 0.1  # the simplex of similarities


def test_new_content_is_left_over() -> None:
    rng = np.random.default_rng(1)
    teachers = teachers_of(rng, 400)
    found = attribute(
        student_of(rng, teachers, [0.48, 0.24, 0.08]),
        teachers,
        np.arange(400) // 8,
        n_permutations=0,
    )
    assert list(found.shares.values()) == pytest.approx([0.48, 0.24, 0.08], abs=0.02)
    assert found.novel == pytest.approx(0.2, abs=0.03)
    for name, truth in zip("abc", [0.48, 0.24, 0.08], strict=True):
        assert found.ci_low[name] < truth < found.ci_high[name]


def test_clips_that_copy_another_teacher_are_found() -> None:
    rng = np.random.default_rng(2)
    teachers = teachers_of(rng, 300)
    copied = rng.random(300) < 0.1
    turn = ortho_group.rvs(DIM, random_state=rng)
    student = np.where(copied[:, None], teachers["b"] @ turn, teachers["a"] @ turn)
    found = attribute(student, teachers, np.arange(300), n_permutations=0)
    assert roc_auc_score(copied, found.clip_shares["b"] - found.clip_shares["a"]) > 0.95
    shuffled = rng.permutation(300)
    assert roc_auc_score(copied[shuffled], found.clip_shares["b"]) < 0.7


def test_an_absent_teacher_stays_in_its_null() -> None:
    rng = np.random.default_rng(3)
    teachers = teachers_of(rng, 200)
    absent = rng.normal(size=(200, DIM))
    student = student_of(rng, teachers, [0.6, 0.3, 0.1])
    found = attribute(student, teachers | {"d": absent}, np.arange(200), n_permutations=99)
    assert found.shares["d"] < 0.02
    assert found.null_q95["d"] < 0.02
    assert found.p_value["a"] == pytest.approx(0.01)
    assert found.p_value["d"] > 0.05
    assert found.false_shares == {} and not found.is_reliable
    beside = attribute(student, teachers, np.arange(200), n_permutations=0, placebos={"d": absent})
    assert beside.false_share < 0.02 and beside.is_reliable


def test_a_map_that_stretches_greys_the_shares_out() -> None:
    rng = np.random.default_rng(4)
    teachers = teachers_of(rng, 400)
    stretch = np.geomspace(1, 0.001, DIM)
    student = np.hstack([(0.7 * teachers["a"]) * stretch, (0.3 * teachers["b"]) * stretch])
    found = attribute(student, teachers, np.arange(400), n_permutations=0)
    assert found.fit_r2 < 0.5
    assert not found.is_reliable


def test_shares_of_more_than_all_are_greyed_out() -> None:
    rng = np.random.default_rng(11)
    source = rng.normal(size=(300, 8))
    stretched = source * np.array([2.0, *[1.0] * 7])
    # By hand: spectra 16:1 and 4:1 give sum(s t) / sum(t t) over traces 23 and 11.
    truth = (16 * 4 + 7) / (16 + 7) * 11 / (4 * 4 + 7)
    student = source * np.array([4.0, *[1.0] * 7])
    found = attribute(student, {"a": stretched}, np.arange(300) // 5, n_permutations=0)
    assert found.shares["a"] == pytest.approx(truth, abs=0.1)
    assert found.is_overfull
    assert not found.is_reliable
    other = attribute(stretched, {"a": student}, np.arange(300) // 5, n_permutations=0)
    assert not other.is_overfull


@pytest.mark.parametrize("common", [0.5, 0.8])
@pytest.mark.parametrize("n_placebos", [1, 4])
def test_a_student_that_never_saw_the_teachers_has_no_reliable_shares(
    common: float, n_placebos: int
) -> None:
    rng = np.random.default_rng(12)
    content = rng.normal(size=(200, DIM))

    def encoder() -> np.ndarray:
        own = rng.normal(size=(200, DIM))
        return np.asarray(np.sqrt(common) * content + np.sqrt(1 - common) * own)

    teachers = {name: encoder() for name in "abc"}
    placebos = {f"p{i}": encoder() for i in range(n_placebos)}
    speakers = np.arange(200) // 5
    stranger = attribute(encoder(), teachers, speakers, n_permutations=0, placebos=placebos)
    assert min(stranger.shares.values()) > 0.1  # the trap: a share each, and a fit
    assert stranger.false_share > MAX_FALSE_SHARE
    assert not stranger.is_reliable
    assert "p0" in stranger.doubts[-1] and "never taught" in stranger.doubts[-1]
    mixture = student_of(rng, teachers, [0.6, 0.3, 0.1])
    taught = attribute(mixture, teachers, speakers, n_permutations=0, placebos=placebos)
    assert taught.false_share < 0.02
    assert taught.is_reliable


def test_an_exact_mixture_is_reliable_whatever_rounding_says() -> None:
    rng = np.random.default_rng(13)
    teachers = teachers_of(rng, 120)
    placebos = {"p": rng.normal(size=(120, DIM))}
    for seed in range(5):
        student = student_of(np.random.default_rng(seed), teachers, [0.5, 0.3, 0.2])
        for x in (student, student.astype(np.float32)):
            found = attribute(x, teachers, np.arange(120) // 4, n_permutations=0, placebos=placebos)
            assert abs(found.novel) < 1e-3
            assert found.is_reliable, found.doubts


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_teachers_of_one_geometry_share_a_share(noise: float) -> None:
    """A duplicate flips the shares from .8 and 0 to 0 and .8: their sum stays."""
    rng = np.random.default_rng(14)
    teachers = teachers_of(rng, 200)
    student = student_of(rng, teachers, [0.8, 0.1, 0.0])
    turned = teachers["a"] @ ortho_group.rvs(DIM, random_state=rng)
    turned = turned + noise * rng.normal(size=turned.shape)
    placebos = {"p": rng.normal(size=(200, DIM))}
    for order in (["a", "again", "b", "c"], ["again", "b", "c", "a"]):
        both = {"again": turned, **teachers}
        of = {name: both[name] for name in order}
        found = attribute(student, of, np.arange(200) // 4, n_permutations=0, placebos=placebos)
        (group,) = found.collinear
        assert set(group.teachers) == {"a", "again"}
        assert group.share == pytest.approx(0.8, abs=0.03)
        assert group.ci_low < 0.8 < group.ci_high + 0.03
        assert not found.is_reliable
        assert "a and again" in found.doubts[0] or "again and a" in found.doubts[0]
    alone = attribute(student, teachers, np.arange(200) // 4, n_permutations=0, placebos=placebos)
    assert alone.collinear == () and alone.is_reliable


def test_collinear_groups_are_kept_apart() -> None:
    rng = np.random.default_rng(15)
    a, b, c, d = (rng.normal(size=400) for _ in range(4))
    columns = np.stack([a, b, a + 0.01 * d, b - 0.01 * d, c, d, c + d])
    assert collinear_groups(columns @ columns.T) == [[0, 2], [1, 3], [4, 5, 6]]
    assert collinear_groups(np.eye(3)) == []
    half = np.array([[1.0, 0.8], [0.8, 1.0]])
    assert collinear_groups(half) == []


def literally_centred(gram: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Least squares of the pairs that count on an effect of each clip, residuals."""
    rows, columns = np.nonzero(clusters[:, None] != clusters[None, :])
    design = np.zeros((len(rows), len(gram)))
    design[np.arange(len(rows)), rows] += 1
    design[np.arange(len(rows)), columns] += 1
    values = gram[rows, columns]
    residual = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
    centred = np.zeros_like(gram)
    centred[rows, columns] = residual
    return centred


@pytest.mark.parametrize("largest", [1, 5, 12])
def test_products_are_those_of_the_matrices(largest: int) -> None:
    rng = np.random.default_rng(5)
    arrays = [rng.normal(size=(24, d)) + 3 for d in (3, 5, 8)]
    # The largest cluster holds up to half of the clips: there the closed form has 0 / 0.
    clusters = np.append(np.zeros(largest), 1 + np.arange(24 - largest) // (1 + largest // 3))
    clusters = clusters.astype(np.intp)
    groups = jackknife_groups(clusters, 24)
    grams = unit_grams(arrays)
    found = gram_products(grams, clusters, groups)
    whole = centred_grams(grams, clusters)
    assert whole[0] == pytest.approx(literally_centred(grams[0], clusters), abs=1e-7)
    if largest == 1:
        assert whole[0] == pytest.approx(u_centre(grams[0]), abs=1e-12)
    for group in (None, *range(groups.max() + 1)):
        kept = np.ones(24, dtype=bool) if group is None else groups != group
        parts = [x[kept] - x[kept].mean(axis=0) for x in arrays]
        literal = [literally_centred(x @ x.T, clusters[kept]) / np.sum(x**2) for x in parts]
        expected = [[np.sum(a * b) for b in literal] for a in literal]
        products = found.whole if group is None else found.left_out[group]
        assert products == pytest.approx(np.array(expected), abs=1e-7)


def test_clusters_in_common_are_no_share() -> None:
    rng = np.random.default_rng(10)
    speakers = np.arange(240) // 12

    def encoder() -> np.ndarray:
        of_speaker = rng.normal(size=(20, DIM))[speakers]
        return np.asarray(of_speaker + 0.5 * rng.normal(size=(240, DIM)))

    student, teacher = encoder(), encoder()
    found = attribute(student, {"a": teacher}, speakers, n_permutations=0)
    by_clip = attribute(student, {"a": teacher}, np.arange(240), n_permutations=0)
    assert by_clip.shares["a"] > 0.5  # the trap: both know the speakers
    assert found.shares["a"] < 0.05


def test_a_copy_of_a_copy_is_no_partner_of_its_own() -> None:
    rng = np.random.default_rng(6)
    a = rng.normal(size=(600, DIM))
    b = a + rng.normal(size=(600, DIM))
    student = a @ ortho_group.rvs(DIM, random_state=rng) + 0.1 * rng.normal(size=(600, DIM))
    found = partial_cka(student, {"a": a, "b": b}, np.arange(600) // 6)
    assert found["a"].value > 0.95
    assert abs(found["b"].value) < 0.05
    by_clip = partial_cka(student, {"a": a, "b": b}, np.arange(600))
    assert by_clip["b"].plain == pytest.approx(debiased_linear_cka(student, b), abs=1e-10)
    assert found["b"].plain == pytest.approx(0.5, abs=0.05)
    assert found["b"].ci_low < 0 < found["b"].ci_high
    alone = layer_similarity([student], [b], np.arange(600) // 6, n_permutations=0)
    assert found["b"].plain == pytest.approx(alone.values[0, 0], abs=1e-10)
    assert found["b"].plain_ci_low == pytest.approx(alone.ci_low[0, 0], abs=1e-6)
    assert found["b"].plain_ci_high == pytest.approx(alone.ci_high[0, 0], abs=1e-6)


def test_partial_distance_correlation_is_that_of_dcor() -> None:
    """The arrays of ``fixtures/make_dcor_reference.py``."""
    rng = np.random.default_rng(7)
    x, z = rng.normal(size=(60, 4)), rng.normal(size=(60, 3))
    y = x + z[:, :1] + 0.5 * rng.normal(size=(60, 4))
    expected = json.loads(REFERENCE.read_text())
    assert partial_distance_correlation(x, y, [z]) == pytest.approx(expected["partial"], abs=1e-10)
    assert partial_distance_correlation(x, y, []) == pytest.approx(expected["plain"], abs=1e-10)


def test_partial_distance_correlation_by_its_definition() -> None:
    rng = np.random.default_rng(8)
    x, z = rng.normal(size=(40, 4)), rng.normal(size=(40, 3))
    y = x + z[:, :1]
    xy, xz, yz = (partial_distance_correlation(a, b, []) for a, b in ((x, y), (x, z), (y, z)))
    expected = (xy - xz * yz) / np.sqrt((1 - xz**2) * (1 - yz**2))
    assert partial_distance_correlation(x, y, [z]) == pytest.approx(expected, abs=1e-10)


def test_what_has_no_answer_is_refused() -> None:
    x = np.random.default_rng(9).normal(size=(20, 4))
    with pytest.raises(ShapeError, match="no teachers"):
        attribute(x, {}, range(20))
    with pytest.raises(ShapeError, match="at least 2"):
        partial_cka(x, {"a": x}, range(20))
    with pytest.raises(ShapeError, match="clips"):
        attribute(x, {"a": x[:10]}, range(20))
    with pytest.raises(DegenerateError, match="rows"):
        attribute(x, {"a": np.ones((20, 4))}, range(20))
    with pytest.raises(DegenerateError, match="not finite"):
        attribute(x, {"a": np.where(x > 1, np.nan, x)}, range(20))
    few = attribute(x, {"a": x[:, :2]}, np.arange(20) % 3, n_permutations=0)
    assert np.isnan(few.ci_low["a"])
    assert few.reason.startswith("no interval: 3 clusters")
    with pytest.raises(DegenerateError, match="2 clusters"):
        attribute(x, {"a": x[:, :2]}, np.arange(20) % 2)
    assert partial_cka(x, {"a": x, "b": x}, range(20))["a"].value == 0.0
