import itertools

import numpy as np
import pytest

from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.similarity import (
    debiased_linear_cka,
    hsic1_gram,
    standardised_linear_cka,
    u_centre,
)
from usad_workbench.core.similarity._cka_layers import dual, prepare_gram

CLUSTERS = np.array([2, 0, 1, 4, 2, 0, 3, 2, 4, 5])


def literal_hsic(k, m, clusters):
    """The mean of HSIC_1 of every four clips of four clusters, every cluster counting the same."""
    values = []
    for four in itertools.combinations(np.unique(clusters), 4):
        members = [np.flatnonzero(clusters == one) for one in four]
        of_clips = [
            np.sum(u_centre(k[np.ix_(rows, rows)]) * u_centre(m[np.ix_(rows, rows)])) / 4
            for rows in map(list, itertools.product(*members))
        ]
        values.append(np.mean(of_clips))
    return np.mean(values)


def literal_cka(x, y, clusters):
    k, m = x @ x.T, y @ y.T
    norms = literal_hsic(k, k, clusters) * literal_hsic(m, m, clusters)
    return literal_hsic(k, m, clusters) / np.sqrt(norms)


@pytest.fixture
def few():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(10, 3)) + 2 * rng.normal(size=(6, 3))[CLUSTERS]
    return x, x @ rng.normal(size=(3, 4)) + rng.normal(size=(10, 4))


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 12))
    return x, x @ rng.normal(size=(12, 7)) + rng.normal(size=(60, 7))


def test_it_is_the_mean_over_every_four_clips_of_four_clusters(few):
    x, y = few
    value = debiased_linear_cka(x, y, CLUSTERS)
    assert value == pytest.approx(literal_cka(x, y, CLUSTERS), abs=1e-12)
    assert abs(value - debiased_linear_cka(x, y)) > 0.01
    gram_x, gram_y = x @ x.T, y @ y.T
    expected = literal_hsic(gram_x, gram_y, CLUSTERS)
    assert hsic1_gram(gram_x, gram_y, CLUSTERS) == pytest.approx(expected, abs=1e-10)
    a, b = dual(prepare_gram(x, "x", CLUSTERS), CLUSTERS), prepare_gram(y, "y", CLUSTERS)
    assert np.sum(a * b) == pytest.approx(value, abs=1e-12)


def test_clusters_of_one_clip_give_the_u_centred_form(pair):
    x, y = pair
    a, b = u_centre(x @ x.T), u_centre(y @ y.T)
    expected = np.sum(a * b) / np.sqrt(np.sum(a * a) * np.sum(b * b))
    turned = np.random.default_rng(6).permutation(60)
    for clusters in (None, np.arange(60), turned):
        assert debiased_linear_cka(x, y, clusters) == pytest.approx(expected, abs=1e-12)
    assert hsic1_gram(x @ x.T, y @ y.T) == pytest.approx(np.sum(a * b) / (60 * 57), abs=1e-10)
    gram = prepare_gram(x, "x", turned)
    np.testing.assert_allclose(dual(gram, turned), u_centre(gram) / (60 * 57), atol=1e-12)


def test_a_large_cluster_counts_as_much_as_a_small_one():
    """A cluster that is there twice as often changes nothing, clip for clip."""
    rng = np.random.default_rng(7)
    clusters = np.arange(40) // 4
    x, y = rng.normal(size=(2, 40, 5))
    twice = np.concatenate([np.arange(40), np.arange(8)])
    assert debiased_linear_cka(x[twice], y[twice], clusters[twice]) == pytest.approx(
        debiased_linear_cka(x, y, clusters), abs=1e-12
    )


def test_clusters_in_common_are_no_similarity():
    """Independent encoders of a few speakers: 0 on average, and below it half of the time."""
    rng = np.random.default_rng(8)
    clusters = np.arange(60) // 5
    values = []
    for _ in range(200):
        x, y = (rng.normal(size=(12, 40))[clusters] + rng.normal(size=(60, 40)) for _ in range(2))
        values.append([debiased_linear_cka(x, y, clusters), debiased_linear_cka(x, y)])
    own, all_pairs = np.mean(values, axis=0)
    assert abs(own) < 0.015
    assert all_pairs > 0.1


