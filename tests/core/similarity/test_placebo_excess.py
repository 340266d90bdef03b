"""The double difference over peers and placebos: its value, its two tests, its readings."""

import math

import numpy as np
import pytest
from scipy import stats

from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.similarity import debiased_linear_cka
from usad_workbench.core.similarity.compared_encoders import compare_encoders
from usad_workbench.core.similarity.placebo_excess import Places, counted, placebo_excess

CLUSTERS = np.repeat(np.arange(20), 4)
SIZES = {"n_clips": 80, "n_clusters": 20}


def encoders(n: int, seed: int = 0, width: int = 6) -> list[np.ndarray]:
    """All hear the same four factors, and something of their own."""
    rng = np.random.default_rng(seed)
    heard = rng.normal(size=(80, 4)) + rng.normal(size=(20, 4))[CLUSTERS]
    return [
        np.hstack([heard * np.exp(0.2 * rng.normal()), rng.normal(size=(80, 3))])
        @ rng.normal(size=(7, width))
        for _ in range(n)
    ]


@pytest.mark.parametrize("n_students", [1, 3])
def test_value_and_both_p_are_those_of_their_definitions(n_students: int) -> None:
    rng = np.random.default_rng(1)
    families = (0, 0, 1, 2, 3)
    places = Places(n_students=n_students, n_peers=4, families=families)
    table = rng.normal(size=(1, n_students + 4, 6))
    table[0, :n_students, 0] += 2.0
    found = placebo_excess(table, places, has_scale=False, **SIZES)
    t = table[0]
    by_family = np.stack([t[:, 1:3].mean(axis=1), t[:, 3], t[:, 4], t[:, 5]], axis=1)
    of_rows = t[:, 0] - by_family.mean(axis=1)
    assert found.value == pytest.approx(
        of_rows[:n_students].mean() - of_rows[n_students:].mean(), rel=1e-12
    )
    if n_students > 1:
        expected = stats.ttest_ind(
            of_rows[:n_students], of_rows[n_students:], alternative="greater"
        )
        assert found.p_peers == pytest.approx(min(1.0, 2 * expected.pvalue), rel=1e-9)
    gains = by_family[:n_students].mean(axis=0) - by_family[n_students:].mean(axis=0)
    own = t[:n_students, 0].mean() - t[n_students:, 0].mean()
    crawford = (own - gains.mean()) / (gains.std(ddof=1) * np.sqrt(1 + 1 / 4))
    assert found.p_placebos == pytest.approx(min(1.0, 2 * stats.t.sf(crawford, 3)), rel=1e-9)
    assert found.p_value == max(found.p_peers, found.p_placebos)
    assert found.over_peers == pytest.approx(own)
    assert np.allclose(found.of_placebos, gains)


@pytest.mark.parametrize("n_students", [1, 3])
def test_in_proportion_both_p_are_those_of_their_definitions(n_students: int) -> None:
    """A regression of the placebos' gains through 0 on their nearness to the peers."""
    rng = np.random.default_rng(1)
    places = Places(n_students=n_students, n_peers=4, families=(0, 1, 2, 3))
    table = 0.5 + 0.1 * rng.random(size=(1, n_students + 4, 5))
    table[0, :n_students] *= 1.2
    table[0, :n_students, 0] += 0.3
    t, p = table[0], table[0, n_students:].mean(axis=0)
    gains = t[:n_students].mean(axis=0) - p
    slope = (p[1:] @ gains[1:]) / (p[1:] @ p[1:])
    left = gains - slope * p
    error = np.sqrt(left[1:] @ left[1:] / 3 * (1 + p[0] ** 2 / (p[1:] @ p[1:])))
    of_placebos = min(1.0, 2 * stats.t.sf(left[0] / error, 3))
    rows = t[:, 0] - p[0] * (t[:, 1:] @ p[1:]) / (p[1:] @ p[1:])
    apart = rows[:n_students].mean() - rows[n_students:].mean()
    assert apart == pytest.approx(left[0])
    parts = rows[:n_students], rows[n_students:]
    squares = sum(((one - one.mean()) ** 2).sum() for one in parts)
    df = n_students + 2
    spread = np.sqrt(squares / df * (1 / n_students + 1 / 4))
    of_peers = min(1.0, 2 * stats.t.sf(apart / spread, df))
    plain, found = (placebo_excess(table, places, has_scale=s, **SIZES) for s in (False, True))
    assert found.p_placebos == pytest.approx(max(of_placebos, plain.p_placebos), rel=1e-9)
    assert found.p_peers == pytest.approx(max(of_peers, plain.p_peers), rel=1e-9)
    assert (found.value, found.limits(0.05)) == (plain.value, plain.limits(0.05))


