import itertools
import math

import numpy as np
import pytest
from scipy import stats

from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.similarity import (
    benjamini_hochberg,
    holm,
    jackknife_interval,
    resampling,
    strata,
)
from usad_workbench.core.similarity.resampling import (
    bootstrap_limits,
    bootstrap_samples,
    exchange_warning,
    jackknife_error,
    jackknife_groups,
    jackknife_limits,
    pair_variance,
    permutation_blocks,
    permutation_p_value,
    permutations_within,
)
from usad_workbench.core.similarity.significance import family_p_values


def test_clusters_of_one_clip_are_one_stratum():
    found = strata(["a", "x", "a", "y", "b", "b", "z"], 7)
    assert len(set(found[[1, 3, 6]])) == 1
    assert len(set(found)) == 3
    assert found[0] == found[2] != found[4] == found[5]
    assert len(set(strata(None, 5))) == 1


def test_permutations_stay_within_their_stratum_and_reach_every_order():
    stratum = np.array([0, 1, 0, 2, 1, 0])
    orders = permutations_within(stratum, 500, seed=1)
    assert (np.sort(orders, axis=1) == np.arange(6)).all()
    assert (stratum[orders] == stratum).all()
    assert len({tuple(order) for order in orders}) == 12  # 3! × 2!
    counts = np.unique(orders[:, 0], return_counts=True)[1]
    assert counts.min() > 120  # each of three places about a third of the time
    np.testing.assert_array_equal(orders, permutations_within(stratum, 500, seed=1))
    assert not np.array_equal(orders, permutations_within(stratum, 500, seed=2))


def test_exchange_warning():
    assert exchange_warning(np.zeros(50, dtype=int), 200) == ""
    assert exchange_warning(np.repeat(np.arange(20), 5), 200) == ""
    assert "50%" in exchange_warning(np.repeat(np.arange(20), 2), 200)
    assert "only 4 different" in exchange_warning(np.array([0, 0, 1, 1]), 200)


def test_p_value_counts_the_observed_one_in():
    assert permutation_p_value(5.0, np.zeros(99)) == 0.01
    assert permutation_p_value(0.0, np.zeros(99)) == 1.0


def test_jackknife_of_a_mean_is_the_t_interval():
    x = np.random.default_rng(0).normal(size=30)
    found = jackknife_interval(lambda rows: x[rows].mean(), np.arange(30), n_clips=30)
    low, high = stats.t.interval(0.95, 29, loc=x.mean(), scale=stats.sem(x))
    assert (found.ci_low, found.ci_high) == pytest.approx((low, high))
    assert found.n_clusters == 30


def test_jackknife_needs_eight_clusters():
    found = jackknife_interval(lambda rows: len(rows), list("aabbccdd"), n_clips=8)
    assert math.isnan(found.ci_low)
    assert found.reason == "no interval: 4 clusters, at least 8 are needed"
    with pytest.raises(ShapeError, match="at least 2"):
        jackknife_limits(np.array(1.0), np.array([1.0]))


def test_jackknife_groups_are_even_and_keep_clusters_whole():
    clusters = np.repeat(np.arange(250), np.random.default_rng(1).integers(1, 9, size=250))
    groups = jackknife_groups(clusters, len(clusters))
    assert groups.max() == 99
    for cluster in range(250):
        assert len(set(groups[clusters == cluster])) == 1
    sizes = np.bincount(groups)
    assert sizes.max() - sizes.min() <= 8
    np.testing.assert_array_equal(jackknife_groups(["b", "a", "b"], 3), [1, 0, 1])


def test_cluster_bootstrap_covers_where_the_clip_bootstrap_does_not():
    rng = np.random.default_rng(2)
    n_clusters, per_cluster = 15, 10
    clusters = np.repeat(np.arange(n_clusters), per_cluster)
    hits = {"cluster": [], "clip": []}
    for trial in range(300):
        x = rng.normal(size=n_clusters)[clusters] + rng.normal(size=len(clusters))
        for kind, units in (("cluster", clusters), ("clip", np.arange(len(clusters)))):
            n_units = units.max() + 1
            sums, sizes = np.bincount(units, x), np.bincount(units)
            means = bootstrap_samples(
                lambda counts, a=sums, b=sizes: (counts @ a) / (counts @ b), n_units, 400, trial
            )
            low, high = bootstrap_limits(means, n_units)
            hits[kind].append(low <= 0 <= high)
    assert 0.90 <= np.mean(hits["cluster"]) <= 0.99
    assert np.mean(hits["clip"]) < 0.85


def test_bootstrap_without_clusters():
    with pytest.raises(DegenerateError, match="no clusters"):
        bootstrap_samples(lambda counts: counts, 0, 10)
    assert math.isnan(bootstrap_limits(np.array([np.nan]), 9)[0])
    assert math.isnan(bootstrap_limits(np.array([1.0]), 1)[0])


