"""Planted truths for the similarity measures: each test also shows the trap it guards against."""

import numpy as np
import pytest

from usad_workbench.core.similarity import (
    benjamini_hochberg,
    debiased_linear_cka,
    layer_similarity,
    mutual_knn,
    permutations_within,
)
from usad_workbench.core.similarity.resampling import permutation_p_value


def literal_u_centred(gram):
    """Székely and Rizzo 2014, definition 2, written out entry by entry."""
    n = len(gram)
    total = sum(gram[i, j] for i in range(n) for j in range(n) if i != j)
    rows = [sum(gram[i, j] for j in range(n) if i != j) for i in range(n)]
    out = np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            if i != j:
                means = (rows[i] + rows[j]) / (n - 2) - total / ((n - 1) * (n - 2))
                out[i, j] = gram[i, j] - means
    return out


def literal_debiased_cka(x, y):
    k, m = literal_u_centred(x @ x.T), literal_u_centred(y @ y.T)
    return np.sum(k * m) / np.sqrt(np.sum(k * k) * np.sum(m * m))


def biased_cka(x, y):
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    return np.sum((x.T @ y) ** 2) / np.linalg.norm(x.T @ x) / np.linalg.norm(y.T @ y)


def clustered_world(rng, n_clusters, per_cluster, copied=1.0, voice=1.0):
    """Two encoders with their own cluster effects and ``copied`` shared content."""
    maps = np.random.default_rng(5).normal(size=(2, 6, 12)) / np.sqrt(6)
    clusters = np.repeat(np.arange(n_clusters), per_cluster)
    n = len(clusters)
    shared = rng.normal(size=(n, 6)) + rng.normal(size=(n_clusters, 6))[clusters]
    sides = [
        copied * shared @ side
        + voice * rng.normal(size=(n_clusters, 12))[clusters]
        + rng.normal(size=(n, 12))
        for side in maps
    ]
    return *sides, clusters


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.75, 1.0])
def test_t1_cka_of_a_partial_copy_is_its_closed_form(share):
    n, d = 100, 256
    truth = share / np.hypot(share, 1 - share)
    values, biased = [], []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(n, d))
        rotation = np.linalg.qr(rng.normal(size=(d, d)))[0]
        y = np.hstack([np.sqrt(share) * x @ rotation, np.sqrt(1 - share) * rng.normal(size=(n, d))])
        values.append(debiased_linear_cka(x, y))
        biased.append(biased_cka(x, y))
    assert np.mean(values) == pytest.approx(truth, abs=0.03)
    if share == 0.5:
        assert truth == pytest.approx(0.707, abs=1e-3)
        assert np.mean(biased) > 0.88


@pytest.mark.parametrize("n", [50, 200, 1000, 5000])
def test_t2_cka_of_unrelated_encoders_is_zero_at_any_n(n):
    rng = np.random.default_rng(n)
    x, y = rng.normal(size=(2, n, 768))
    assert abs(debiased_linear_cka(x, y)) < 0.05
    if n == 200:
        assert biased_cka(x, y) > 0.7


@pytest.mark.parametrize(("n", "p", "q"), [(4, 3, 2), (9, 40, 3), (25, 6, 60)])
def test_t3_feature_form_is_the_gram_form(n, p, q):
    rng = np.random.default_rng(n)
    x = 5 + rng.normal(size=(n, p))
    y = x[:, :2] @ rng.normal(size=(2, q)) + rng.normal(size=(n, q)) - 3
    assert debiased_linear_cka(x, y) == pytest.approx(literal_debiased_cka(x, y), abs=1e-10)


def test_t4_pooled_domains_look_alike_where_nothing_is_shared_within_them():
    rng = np.random.default_rng(0)
    domain = np.repeat([0, 1, 2], 60)
    x = rng.normal(size=(180, 32)) + 2 * rng.normal(size=(3, 32))[domain]
    y = rng.normal(size=(180, 24)) + 2 * rng.normal(size=(3, 24))[domain]
    assert debiased_linear_cka(x, y) > 0.8
    for which in range(3):
        rows = domain == which
        assert abs(debiased_linear_cka(x[rows], y[rows])) < 0.05
    free = layer_similarity([x], [y], np.arange(180), n_permutations=199)
    assert free.p_value[0, 0] <= 0.01
    within = [debiased_linear_cka(x[o], y) for o in permutations_within(domain, 99)]
    assert permutation_p_value(debiased_linear_cka(x, y), np.array(within)) > 0.05
    assert np.quantile(within, 0.95) > 0.8


def test_t5_mutual_knn_is_chance_for_unrelated_and_one_for_a_rotation():
    rng = np.random.default_rng(0)
    n, k = 300, 10
    x, y = rng.normal(size=(2, n, 64))
    rotation = np.linalg.qr(rng.normal(size=(64, 64)))[0]
    assert mutual_knn(x, y, k) == pytest.approx(k / (n - 1), abs=0.01)
    assert mutual_knn(x, 7 * x @ rotation, k) == 1.0


