"""Exact search by every metric against its literal definition, and what it refuses."""

import numpy as np
import pytest

from usad_workbench.core.errors import ConfigError, DegenerateError, ShapeError
from usad_workbench.core.metrics import (
    BLOCK_ROWS,
    METRICS,
    Metric,
    check_k,
    check_metric,
    nearest,
    nearest_rows,
    query_of,
    scores,
)


def literal_scores(vectors: np.ndarray, query: np.ndarray, metric: Metric) -> np.ndarray:
    """The definition in float64: cosine (0 for zeros), inner product, negative distance."""
    wide, q = vectors.astype(np.float64), np.asarray(query, np.float64)
    if metric == "cosine":
        lengths = np.linalg.norm(wide, axis=1) * np.linalg.norm(q)
        return np.array([v @ q / n if n else 0.0 for v, n in zip(wide, lengths, strict=True)])
    if metric == "inner_product":
        return np.array([v @ q for v in wide])
    return np.array([-np.sqrt(((v - q) ** 2).sum()) for v in wide])


@pytest.mark.parametrize("metric", METRICS)
def test_blocks_of_any_size_give_the_same_hits(metric: Metric) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.integers(-2, 3, size=(500, 4)).astype(np.float32)  # full of equal scores
    ids = rng.permutation(500).astype(np.int64)
    query = query_of([1.0, -2.0, 0.0, 1.0], 4, metric)
    whole = nearest([(ids, vectors)], query, 40, metric)
    for size in (1, 7, 499):
        parts = [(ids[i : i + size], vectors[i : i + size]) for i in range(0, 500, size)]
        found = nearest(parts, query, 40, metric)
        np.testing.assert_array_equal(found[0], whole[0])
        np.testing.assert_array_equal(found[1], whole[1])
    order = np.lexsort((whole[0], -whole[1]))
    np.testing.assert_array_equal(order, np.arange(40))
    expected = np.sort(literal_scores(vectors, [1.0, -2.0, 0.0, 1.0], metric))[::-1][:40]
    np.testing.assert_allclose(whole[1], expected, atol=1e-6)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_hits_are_those_of_summing_every_row(metric: Metric, offset: float) -> None:
    """Far from the origin products in float32 tell little of distances: nothing is missed."""
    rng = np.random.default_rng(3)
    vectors = (rng.normal(size=(3000, 24)) + offset).astype(np.float32)
    vectors[5] = vectors[2500] = 0
    vectors[40:80] = vectors[7]
    ids = np.arange(3000)[::-1].copy()
    blocks = [(ids[i : i + 700], vectors[i : i + 700]) for i in range(0, 3000, 700)]
    for row in (7, 1234):
        query = query_of(vectors[row], 24, metric)
        every = scores(vectors, query, metric)
        order = np.lexsort((ids, -every))[:60]
        found = nearest(blocks, query, 60, metric)
        np.testing.assert_array_equal(found[0], ids[order])
        np.testing.assert_array_equal(found[1], every[order])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_rows_of_an_array_however_they_lie(metric: Metric, offset: float) -> None:
    """Runs, scattered rows and all of them, with copies, zeros and lengths found before."""
    rng = np.random.default_rng(4)
    n = 2 * BLOCK_ROWS + 700
    vectors = (rng.normal(size=(n, 12)) + offset).astype(np.float32)
    vectors[5] = vectors[9000] = 0
    vectors[6000:6040] = vectors[7]
    scattered = np.sort(rng.permutation(n)[: n // 10])
    run_and_some = np.concatenate([scattered[scattered < 5900], np.arange(5900, 15_000)])
    squares = np.full(n, np.nan, np.float32)
    for rows in (None, scattered, np.flatnonzero(rng.random(n) < 0.6), run_and_some, scattered[:9]):
        chosen = np.arange(n) if rows is None else rows
        for row in (7, 12_345):
            query = query_of(vectors[row], 12, metric)
            every = scores(vectors[chosen], query, metric)
            order = np.lexsort((chosen, -every))[:60]
            for known in (None, squares):
                found = nearest_rows(vectors, query, 60, metric, rows=rows, squares=known)
                np.testing.assert_array_equal(found[0], chosen[order])
                np.testing.assert_array_equal(found[1], every[order])
    expected = (vectors.astype(np.float64) ** 2).sum(axis=1)
    np.testing.assert_allclose(squares, expected, rtol=1e-5)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("scale", [1e-30, 1e15, 1e30])
def test_rows_of_any_scale(metric: Metric, scale: float) -> None:
    vectors = (np.random.default_rng(5).normal(size=(3000, 3)) * scale).astype(np.float32)
    query = query_of(vectors[7], 3, metric)
    every = scores(vectors, query, metric)
    found = nearest_rows(vectors, query, 20, metric)
    np.testing.assert_array_equal(found[1], np.sort(every)[::-1][:20])


def test_of_no_rows_none_is_near() -> None:
    found = nearest_rows(np.eye(3, dtype=np.float32), query_of([1, 0, 0], 3), 2, rows=np.arange(0))
    assert [len(part) for part in found] == [0, 0]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e15, 1e30])
