"""Exact search against its literal definition, and what it refuses."""

import numpy as np
import pytest

from usad_workbench.core.cosine import (
    BLOCK_ROWS,
    check_k,
    nearest,
    normalise,
    scores_of,
    unit_query,
)
from usad_workbench.core.errors import ConfigError, DegenerateError, ShapeError


def test_blocks_of_any_size_give_the_same_hits() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.integers(-2, 3, size=(500, 4)).astype(np.float32)  # full of equal cosines
    ids = rng.permutation(500).astype(np.int64)
    query = unit_query([1.0, -2.0, 0.0, 1.0], 4)
    whole = nearest([(ids, vectors)], query, 40)
    for size in (1, 7, 499):
        parts = [(ids[i : i + size], vectors[i : i + size]) for i in range(0, 500, size)]
        found = nearest(parts, query, 40)
        np.testing.assert_array_equal(found[0], whole[0])
        np.testing.assert_array_equal(found[1], whole[1])
    order = np.lexsort((whole[0], -whole[1]))
    np.testing.assert_array_equal(order, np.arange(40))
    lengths = np.linalg.norm(vectors, axis=1) * np.sqrt(6)
    cosines = vectors @ [1.0, -2.0, 0.0, 1.0] / np.where(lengths > 0, lengths, 1)
    np.testing.assert_allclose(whole[1], np.sort(cosines)[::-1][:40], atol=1e-6)


@pytest.mark.parametrize("width", [30, 96, 333])
def test_a_row_has_the_same_score_wherever_it_lies(width: int) -> None:
    """Where parts cancel out, what remains is the rounding of the sum: its order shows."""
    half = np.random.default_rng(width).normal(size=(200, width))
    rows = normalise(np.concatenate([half, half[:, ::-1]], axis=1).astype(np.float32))
    query = unit_query([1.0] * width + [-1.0] * width, 2 * width)
    whole = scores_of(rows, query)
    for size in (1, 2, 3, 5, 7, 33, 100):
        for first in (0, 1, 2, 3, 50):
            part = slice(first, first + size)
            np.testing.assert_array_equal(scores_of(rows[part], query), whole[part])


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_lengths_do_not_matter(scale: float) -> None:
    vectors = (np.random.default_rng(1).normal(size=(50, 3)) * scale).astype(np.float32)
    ids, scores = nearest([(np.arange(50), vectors)], unit_query(vectors[7], 3), 50)
    assert ids[0] == 7 and scores[0] == 1.0 and len(ids) == 50
    assert (np.abs(scores) <= 1).all()


def test_rows_of_zeros_score_nothing_and_more_rows_than_a_block_are_normalised() -> None:
    vectors = np.ones((BLOCK_ROWS + 3, 2), np.float32)
    vectors[-1] = 0
    unit = normalise(vectors)
    np.testing.assert_allclose(unit[:-1], np.sqrt(0.5), atol=1e-7)
    assert unit[-1].tolist() == [0, 0]
    assert nearest([(np.array([5]), vectors[-1:])], unit_query([1, 1], 2), 3)[1].tolist() == [0.0]


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


@pytest.mark.parametrize("k", [0, -1, 2.5, True, "3"])
def test_fewer_than_one_hit_is_refused(k: object) -> None:
    with pytest.raises(ConfigError, match="expected 1 or more"):
        check_k(k)  # type: ignore[arg-type]
