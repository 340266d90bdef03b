"""A stated recall is reached on vectors that nothing was tuned on, or it is said that it is not."""

import numpy as np
import pytest

from tests.stored_vectors import clustered, literal_nearest
from usad_workbench.core.errors import ConfigError
from usad_workbench.indexes.building import build_index
from usad_workbench.indexes.plans import BuildConfig, plan_index
from usad_workbench.indexes.tuning import held_out, query_rows, recall_shares

N = 6000


@pytest.mark.parametrize("data", ["clustered", "uniform"])
@pytest.mark.parametrize("target", [0.8, 0.98])
def test_the_recall_holds_for_other_queries(data: str, target: float) -> None:
    """Uniform vectors have no lists to speak of: more of them are read."""
    rng = np.random.default_rng(1)
    vectors = clustered(N, 16, 30)[0] if data == "clustered" else rng.random((N, 16), np.float32)
    vectors = vectors - vectors.mean(axis=0)
    built = build_index(np.arange(N), vectors, kind="ivf", config=BuildConfig(target_recall=target))
    rows = query_rows(np.arange(N), vectors, 2, 80)
    hits = built.index.search(vectors[rows], 11)
    shares = [
        np.isin(literal_nearest(vectors, vectors[row], 11)[1:], found).mean()
        for row, found in zip(rows, hits.ids, strict=True)
    ]
    assert np.mean(shares) >= target - 0.01
    assert built.settings.tuned_recall >= target
    assert f"found {built.settings.tuned_recall:.3f} of the 10 nearest" in built.settings.reason
    if data == "uniform":
        easy = build_index(np.arange(N), clustered(N, 16, 30)[0], kind="ivf")
        assert target < 0.9 or built.settings.effort.n_probe > easy.settings.effort.n_probe


def test_a_recall_that_is_not_reached_is_said_to_be_missed() -> None:
    """Two codes of 8 bits of 64 random values: 320 candidates are too few."""
    vectors = np.random.default_rng(0).normal(size=(12_000, 34)).astype(np.float32)
    built = build_index(np.arange(12_000), vectors, kind="ivfpq")
    assert "less than the 0.98 asked for" in built.settings.reason
    assert built.settings.tuned_recall < 0.98


def test_queries_are_neither_trained_nor_measured_with() -> None:
    ids = np.arange(5, 40_000, 3)
    groups = held_out(ids)
    assert set(np.unique(groups)) == {0, 1, 2}
    vectors = np.ones((len(ids), 2), np.float32)
    tuned, measured = (query_rows(ids, vectors, group, 300) for group in (1, 2))
    assert not np.isin(tuned, measured).any()
    np.testing.assert_array_equal(held_out(ids[::-1])[::-1], groups)  # by the id alone
    vectors[tuned] = 0
    assert len(query_rows(ids, vectors, 1, 300)) == 0


def test_shares_are_counted_by_scores() -> None:
    truth = np.array([[0.9, 0.8, 0.8]], np.float32)
    found = np.array([[0.8, 0.9, 0.1, 0.8, 0.8]], np.float32)  # copies: more than three reach it
    shares = recall_shares(found, truth, (1, 2, 3, 5))
    np.testing.assert_allclose(shares, [[1 / 3, 2 / 3, 2 / 3, 1]])


def test_the_memory_decides_what_auto_takes() -> None:
    assert plan_index(50_000, 384).kind == "flat"
    assert plan_index(50_001, 384).factory.endswith("SQ8")
    small = plan_index(10_000_000, 384, memory_gb=1)
    assert small.kind == "ivfpq" and small.bytes <= 1e9
    tiny = plan_index(10_000_000, 384, memory_gb=0.01)
    assert tiny.kind == "ivfpq" and "more than was allowed" in tiny.reason
    assert "of 1 GB" in small.reason
    for wrong in ({"memory_gb": 0}, {"target_recall": 0}, {"target_recall": 1.5}):
        with pytest.raises(ConfigError, match="expected"):
            BuildConfig(**wrong)