def test_a_dim_that_dominates_hides_a_copy_but_not_from_the_standardised_reading():
    rng = np.random.default_rng(9)
    clusters = np.arange(200) // 4
    teacher = rng.normal(size=(200, 16))
    loud = np.hstack([teacher[:, :15], 40 * rng.normal(size=(200, 1))])
    assert debiased_linear_cka(loud, teacher, clusters) < 0.1
    assert standardised_linear_cka(loud, teacher, clusters) > 0.8
    shuffled = rng.permutation(200)
    assert abs(standardised_linear_cka(loud[shuffled], teacher, clusters)) < 0.1
    value = standardised_linear_cka(loud, teacher, clusters)
    constant = np.hstack([7 * loud + 3, np.full((200, 1), 1e6)])
    assert standardised_linear_cka(constant, teacher, clusters) == pytest.approx(value, abs=1e-9)
    spread = [side / side.std(axis=0) for side in (loud, teacher)]  # clusters of equal size
    assert debiased_linear_cka(*spread, clusters) == pytest.approx(value, abs=1e-12)
    with pytest.raises(DegenerateError, match="equal"):
        standardised_linear_cka(np.full((200, 3), 0.1), teacher, clusters)


def test_invariances_and_symmetry(pair):
    x, y = pair
    value = debiased_linear_cka(x, y)
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(12, 12)))[0]
    assert debiased_linear_cka(y, x) == pytest.approx(value, abs=1e-12)
    assert debiased_linear_cka(100 + 3 * x @ rotation, y) == pytest.approx(value, abs=1e-10)
    assert debiased_linear_cka(1e-200 * x, 1e200 * y) == pytest.approx(value, abs=1e-10)
    same_order = np.random.default_rng(2).permutation(60)
    assert debiased_linear_cka(x[same_order], y[same_order]) == pytest.approx(value, abs=1e-12)


def test_shuffling_the_rows_of_one_side_breaks_it(pair):
    x, y = pair
    shuffled = np.random.default_rng(3).permutation(60)
    assert debiased_linear_cka(x, y) > 0.4
    assert abs(debiased_linear_cka(x, y[shuffled])) < 0.1


def test_permuting_a_u_centred_gram_is_indexing_it(pair):
    gram = pair[0] @ pair[0].T
    order = np.random.default_rng(4).permutation(60)
    np.testing.assert_allclose(u_centre(gram)[order][:, order], u_centre(gram[order][:, order]))
    assert np.abs(u_centre(gram).sum(axis=1)).max() < 1e-9


def test_half_precision_input_is_computed_in_double(pair):
    x, y = (side.astype(np.float16) for side in pair)
    expected = debiased_linear_cka(x.astype(np.float64), y.astype(np.float64))
    assert debiased_linear_cka(x, y) == expected


@pytest.mark.parametrize(
    ("x", "error", "words"),
    [
        (np.ones((60, 3)), DegenerateError, "equal"),
        (np.full((60, 3), 0.1), DegenerateError, "equal"),
        (np.zeros((60, 3)), DegenerateError, "equal"),
        (np.eye(60), DegenerateError, "equally far"),
        (np.full((60, 3), np.nan), DegenerateError, "not finite"),
        (np.ones((59, 3)), ShapeError, "same clips"),
        (np.ones(60), ShapeError, r"\[clip, dim\]"),
        (np.array([["a"]] * 60), ShapeError, "real numbers"),
    ],
)
def test_input_that_has_no_value_is_refused(pair, x, error, words):
    with pytest.raises(error, match=words) as caught:
        debiased_linear_cka(x, pair[1])
    assert str(caught.value).endswith(".")


def test_under_four_clips_are_refused():
    with pytest.raises(ShapeError, match="at least 4"):
        debiased_linear_cka(np.eye(3), np.eye(3))
    with pytest.raises(ShapeError, match="at least 4"):
        u_centre(np.eye(3))


def test_under_four_clusters_are_refused(pair):
    for measure in (debiased_linear_cka, standardised_linear_cka):
        with pytest.raises(DegenerateError, match="3 clusters, expected at least 4"):
            measure(*pair, np.arange(60) % 3)
    with pytest.raises(DegenerateError, match="3 clusters, expected at least 4"):
        hsic1_gram(np.eye(60), np.eye(60), np.arange(60) % 3)


def test_gram_matrices_of_other_clips_are_refused():
    with pytest.raises(ShapeError, match="same clips"):
        hsic1_gram(np.eye(5), np.eye(6))