def test_many_clusters_are_drawn_a_few_resamples_at_a_time(monkeypatch):
    """The same draws, whatever the blocks: kept ones, and those too many to be kept."""
    literal = np.random.default_rng(3).multinomial(50, np.full(50, 1 / 50), size=40)
    seen: list[int] = []

    def counts(block):
        seen.append(block.size)
        return block

    np.testing.assert_array_equal(bootstrap_samples(counts, 50, 40, 3), literal)
    assert seen == [2000]
    monkeypatch.setattr(resampling, "MAX_COUNTS", 350)
    for most_kept in (10**6, 0):
        monkeypatch.setattr(resampling, "MAX_KEPT_COUNTS", most_kept)
        seen.clear()
        np.testing.assert_array_equal(bootstrap_samples(counts, 50, 40, 3), literal)
        assert max(seen) == 350


def test_permutation_blocks_are_the_permutations(monkeypatch):
    stratum = np.repeat(np.arange(4), 5)
    whole = permutations_within(stratum, 30, seed=2)
    monkeypatch.setattr(resampling, "MAX_COUNTS", 65)
    blocks = list(permutation_blocks(stratum, 30, seed=2))
    assert {len(block) for block in blocks} == {3}
    np.testing.assert_array_equal(np.concatenate(blocks), whole)


def test_benjamini_hochberg_keeps_shape_and_nan():
    p = np.array([[0.01, np.nan], [0.5, 0.02]])
    q = benjamini_hochberg(p)
    np.testing.assert_allclose(q, [[0.03, np.nan], [0.5, 0.03]])
    assert benjamini_hochberg(np.array([np.nan])).shape == (1,)
    assert benjamini_hochberg(np.array([])).shape == (0,)
    with pytest.raises(ShapeError, match="outside"):
        benjamini_hochberg(np.array([1.5]))


def closed_bonferroni(p):
    """Holm by its definition: an hypothesis falls when every set that holds it does."""
    sets = [
        one for size in range(1, len(p) + 1) for one in itertools.combinations(range(len(p)), size)
    ]
    level = {one: min(1.0, len(one) * min(p[i] for i in one)) for one in sets}
    return [max(level[one] for one in sets if i in one) for i in range(len(p))]


def test_holm_is_the_closed_bonferroni_test():
    rng = np.random.default_rng(0)
    for _ in range(20):
        p = rng.uniform(size=6) ** 3
        np.testing.assert_allclose(holm(p), closed_bonferroni(p.tolist()), rtol=1e-12)
    with_gap = holm(np.array([0.01, np.nan, 0.5]))
    np.testing.assert_array_equal(with_gap, [0.02, np.nan, 0.5])
    assert holm(np.array([])).shape == (0,)


def test_holm_names_a_true_null_in_one_panel_of_twenty_and_benjamini_hochberg_more_often():
    rng = np.random.default_rng(1)
    p = rng.uniform(size=(4000, 9))
    p[:, :5] = 1e-9  # five real effects, four true nulls
    is_wrong = {
        adjust: np.mean([(adjust(one)[5:] <= 0.05).any() for one in p])
        for adjust in (holm, benjamini_hochberg)
    }
    assert is_wrong[holm] <= 0.06
    assert is_wrong[benjamini_hochberg] > 0.09


def test_a_panel_without_tests_has_no_families() -> None:
    assert family_p_values(np.array([], dtype=np.float64), []).shape == (0,)
    nothing = family_p_values(np.array([np.nan, np.nan]), ["a", "b"])
    assert np.isnan(nothing).all()


@pytest.mark.parametrize("linear", [0.0, 0.3])
def test_pairs_of_groups_are_counted_once(linear):
    """A mean over pairs of z z' + linear (z + z'): its variance is known."""
    rng = np.random.default_rng(11)
    n, found = 20, []
    for _ in range(400):
        z = rng.normal(size=n)
        kernel = np.outer(z, z) + linear * (z[:, None] + z)
        np.fill_diagonal(kernel, 0.0)
        rows, total = kernel.sum(axis=1), kernel.sum()
        left_out = (total - 2 * rows) / ((n - 1) * (n - 2))
        of_pairs = pair_variance(kernel / (n * (n - 1)))
        found.append([jackknife_error(left_out) ** 2, of_pairs])
    jackknife, of_pairs = np.mean(found, axis=0)
    truth_of_pairs = 2 / (n * (n - 1))
    assert of_pairs == pytest.approx(truth_of_pairs, rel=0.1)
    truth = 4 * linear**2 / n + truth_of_pairs
    # Too large by a few parts in n, as a jackknife is.
    assert truth <= jackknife - of_pairs <= 1.2 * truth
    assert jackknife > truth + 0.8 * truth_of_pairs
    diagonal = kernel / (n * (n - 1)) + np.eye(n)
    assert pair_variance(diagonal) == pytest.approx(found[-1][1])
    assert pair_variance(np.stack([kernel, 2 * kernel], axis=2))[1] == pytest.approx(
        4 * pair_variance(kernel)
    )


def test_no_more_than_half_of_a_variance_is_taken_out():
    left_out = np.random.default_rng(12).normal(size=30)
    error = float(jackknife_error(left_out))
    assert jackknife_error(left_out, of_pairs=1e9) == pytest.approx(error / math.sqrt(2))
    with pytest.raises(ShapeError, match="at least 4"):
        pair_variance(np.eye(3))