def test_any_scale_of_numbers(metric: Metric, scale: float) -> None:
    vectors = (np.random.default_rng(1).normal(size=(50, 3)) * scale).astype(np.float32)
    query = query_of(vectors[7], 3, metric)
    ids, found = nearest([(np.arange(50), vectors)], query, 50, metric)
    assert np.isfinite(found).all() and (found[1:] <= found[:-1]).all() and len(set(ids)) == 50
    if metric != "inner_product":
        assert ids[0] == 7 and found[0] == (1.0 if metric == "cosine" else 0.0)


def test_rows_of_zeros_have_the_cosine_0() -> None:
    rows = np.zeros((1, 2), np.float32)
    assert nearest([(np.array([5]), rows)], query_of([1, 1], 2), 3)[1].tolist() == [0.0]
    mixed = np.array([[-1, -1], [0, 0], [1, -1], [1, 1]], np.float32)
    assert nearest([(np.arange(4), mixed)], query_of([1, 1], 2), 4)[0].tolist() == [3, 1, 2, 0]


@pytest.mark.parametrize(
    ("query", "error", "words"),
    [
        ([1.0, np.nan], DegenerateError, "not finite"),
        ([np.inf, 0.0], DegenerateError, "not finite"),
        ([1.0, 2.0, 3.0], ShapeError, "3 values"),
        ([], ShapeError, "0 values"),
        (["a", "b"], ShapeError, "no array of numbers"),
    ],
)
@pytest.mark.parametrize("metric", METRICS)
def test_what_cannot_be_a_query_is_refused(
    query: list, error: type, words: str, metric: Metric
) -> None:  # type: ignore[type-arg]
    with pytest.raises(error, match=words):
        query_of(query, 2, metric)


def test_a_query_of_zeros_is_refused_for_the_cosine_alone() -> None:
    with pytest.raises(DegenerateError, match="zeros"):
        query_of([0.0, -0.0], 2)
    rows = np.array([[3, 4], [0, 1]], np.float32)
    assert scores(rows, query_of([0, 0], 2, "l2"), "l2").tolist() == [-5, -1]
    zero = query_of([0, 0], 2, "inner_product")
    assert nearest([(np.arange(2), rows)], zero, 2, "inner_product")[1].tolist() == [0, 0]
    with pytest.raises(DegenerateError, match="not finite"):
        query_of([1e300, 0], 2, "l2")


@pytest.mark.parametrize("k", [0, -1, 2.5, True, "3"])
def test_fewer_than_one_hit_is_refused(k: object) -> None:
    with pytest.raises(ConfigError, match="expected 1 or more"):
        check_k(k)  # type: ignore[arg-type]


def test_a_metric_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="cosine, inner_product, l2"):
        check_metric("euclid")


def test_a_block_is_a_part_of_memory() -> None:
    assert BLOCK_ROWS * 1280 * 4 < 64 << 20
