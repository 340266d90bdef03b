"""The cosine, and the queries that it refuses."""

import numpy as np
import pytest

from usad_workbench.core.cosine import cosines, normalise, unit_query
from usad_workbench.core.errors import DegenerateError, ShapeError


@pytest.mark.parametrize("width", [30, 96, 333])
def test_a_row_has_the_same_score_wherever_it_lies(width: int) -> None:
    """Where parts cancel out, what remains is the rounding of the sum: its order shows."""
    half = np.random.default_rng(width).normal(size=(200, width))
    rows = np.concatenate([half, half[:, ::-1]], axis=1).astype(np.float32)
    query = unit_query([1.0] * width + [-1.0] * width, 2 * width)
    whole = cosines(rows, query)
    for size in (1, 2, 3, 5, 7, 33, 100):
        for first in (0, 1, 2, 3, 50):
            part = slice(first, first + size)
            np.testing.assert_array_equal(cosines(rows[part], query), whole[part])


def test_rows_of_zeros_score_nothing_and_more_rows_than_a_block_are_normalised() -> None:
    vectors = np.ones((20_003, 2), np.float32)
    vectors[-1] = 0
    unit = normalise(vectors)
    np.testing.assert_allclose(unit[:-1], np.sqrt(0.5), atol=1e-7)
    assert unit[-1].tolist() == [0, 0]
    assert cosines(vectors[-2:], unit_query([1, 1], 2)).tolist() == [1.0, 0.0]


@pytest.mark.parametrize("scale", [1e-38, 1.0, 1e38])
def test_scores_are_the_literal_cosine_at_any_length(scale: float) -> None:
    """Down to numbers that float32 holds by half their digits, and up to its largest."""
    rng = np.random.default_rng(1)
    rows = (rng.uniform(-1, 1, size=(50, 40)) * scale).astype(np.float32)
    rows[3] = 0
    query = rng.normal(size=40)
    found = cosines(rows, unit_query(query, 40))
    wide = rows.astype(float)
    lengths = np.linalg.norm(wide / scale, axis=1) * np.linalg.norm(query)
    expected = [row @ query / n if n else 0.0 for row, n in zip(wide / scale, lengths, strict=True)]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert cosines(rows[5:6], unit_query(rows[5], 40)).tolist() == [1.0]
    assert cosines(-rows[5:6], unit_query(rows[5], 40)).tolist() == [-1.0]


@pytest.mark.parametrize(
    ("query", "error", "words"),
    [
        ([1.0, np.nan], DegenerateError, "not finite"),
        ([np.inf, 0.0], DegenerateError, "not finite"),
        ([0.0, -0.0], DegenerateError, "zeros"),
        ([1.0, 2.0, 3.0], ShapeError, "3 values"),
        ([], ShapeError, "0 values"),
        (["a", "b"], ShapeError, "no array of numbers"),
    ],
)
def test_what_cannot_be_a_query_is_refused(query: list, error: type, words: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(error, match=words):
        unit_query(query, 2)


def test_extreme_numbers_are_a_query() -> None:
    for scale in (1e-200, 1e300):
        np.testing.assert_allclose(unit_query([3 * scale, 4 * scale], 2), [0.6, 0.8], atol=1e-7)