def test_t5_same_cluster_neighbours_would_feign_alignment():
    rng = np.random.default_rng(1)
    speaker = np.repeat(np.arange(30), 10)
    x = rng.normal(size=(300, 16)) + 3 * rng.normal(size=(30, 16))[speaker]
    y = rng.normal(size=(300, 16)) + 3 * rng.normal(size=(30, 16))[speaker]
    assert mutual_knn(x, y, 9) > 0.8
    result = layer_similarity([x], [y], speaker, measure="mutual_knn", k=9, n_permutations=99)
    assert result.values[0, 0] < 0.15
    assert result.p_value[0, 0] > 0.05


def test_t21_jackknife_covers_and_the_bootstrap_is_far_off():
    rng = np.random.default_rng(2)
    a, b = np.random.default_rng(5).normal(size=(2, 6, 12)) / np.sqrt(6)
    covariances = [2 * left.T @ right for left, right in ((a, b), (a, a), (b, b))]
    cross, own_x, own_y = (
        np.sum((one + shift * 2 * np.eye(12)) ** 2)
        for one, shift in zip(covariances, (0, 1, 1), strict=True)
    )
    truth = cross / np.sqrt(own_x * own_y)
    hits = []
    for _ in range(250):
        x, y, clusters = clustered_world(rng, 30, 5)
        found = layer_similarity([x], [y], clusters, n_permutations=0)
        hits.append(found.ci_low[0, 0] <= truth <= found.ci_high[0, 0])
    assert 0.90 <= np.mean(hits) <= 0.99

    x = rng.normal(size=(100, 256))
    y = np.hstack([0.6 * x, 0.8 * rng.normal(size=(100, 256))])
    drawn = [rng.integers(0, 100, size=100) for _ in range(20)]
    bootstrap = np.mean([debiased_linear_cka(x[rows], y[rows]) for rows in drawn])
    assert bootstrap > debiased_linear_cka(x, y) + 0.2


def test_t21_mutual_knn_jackknife_covers():
    rng = np.random.default_rng(3)
    worlds = [clustered_world(rng, 30, 5) for _ in range(150)]
    found = [
        layer_similarity([x], [y], clusters, measure="mutual_knn", n_permutations=0)
        for x, y, clusters in worlds
    ]
    truth = np.mean([one.values[0, 0] for one in found])
    hits = [one.ci_low[0, 0] <= truth <= one.ci_high[0, 0] for one in found]
    # Neighbours change in jumps, so its jackknife errs on the wide side: no upper bound here.
    assert np.mean(hits) >= 0.90


def test_t22_benjamini_hochberg_is_the_reference():
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    rng = np.random.default_rng(4)
    p = np.round(rng.random(200) ** 3, 3)
    np.testing.assert_allclose(
        benjamini_hochberg(p), multitest.multipletests(p, method="fdr_bh")[1], atol=1e-12
    )


@pytest.mark.parametrize("measure", ["debiased_linear_cka", "mutual_knn"])
def test_within_cluster_null_holds_its_level_where_the_free_one_always_rejects(measure):
    rng = np.random.default_rng(6)
    within, free = [], []
    for _ in range(120):
        x, y, speaker = clustered_world(rng, 20, 6, copied=0.0, voice=1.5)
        kind = {"measure": measure, "k": 5, "n_permutations": 99}
        within.append(layer_similarity([x], [y], speaker, **kind).p_value[0, 0])
        if measure == "debiased_linear_cka":
            alone = layer_similarity([x], [y], np.arange(len(x)), **kind)
            free.append(alone.p_value[0, 0])
    assert np.mean(np.asarray(within) <= 0.05) <= 0.10
    if free:
        assert np.mean(np.asarray(free) <= 0.05) > 0.95


def test_within_cluster_null_still_finds_shared_content():
    rng = np.random.default_rng(7)
    found = [
        layer_similarity([x], [y], speaker, n_permutations=99).p_value[0, 0]
        for x, y, speaker in (clustered_world(rng, 20, 6) for _ in range(20))
    ]
    assert np.mean(np.asarray(found) <= 0.05) > 0.95


def test_maximum_statistic_controls_the_error_over_all_layer_pairs():
    """Layers share cluster effects, so the pairs' nulls lie at different heights."""
    rng = np.random.default_rng(8)
    any_pair, any_alone = [], []
    for _ in range(250):
        clusters = np.repeat(np.arange(12), 5)
        effect = rng.normal(size=(12, 6))[clusters]
        student = [rng.normal(size=(60, 6)) + size * effect for size in (0, 1, 2)]
        teacher = [rng.normal(size=(60, 6)) + size * effect for size in (0, 0.5, 1, 2)]
        found = layer_similarity(student, teacher, clusters, n_permutations=99)
        any_pair.append(np.any(found.p_value <= 0.05))
        any_alone.append(np.any(found.values > found.null_q95))
    assert np.mean(any_pair) <= 0.09
    assert np.mean(any_alone) > 0.25