def test_noise_that_multiplies_is_no_excess() -> None:
    """Student and teacher both hear better than all others, and have nothing in common."""
    rng = np.random.default_rng(3)
    places = Places(n_students=1, n_peers=8, families=tuple(range(8)))
    rows = np.array([0.95, *0.7 + 0.01 * rng.normal(size=8)])
    columns = np.array([0.95, *0.6 + 0.03 * rng.normal(size=8)])
    table = np.outer(rows, columns)[None] + 0.002 * rng.normal(size=(1, 9, 9))
    assert placebo_excess(table, places, has_scale=False, **SIZES).p_value < 0.01
    assert placebo_excess(table, places, **SIZES).p_value > 0.1
    table[0, 0, 0] += 0.1
    assert placebo_excess(table, places, **SIZES).p_value < 0.01


def test_a_student_or_a_teacher_that_is_better_in_general_cancels() -> None:
    rng = np.random.default_rng(2)
    places = Places(n_students=1, n_peers=5, families=(0, 1, 2, 3))
    table = 0.01 * rng.normal(size=(1, 6, 5))
    moved = table.copy()
    moved[0, 0] += 0.5
    moved[0, :, 0] += 0.3
    before, after = (placebo_excess(one, places, **SIZES) for one in (table, moved))
    assert after.value == pytest.approx(before.value, abs=1e-12)
    assert after.p_value == pytest.approx(before.p_value)
    assert after.over_peers > 0.4


def test_without_peers_placebos_are_compared_alone() -> None:
    table = np.array([[[0.9, 0.2, 0.3, 0.4, 0.3]]])
    places = Places(n_students=1, n_peers=0, families=(0, 1, 2, 3))
    found = placebo_excess(table, places, **SIZES)
    assert found.value == pytest.approx(0.6)
    assert math.isnan(found.p_peers) and found.p_value == found.p_placebos < 0.02
    assert found.p_kind == "one case against 4 families of placebos, t(3), one-sided, doubled"
    low, high = found.limits(0.05)
    assert low < 0.6 < high <= 1.0
    assert found.limits(1e-6) == (-1.0, 1.0)


@pytest.mark.parametrize(
    ("places", "n_clusters", "words"),
    [
        (Places(n_students=1, n_peers=3, families=(0, 0, 0)), 20, "1 family of placebos"),
        (Places(n_students=1, n_peers=3, families=()), 20, "0 families of placebos"),
        (Places(n_students=1, n_peers=3, families=(0, 1, 2)), 5, "5 clusters"),
    ],
)
def test_what_cannot_be_tested_says_why(places: Places, n_clusters: int, words: str) -> None:
    table = np.random.default_rng(3).normal(size=(1, 4, 1 + len(places.families)))
    found = placebo_excess(table, places, n_clips=80, n_clusters=n_clusters)
    assert math.isnan(found.p_value) and words in found.reason
    assert all(math.isnan(one) for one in found.limits(0.05))


def test_encoders_that_are_one_show_no_spread() -> None:
    x, y, *others = encoders(6)
    places = Places(n_students=1, n_peers=2, families=(0, 1, 2))
    compared = compare_encoders([x, y, y, *others[:4]], CLUSTERS)
    found = compared.placed(range(7), places, is_partial=False).excess()
    assert "cannot be told apart" in found.reason and math.isnan(found.p_value)


@pytest.mark.parametrize("is_standardised", [False, True])
def test_the_plain_table_is_the_similarity_of_every_pair(is_standardised: bool) -> None:
    made = encoders(6)
    places = Places(n_students=1, n_peers=2, families=(0, 1))
    compared = compare_encoders(made, CLUSTERS, is_standardised=is_standardised)
    table = compared.placed(range(6), places, is_partial=False).table[0]
    if is_standardised:
        made = [(x - x.mean(axis=0)) / x.std(axis=0) for x in made]
    for i in range(3):
        for j in range(3):
            expected = debiased_linear_cka(made[i], made[3 + j], CLUSTERS)
            assert table[i, j] == pytest.approx(expected, abs=1e-9)


