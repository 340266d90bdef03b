"""Distance correlation: dcor's own values, the definition over clusters, planted truths."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform

from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.similarity import debiased_linear_cka, hsic1_gram
from usad_workbench.core.similarity.distance_correlation import distance_correlation
from usad_workbench.core.similarity.partial import partial_distance_correlation

REFERENCE = Path(__file__).parent / "fixtures" / "dcor_reference.json"


def pair(n=60):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 4))
    return x, x[:, :2] @ rng.normal(size=(2, 3)) + rng.normal(size=(n, 3))


def test_it_is_that_of_dcor():
    """The arrays of ``fixtures/make_dcor_reference.py``."""
    rng = np.random.default_rng(7)
    x, z = rng.normal(size=(60, 4)), rng.normal(size=(60, 3))
    y = x + z[:, :1] + 0.5 * rng.normal(size=(60, 4))
    expected = json.loads(REFERENCE.read_text())["plain"]
    assert distance_correlation(x, y) == pytest.approx(expected, abs=1e-12)


def test_over_clusters_it_is_the_ratio_of_distances_dependence():
    x, y = pair()
    clusters = np.random.default_rng(1).permutation(60) // 4
    a, b = squareform(pdist(x)), squareform(pdist(y))
    norms = hsic1_gram(a, a, clusters) * hsic1_gram(b, b, clusters)
    expected = hsic1_gram(a, b, clusters) / np.sqrt(norms)
    found = distance_correlation(x, y, clusters)
    assert found == pytest.approx(expected, abs=1e-12)
    assert partial_distance_correlation(x, y, [], clusters) == pytest.approx(found, abs=1e-12)
    assert distance_correlation(1e-100 * x + 3e-100, 1e100 * y, clusters) == pytest.approx(
        found, abs=1e-9
    )


def test_it_sees_dependence_that_is_not_linear_and_nothing_where_there_is_none():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(300, 1))
    y = np.abs(x) + 0.1 * rng.normal(size=(300, 1))
    shuffled = rng.permutation(300)
    assert distance_correlation(x, y) > 0.15
    assert abs(distance_correlation(x, y[shuffled])) < 0.05
    clusters = np.arange(60) // 5
    values = [
        distance_correlation(*(
            rng.normal(size=(12, 20))[clusters] + rng.normal(size=(60, 20)) for _ in range(2)
        ), clusters)
        for _ in range(60)
    ]  # fmt: skip
    assert abs(np.mean(values)) < 0.02


def test_far_pairs_weigh_less_than_in_cka():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(2, 100, 8))
    y = y + x
    x[0] *= 30
    y[1] *= 30
    assert distance_correlation(x, y) > debiased_linear_cka(x, y) + 0.1


def test_what_has_no_value_is_refused():
    x, y = pair()
    with pytest.raises(DegenerateError, match="equal"):
        distance_correlation(np.ones((60, 3)), y)
    with pytest.raises(DegenerateError, match="equal"):
        distance_correlation(np.eye(60), y)
    with pytest.raises(DegenerateError, match="3 clusters"):
        distance_correlation(x, y, np.arange(60) % 3)
    with pytest.raises(ShapeError, match="same clips"):
        distance_correlation(x[:-1], y)
