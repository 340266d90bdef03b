"""Pairs of rows by the literal definition, in spaces where points rule out nearly all, some and none."""

from pathlib import Path

import numpy as np
import pytest

from tests.stored_vectors import clustered
from usad_workbench.core.errors import ConfigError
from usad_workbench.indexes import close_pairs as close_pairs_module
from usad_workbench.indexes.close_pairs import close_pairs


@pytest.fixture(autouse=True)
def small_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(close_pairs_module, "LEAF_ROWS", 37)
    monkeypatch.setattr(close_pairs_module, "BLOCK_ROWS", 53)
    monkeypatch.setattr(close_pairs_module, "SAMPLE_ROWS", 100)
    monkeypatch.setattr(close_pairs_module, "PAIRS", 19)


def literal(vectors: np.ndarray, groups: np.ndarray, threshold: float) -> set[tuple[int, int]]:
    """Pairs by the definition, in float64."""
    wide = vectors.astype(np.float64)
    norms = np.linalg.norm(wide, axis=1, keepdims=True)
    unit = wide / np.where(norms == 0, np.inf, norms)
    is_asked = np.triu(unit @ unit.T >= threshold) & (groups[:, None] != groups)
    is_asked &= (groups >= 0)[:, None] & (groups >= 0)
    return set(zip(*(ends.tolist() for ends in np.nonzero(is_asked)), strict=True))


def made(kind: str) -> np.ndarray:
    """Vectors in which directions tell a lot, little and nothing."""
    noise = np.random.default_rng(0)
    if kind == "clustered":
        return clustered(300, 16, 5)[0]
    if kind == "no structure":
        return noise.normal(size=(300, 64)).astype(np.float32)
    if kind == "three dimensions":
        return noise.normal(size=(300, 3)).astype(np.float32)
    few = noise.normal(size=(300, 6)) @ noise.normal(size=(6, 64))
    return (few + 2 + 0.3 * noise.normal(size=few.shape)).astype(np.float32)


KINDS = ("clustered", "no structure", "three dimensions", "few directions and an offset")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("threshold", [0.3, 0.9, 0.995, 1.0])
def test_pairs_are_those_of_the_definition(kind: str, threshold: float) -> None:
    noise = np.random.default_rng(1)
    vectors = made(kind)
    scale = 0.02 * np.abs(vectors).mean()
    for i in range(0, 60, 3):  # near, and exact at another length
        vectors[i + 1] = vectors[i] + scale * noise.normal(size=vectors.shape[1])
        vectors[i + 2] = 4 * vectors[i]
    vectors[[100, 200]] = 0
    groups = np.arange(300) // 2
    groups[250:] = -1
    order = noise.permutation(300)
    found = close_pairs(vectors[order], groups[order], threshold)
    pairs = {
        tuple(sorted(pair)) for pair in zip(order[found.first], order[found.second], strict=True)
    }
    sure = literal(vectors, groups, threshold + 1e-6), literal(vectors, groups, threshold - 1e-6)
    assert sure[0] <= pairs <= sure[1]
    assert len(pairs) == len(found.first) >= (10 if threshold == 1 else 20)
    assert (found.first < found.second).all()
    assert (found.scores >= threshold).all() and (found.scores <= 1).all()


@pytest.mark.parametrize("width", [8, 16, 48])
def test_pairs_do_not_depend_on_the_number_of_coordinates(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(close_pairs_module, "WIDTHS", (width,))
    vectors = made("few directions and an offset")
    found = close_pairs(vectors, np.arange(300), 0.9)
    pairs = set(zip(found.first.tolist(), found.second.tolist(), strict=True))
    assert pairs == literal(vectors, np.arange(300), 0.9)
    assert 100 < len(pairs) < 40_000


def test_most_pairs_are_ruled_out_by_boxes_and_points(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[int] = []
    cosines = close_pairs_module._cosines

    def counted(vectors: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        looked_at.append(len(first))
        return cosines(vectors, first, second)

    monkeypatch.setattr(close_pairs_module, "_cosines", counted)
    vectors, _ = clustered(2000, 64, 40)
    vectors[::100] = vectors[1::100]
    assert len(close_pairs(vectors, np.arange(2000), 0.995).first) == 20
    assert sum(looked_at) < 200


def test_rows_that_are_not_finite_are_near_nothing_and_hide_nothing() -> None:
    vectors = made("clustered")
    vectors[::2] = vectors[1::2]
    groups = np.arange(300)
    truth = literal(vectors, groups, 0.995)
    assert len(truth) >= 150
    vectors[10], vectors[20, 3] = np.nan, np.inf
    found = close_pairs(vectors, groups, 0.995)
    pairs = set(zip(found.first.tolist(), found.second.tolist(), strict=True))
    assert pairs == {pair for pair in truth if not {10, 20} & set(pair)}


def test_more_pairs_than_can_be_kept_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(close_pairs_module, "MAX_PAIRS", 50)
    with pytest.raises(ConfigError, match="Raise the threshold"):
        close_pairs(np.ones((30, 4), np.float32), np.arange(30), 0.9)


def test_pairs_of_a_space_in_which_all_is_near_are_looked_at_some_at_a_time() -> None:
    pairs = close_pairs(np.ones((90, 4), np.float32), np.arange(90) // 2, 0.9)
    assert set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)) == {
        (i, j) for j in range(90) for i in range(j) if i // 2 != j // 2
    }


@pytest.mark.parametrize("n", [0, 1])
def test_fewer_than_two_rows_have_no_pairs(n: int) -> None:
    assert len(close_pairs(np.ones((n, 4), np.float32), np.arange(n), 0.9).first) == 0


def test_a_memory_map_is_read_in_blocks_and_rows_may_be_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    vectors = np.repeat(np.random.default_rng(0).normal(size=(200, 8)), 2, axis=0)
    np.save(tmp_path / "v.npy", vectors.astype(np.float32))
    sizes: list[int] = []
    normalise = close_pairs_module.normalise
    monkeypatch.setattr(
        close_pairs_module, "normalise", lambda some: sizes.append(len(some)) or normalise(some)
    )
    monkeypatch.setattr(close_pairs_module, "SAMPLE_ROWS", 40)
    groups = np.arange(400)
    groups[[0, 7]] = -1
    pairs = close_pairs(np.load(tmp_path / "v.npy", mmap_mode="r"), groups, 0.999)
    expected = [(i, i + 1) for i in range(2, 400, 2) if i != 6]
    assert sorted(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)) == expected
    assert max(sizes) <= 57  # a sample, a block or the ends of a batch of pairs