def test_a_partial_similarity_is_the_cosine_of_what_others_leave() -> None:
    made = encoders(8)
    places = Places(n_students=1, n_peers=3, families=(0, 1, 1))
    compared = compare_encoders(made, CLUSTERS)
    table = compared.placed(range(8), places, is_partial=True).table[0]
    # Encoders as vectors whose inner products are those of the Gram matrices.
    products = compared.products[0]
    values, axes = np.linalg.eigh(products)
    vectors = axes * np.sqrt(np.maximum(values, 0.0))

    def left(one: int, others: list[int]) -> np.ndarray:
        basis = vectors[others].T
        return np.asarray(
            vectors[one] - basis @ np.linalg.lstsq(basis, vectors[one], rcond=None)[0]
        )

    rows = [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]]
    columns = [[5, 6, 7], [4, 6, 7], [4, 5], [4, 5]]
    for i in range(4):
        for j in range(4):
            a, b = left(i, rows[i]), left(4 + j, columns[j])
            expected = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
            assert table[i, j] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("is_partial", [False, True])
def test_what_clips_add_is_the_excess_on_average(is_partial: bool) -> None:
    places = Places(n_students=2, n_peers=3, families=(0, 0, 1))
    compared = compare_encoders(encoders(9), CLUSTERS)
    placed = compared.placed(range(9), places, is_partial=is_partial)
    assert placed.influence().mean() == pytest.approx(placed.excess().value, abs=1e-9)


def test_leaving_out_a_cluster_is_computing_without_it() -> None:
    made = encoders(6)
    places = Places(n_students=1, n_peers=2, families=(0, 1))
    table = compare_encoders(made, CLUSTERS).placed(range(6), places, is_partial=True).table
    kept = CLUSTERS != 7
    without = compare_encoders([x[kept] for x in made], CLUSTERS[kept], is_whole=True)
    expected = without.placed(range(6), places, is_partial=True).table[0]
    assert np.allclose(table[1 + 7], expected, atol=1e-8)


def test_a_copy_is_found_and_a_dominant_dimension_hides_it_from_one_reading() -> None:
    rng = np.random.default_rng(4)
    heard = rng.normal(size=(80, 4))

    def encoder(own: np.ndarray) -> np.ndarray:
        x = np.hstack([heard, own]) @ np.linalg.qr(rng.normal(size=(16, 16)))[0][:8]
        x[:, 0] += 30 * rng.normal(size=80)
        return np.asarray(x + 0.2 * rng.normal(size=x.shape))

    own = rng.normal(size=(80, 4))
    others = [encoder(rng.normal(size=(80, 4))) for _ in range(10)]
    made = [encoder(own), *others[:5], encoder(own), *others[5:]]
    places = Places(n_students=1, n_peers=5, families=tuple(range(5)))
    found = {
        is_standardised: compare_encoders(made, CLUSTERS, is_standardised=is_standardised)
        .placed(range(12), places, is_partial=False)
        .excess()
        for is_standardised in (False, True)
    }
    assert found[True].value > 0.2 and found[True].p_value < 0.01
    assert found[False].value < 0.1


def test_the_null_holds_its_level_and_half_copies_are_found() -> None:
    rng = np.random.default_rng(5)
    places = Places(n_students=1, n_peers=6, families=tuple(range(6)))
    p = []
    for _ in range(2000):
        rows, columns = rng.normal(size=(7, 1)), rng.normal(size=(1, 7))
        table = rows + columns + rng.normal(size=(7, 7))
        p.append(placebo_excess(table[None], places, **SIZES).p_value)
    assert np.mean(np.array(p) <= 0.05) <= 0.025  # both nulls must reject


def test_what_does_not_fit_is_refused() -> None:
    made = encoders(3)
    with pytest.raises(ShapeError, match="same clips"):
        compare_encoders([made[0], made[1][:-1]], CLUSTERS)
    with pytest.raises(ShapeError, match="somebody to compare with"):
        Places(n_students=1, n_peers=0, families=())
    with pytest.raises(DegenerateError, match="at least 4"):
        compare_encoders(made, np.arange(80) % 3)
    table = np.full((1, 3, 3), np.nan)
    with pytest.raises(DegenerateError, match="not finite"):
        placebo_excess(table, Places(n_students=1, n_peers=2, families=(0, 1)), **SIZES)
    assert counted(1, "peer") == "1 peer"
