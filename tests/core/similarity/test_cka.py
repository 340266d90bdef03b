import numpy as np
import pytest

from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.similarity import debiased_linear_cka, hsic1_gram, u_centre


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 12))
    return x, x @ rng.normal(size=(12, 7)) + rng.normal(size=(60, 7))


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


def test_gram_matrices_of_other_clips_are_refused():
    with pytest.raises(ShapeError, match="same clips"):
        hsic1_gram(np.eye(5), np.eye(6))
