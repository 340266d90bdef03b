import numpy as np
import pytest

from usad_workbench.core.errors import ShapeError
from usad_workbench.core.similarity import (
    cosine_similarity,
    normalise_rows,
    squared_euclidean_distance,
)


def test_cosine_against_its_definition():
    x, y = np.random.default_rng(0).normal(size=(2, 6, 4))
    expected = [[a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in y] for a in x]
    np.testing.assert_allclose(cosine_similarity(x, y), expected)
    np.testing.assert_allclose(np.diag(cosine_similarity(x)), 1.0)


def test_zero_vectors_and_extreme_scales_are_defined():
    x = np.array([[0.0, 0.0], [1e-300, 0.0], [0.0, 1e300]])
    np.testing.assert_allclose(normalise_rows(x), [[0, 0], [1, 0], [0, 1]])
    np.testing.assert_allclose(cosine_similarity(x)[0], 0.0)


def test_squared_distance_is_exact_far_from_the_origin():
    x, y = np.random.default_rng(1).normal(size=(2, 6, 4))
    expected = [[np.sum((a - b) ** 2) for b in y] for a in x]
    np.testing.assert_allclose(squared_euclidean_distance(x + 1e6, y + 1e6), expected, rtol=1e-6)
    assert (squared_euclidean_distance(x) >= 0).all()


def test_other_dims_are_refused():
    with pytest.raises(ShapeError, match="3 dims and y has 2"):
        cosine_similarity(np.ones((4, 3)), np.ones((4, 2)))
    with pytest.raises(ShapeError, match="3 dims and y has 2"):
        squared_euclidean_distance(np.ones((4, 3)), np.ones((4, 2)))
