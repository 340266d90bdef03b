"""T19: hubs with and without centring, a collapsed domain, purity by its definition."""

import numpy as np
import pytest
from scipy.stats import skew

from usad_workbench.core.bias.neighbourhoods import (
    bad_occurrences,
    centred_neighbours,
    expected_purity,
    hubness,
    label_matches,
    leakage,
    neighbour_interval,
    occurrence_skewness,
)
from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.similarity.neighbours import nearest_neighbours


def test_hubness_of_gaussians_is_low_once_centred() -> None:
    x = np.random.default_rng(0).normal(size=(1500, 768)) + 2.0
    assert hubness(x, 10, np.arange(1500) // 15).skewness < 0.7
    raw = np.bincount(nearest_neighbours(x, 10).ravel(), minlength=1500)
    assert occurrence_skewness(raw) > 5


def test_skewness_is_scipys_and_jackknife_is_literal() -> None:
    rng = np.random.default_rng(0)
    x, unit = rng.normal(size=(60, 4)), np.repeat(np.arange(12), 5)
    found = hubness(x, 4, unit)
    assert found.skewness == pytest.approx(float(skew(found.occurrences)), abs=1e-12)
    centred = x - x.mean(axis=0)
    left = []
    for one in range(12):
        part = centred[unit != one]
        near = nearest_neighbours(part, 4)
        left.append(skew(np.bincount(near.ravel(), minlength=len(part))))
    left = np.asarray(left)
    error = np.sqrt(11 / 12 * np.sum((left - left.mean()) ** 2))
    assert found.interval.ci_high - found.interval.value == pytest.approx(
        2.200985 * error, rel=1e-5
    )


def test_one_hub_is_seen() -> None:
    near = np.array([[1], [0], [0], [0], [0]])
    counts = np.bincount(near.ravel(), minlength=5)
    assert occurrence_skewness(counts) > 1
    assert bad_occurrences(near, list("aabbb")).tolist() == [3, 0, 0, 0, 0]
    assert label_matches(near, list("aabbb")).mean(axis=1).tolist() == [1, 1, 0, 0, 0]


def test_separate_domains_do_not_leak_and_mixed_ones_do_by_their_size() -> None:
    rng = np.random.default_rng(0)
    n = 120
    domains, unit = np.repeat(["a", "b", "c"], n), np.arange(3 * n) // 4
    x = rng.normal(size=(3 * n, 16))
    x[:, 0] += 12 * (domains == "c")
    near = centred_neighbours(x, 10, unit)
    found, alone = (leakage(near, domains, unit, one) for one in "bc")
    assert found.shares["c"].value < 0.02
    assert abs(found.shares["a"].value - 0.5) < 0.1
    assert found.expected["a"] == pytest.approx(n / (3 * n - 4))
    assert alone.leaking.max() < 0.1


def test_collapsed_domain_leaks() -> None:
    rng = np.random.default_rng(0)
    centre = np.eye(8)[0]
    a = centre + 0.05 * rng.normal(size=(200, 8))
    b = centre + 0.05 * rng.normal(size=(10, 8))
    c = -centre + 0.05 * rng.normal(size=(200, 8))
    domains = ["a"] * 200 + ["b"] * 10 + ["c"] * 200
    unit = np.arange(410)
    found = leakage(centred_neighbours(np.vstack([a, b, c]), 10, unit), domains, unit, "b")
    assert found.shares["a"].value > 0.9
    assert found.expected["a"] < 0.5
    assert found.leaking.mean() > 0.9


def test_expected_purity_counts_other_clusters_only() -> None:
    labels, unit = list("aabba"), [0, 0, 1, 1, 2]
    same = [1 / 3, 1 / 3, 0, 0, 2 / 4]
    assert expected_purity(labels, unit) == pytest.approx(np.mean(same))


def test_degenerate_input_is_named() -> None:
    with pytest.raises(DegenerateError):
        hubness(np.ones((20, 3)), 5)
    with pytest.raises(ShapeError):
        hubness(np.eye(4), 5)
    with pytest.raises(DegenerateError):
        expected_purity(["a", "b"], [0, 0])
    with pytest.raises(DegenerateError):
        leakage(np.array([[1], [0]]), ["a", "a"], [0, 1], "b")
    few = hubness(np.random.default_rng(0).normal(size=(20, 3)), 3, np.arange(20) // 10)
    assert "2 clusters" in few.interval.reason


def test_intervals_of_shares_of_neighbours_hold_them() -> None:
    """Clips of 12 clusters: clips with their neighbours as they are held in 69% of data sets."""
    rng = np.random.default_rng(4)
    clusters = np.arange(60) // 5
    labels = np.arange(60) % 3
    found = []
    for _ in range(150):
        voices = rng.normal(size=(12, 12))[clusters]
        x = voices + rng.normal(size=(60, 12)) + 3 * np.eye(3, 12)[labels]
        near = centred_neighbours(x, 10, clusters)
        found.append(neighbour_interval(label_matches(near, labels), near, clusters))
    truth = np.mean([one.value for one in found])
    assert 0.9 <= np.mean([one.ci_low <= truth <= one.ci_high for one in found]) <= 0.99
    assert all(0 <= one.ci_low <= one.ci_high <= 1 for one in found)


def test_a_cluster_counts_as_clips_and_as_neighbours() -> None:
    """The literal sums over clips, for some queries among all clips."""
    rng = np.random.default_rng(5)
    clusters = rng.integers(0, 12, size=50)
    queries = np.flatnonzero(clusters < 9)
    near = centred_neighbours(rng.normal(size=(50, 4)), 6, clusters, queries)
    values = rng.random(near.shape)
    found = neighbour_interval(values, near, clusters, queries, bounds=(-np.inf, np.inf))
    influence = np.zeros(12)
    for row, clip in enumerate(queries):
        own = values[row].mean()
        influence[clusters[clip]] += (own - values.mean()) / len(queries)
        for place, other in enumerate(near[row]):
            influence[clusters[other]] += (values[row, place] - own) / values.size
    error = np.sqrt(9 / 8 * np.sum(influence**2))
    assert found.n_clusters == 9
    assert found.value == pytest.approx(values.mean())
    assert (found.ci_high - found.ci_low) / 2 == pytest.approx(2.306004 * error, rel=1e-5)
    few = neighbour_interval(values, near, clusters % 3, queries)
    assert few.reason.startswith("no interval: 3 clusters")
