"""Exact search and lists of neighbours by torch against their literal definition."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.stored_vectors import clustered
from usad_workbench.core.errors import ConfigError, ShapeError
from usad_workbench.core.metrics import METRICS, Metric, query_of, scores
from usad_workbench.indexes import torch_search
from usad_workbench.indexes.torch_search import exact_search, neighbour_lists


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_search, "BLOCK_QUERIES", 37)
    monkeypatch.setattr(torch_search, "BLOCK_ROWS", {"cpu": 101, "cuda": 101})
    monkeypatch.setattr(torch_search, "RESCORED_VALUES", 999)


def literal(
    vectors: np.ndarray, query: np.ndarray, k: int, metric: Metric, own: int | None = None
) -> tuple[list[int], list[float]]:
    """Every score by ``core.metrics``, sorted; a query of zeros has the cosine 0 with all."""
    rows = np.delete(np.arange(len(vectors)), [] if own is None else own)
    if metric == "cosine" and not query.any():
        every = np.zeros(len(rows), np.float32)
    else:
        every = scores(vectors[rows], query_of(query, vectors.shape[1], metric), metric)
    order = np.lexsort((rows, -every))[:k]
    return rows[order].tolist(), every[order].tolist()


def made(name: str) -> np.ndarray:
    vectors = clustered(600, 24, 9)[0]
    if name == "copies":  # runs longer than any number of candidates, and zeros
        vectors[100:180] = vectors[5]
        vectors[[0, 300, 599]] = 0
    if name == "far from the origin":
        vectors += 3e3
    if name == "whole numbers":
        return np.random.default_rng(0).integers(-1, 2, size=(600, 3)).astype(np.float32)
    if name == "one point":
        return np.ones((600, 5), np.float32)
    if name == "huge":
        vectors *= 1e25
    if name == "tiny":
        vectors *= 1e-28
    return vectors


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    "name",
    ["clustered", "copies", "far from the origin", "whole numbers", "one point", "huge", "tiny"],
)
def test_rows_scores_and_their_order(name: str, metric: Metric) -> None:
    vectors = made(name)
    queries = np.concatenate([vectors[::60], vectors[:3] * 0.5])
    found = exact_search(vectors, queries, 12, metric=metric)
    lists = neighbour_lists(vectors, 12, metric=metric)
    some = np.array([599, 0, 170])
    asked = neighbour_lists(vectors, 12, metric=metric, rows=some)
    np.testing.assert_array_equal(asked.ids, lists.ids[some])
    for i, query in enumerate(queries):
        rows, expected = literal(vectors, query, 12, metric)
        assert found.ids[i].tolist() == rows
        np.testing.assert_allclose(found.scores[i], expected, rtol=2e-7)
    for i in range(0, 600, 23):
        rows, expected = literal(vectors, vectors[i], 12, metric, own=i)
        assert lists.ids[i].tolist() == rows, i
        np.testing.assert_allclose(lists.scores[i], expected, rtol=2e-7)


def test_a_memory_map_is_read_and_left_as_it_is(tmp_path: Path) -> None:
    vectors = clustered(500, 8, 4)[0]
    np.save(tmp_path / "v.npy", vectors)
    mapped = np.load(tmp_path / "v.npy", mmap_mode="r")
    found, plain = neighbour_lists(mapped, 5), neighbour_lists(vectors, 5)
    np.testing.assert_array_equal(found.ids, plain.ids)
    np.testing.assert_array_equal(np.load(tmp_path / "v.npy"), vectors)


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_few_rows(n: int) -> None:
    vectors = np.eye(n, 3, dtype=np.float32)
    assert neighbour_lists(vectors, 4).ids.shape == (n, max(0, min(4, n - 1)))
    assert exact_search(vectors, np.ones((2, 3), np.float32), 4).ids.shape == (2, min(4, n))
    assert exact_search(vectors, np.ones((0, 3), np.float32), 4).ids.shape == (0, min(4, n))


def test_what_does_not_fit_is_refused() -> None:
    vectors = np.eye(3, dtype=np.float32)
    with pytest.raises(ShapeError, match="expected"):
        exact_search(vectors, np.ones((1, 4), np.float32), 2)
    with pytest.raises(ConfigError, match="1 or more"):
        neighbour_lists(vectors, 0)
    with pytest.raises(ConfigError, match="cosine, inner_product, l2"):
        neighbour_lists(vectors, 1, metric="hamming")  # type: ignore[arg-type]


def test_progress_ends_and_what_the_caller_set_of_torch_stays() -> None:
    said = []
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        neighbour_lists(
            clustered(300, 4, 3)[0], 2, progress=lambda done, of, what: said.append((done, of))
        )
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert said == [(1, 3), (2, 3), (3, 3)]
