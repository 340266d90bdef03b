import numpy as np
import pytest

from usad_workbench.core.errors import DegenerateError, ShapeError, UnknownNameError
from usad_workbench.core.similarity import (
    debiased_linear_cka,
    layer_similarity,
    mutual_knn,
    standardised_linear_cka,
    strata,
)
from usad_workbench.core.similarity._cka_layers import dual, prepare_gram
from usad_workbench.core.similarity._shares import clip_shares
from usad_workbench.core.similarity.layers import null_kind, thin_clusters
from usad_workbench.core.similarity.neighbours import nearest_neighbours
from usad_workbench.core.similarity.resampling import (
    jackknife_limits,
    pair_variance,
    permutations_within,
)
from usad_workbench.core.similarity.significance import max_statistic

MEASURES = ["debiased_linear_cka", "mutual_knn"]


def pairwise(measure, x, y, clusters, k=5):
    if measure == "mutual_knn":
        return mutual_knn(x, y, k, clusters)
    return debiased_linear_cka(x, y, clusters)


@pytest.fixture(scope="module")
def world():
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(16), [1, 1, 1, 2, 2, 3, 3, 4, 4, 4, 5, 5, 6, 6, 7, 10])
    rng.shuffle(clusters)
    n = len(clusters)
    shared = rng.normal(size=(n, 5)) + rng.normal(size=(16, 5))[clusters]
    student = [shared @ rng.normal(size=(5, d)) + rng.normal(size=(n, d)) for d in (6, 9)]
    teacher = [shared @ rng.normal(size=(5, d)) + rng.normal(size=(n, d)) for d in (4, 12, 20)]
    return student, teacher, clusters


@pytest.mark.parametrize("measure", MEASURES)
def test_matrix_equals_pairwise_calls(world, measure):
    student, teacher, clusters = world
    found = layer_similarity(student, teacher, clusters, measure=measure, k=5, n_permutations=9)
    assert found.values.shape == (2, 3)
    for i, x in enumerate(student):
        for j, y in enumerate(teacher):
            expected = pairwise(measure, x, y, clusters)
            assert found.values[i, j] == pytest.approx(expected, abs=1e-10)
            for group in range(16):
                rows = clusters != group
                expected = pairwise(measure, x[rows], y[rows], clusters[rows])
                assert found.jackknife_values[group, i, j] == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("measure", MEASURES)
def test_null_is_the_measure_of_permuted_rows(world, measure):
    student, teacher, clusters = world
    found = layer_similarity(
        student, teacher, clusters, measure=measure, k=5, n_permutations=19, seed=3
    )
    orders = permutations_within(strata(clusters, len(clusters)), 19, seed=3)
    null = np.array(
        [
            [[pairwise(measure, x[order], y, clusters) for y in teacher] for x in student]
            for order in orders
        ]
    )
    level, p_value = max_statistic(np.concatenate([found.values[None], null]))
    np.testing.assert_allclose(found.null_q95, level, atol=1e-5)
    np.testing.assert_allclose(found.p_value, p_value)
    assert found.null_kind == "rows within cluster, max over layer pairs, 19 permutations"


@pytest.mark.parametrize("measure", MEASURES)
def test_same_call_same_result_and_row_order_does_not_matter(world, measure):
    student, teacher, clusters = world
    order = np.random.default_rng(1).permutation(len(clusters))
    kind = {"measure": measure, "k": 5, "n_permutations": 29}
    first = layer_similarity(student, teacher, clusters, **kind)
    again = layer_similarity(student, teacher, clusters, **kind)
    moved = layer_similarity(
        [x[order] for x in student], [y[order] for y in teacher], clusters[order], **kind
    )
    np.testing.assert_array_equal(first.p_value, again.p_value)
    np.testing.assert_array_equal(first.ci_low, again.ci_low)
    np.testing.assert_allclose(first.values, moved.values, atol=1e-12)
    np.testing.assert_allclose(first.ci_high, moved.ci_high, atol=1e-10)


@pytest.mark.parametrize("measure", MEASURES)
def test_shuffling_one_side_breaks_it(world, measure):
    student, teacher, clusters = world
    kind = {"measure": measure, "k": 5, "n_permutations": 99}
    order = np.random.default_rng(2).permutation(len(clusters))
    right = layer_similarity(student, teacher, clusters, **kind)
    wrong = layer_similarity(student, [y[order] for y in teacher], clusters, **kind)
    assert right.p_value.min() <= 0.01
    assert wrong.p_value.min() > 0.05
    assert np.nanmax(wrong.values) < np.nanmin(right.values)


@pytest.mark.parametrize("measure", MEASURES)
def test_intervals_count_pairs_of_clusters_once(world, measure):
    student, teacher, clusters = world
    found = layer_similarity(student, teacher, clusters, measure=measure, k=5, n_permutations=0)
    plain = jackknife_limits(found.values, found.jackknife_values, largest=1.0)
    ours, theirs = found.ci_high - found.ci_low, plain[1] - plain[0]
    assert np.all(ours < theirs)
    assert np.all(ours > 0.7 * theirs)
    of_pairs = pair_variance(found.best_pair_parts)
    low, _ = jackknife_limits(
        found.values[found.best],
        found.jackknife_values[:, *found.best],
        largest=1.0,
        of_pairs=of_pairs,
    )
    assert low == pytest.approx(found.ci_low[found.best])


@pytest.mark.parametrize("measure", MEASURES)
def test_pairs_of_clusters_add_up_to_the_value(world, measure):
    """For neighbours sums over clips; for a ratio of sums those of its derivative, which are 0."""
    student, teacher, clusters = world
    x, y = student[0], teacher[1]
    found = layer_similarity([x], [y], clusters, measure=measure, k=5, n_permutations=0)
    parts = found.best_pair_parts
    np.testing.assert_allclose(parts, parts.T)
    if measure == "mutual_knn":
        assert parts.sum() == pytest.approx(found.values[0, 0])
        near_x, near_y = (nearest_neighbours(side, 5, clusters) for side in (x, y))
        literal = np.zeros((16, 16))
        for clip in range(len(x)):
            for other in set(near_x[clip]) & set(near_y[clip]):
                for one, two in ((clip, other), (other, clip)):
                    literal[clusters[one], clusters[two]] += 0.5 / (5 * len(x))
        np.testing.assert_allclose(parts, literal)
        return
    assert parts.sum() == pytest.approx(0.0, abs=1e-12)
    k, m = prepare_gram(x, "x", clusters), prepare_gram(y, "y", clusters)
    block = np.ix_(clusters == 3, clusters == 15)
    cross = (dual(k, clusters) * m)[block].sum() + (dual(k, clusters) * m)[block[::-1]].sum()
    own = (dual(k, clusters) * k + dual(m, clusters) * m)[block].sum()
    assert parts[3, 15] == pytest.approx(cross / 2 - found.values[0, 0] / 2 * own, abs=1e-12)


def test_best_pair_is_the_planted_one():
    rng = np.random.default_rng(3)
    student = [rng.normal(size=(80, 10)) for _ in range(4)]
    teacher = [rng.normal(size=(80, 10)) for _ in range(5)]
    teacher[4] = student[2] @ rng.normal(size=(10, 10)) + rng.normal(size=(80, 10))
    found = layer_similarity(student, teacher, np.arange(80) // 5, n_permutations=99)
    assert found.best == (2, 4)
    assert np.argwhere(found.p_value <= 0.05).tolist() == [[2, 4]]
    assert found.ci_low[2, 4] < found.values[2, 4] < found.ci_high[2, 4]


def test_under_eight_clusters_there_is_no_interval(world):
    student, teacher, _ = world
    clusters = np.arange(len(student[0])) % 7
    found = layer_similarity(student, teacher, clusters, n_permutations=19)
    assert found.n_clusters == 7
    assert np.isnan(found.ci_low).all()
    assert found.jackknife_values is None
    assert "7 clusters" in found.reason
    assert not np.isnan(found.p_value).any()


def test_under_four_clusters_there_is_no_alignment(world):
    student, teacher, _ = world
    clusters = np.arange(len(student[0])) % 3
    found = layer_similarity(student, teacher, clusters, n_permutations=19)
    assert np.isnan(found.values).all()
    assert found.reason == "no value: 3 clusters, at least 4 are needed"
    near = layer_similarity(student, teacher, clusters, measure="mutual_knn", n_permutations=19)
    assert np.isfinite(near.values).all()


def test_the_standardised_reading_is_that_of_standardised_layers(world):
    student, teacher, clusters = world
    found = layer_similarity(
        student, teacher, clusters, measure="standardised_linear_cka", n_permutations=19
    )
    assert found.measure == "standardised_linear_cka"
    for i, x in enumerate(student):
        for j, y in enumerate(teacher):
            expected = standardised_linear_cka(x, y, clusters)
            assert found.values[i, j] == pytest.approx(expected, abs=1e-10)
    shares = clip_shares(student[0], teacher[0], clusters, measure="standardised_linear_cka")
    assert shares.mean() == pytest.approx(found.values[0, 0], abs=1e-10)


def test_clusters_of_one_clip_exchange_freely(world):
    student, teacher, _ = world
    n = len(student[0])
    alone = layer_similarity(student, teacher, np.arange(n), n_permutations=49)
    assert alone.p_value.min() <= 0.02
    assert alone.reason == ""


def test_a_null_with_little_to_exchange_is_named(world):
    student, teacher, _ = world
    clusters = np.arange(len(student[0])) // 2
    assert "50% of the rows stay" in layer_similarity(student, teacher, clusters).reason


def test_many_clusters_are_left_out_in_a_hundred_groups():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(240, 6))
    y = x + rng.normal(size=(240, 6))
    found = layer_similarity([x], [y], np.arange(240), n_permutations=0)
    assert found.jackknife_values.shape == (100, 1, 1)
    assert found.n_clusters == 240
    assert found.ci_low[0, 0] < found.values[0, 0] < found.ci_high[0, 0]
    assert found.null_kind == "none"
    assert np.isnan(found.p_value).all()


@pytest.mark.parametrize("measure", MEASURES)
def test_a_layer_without_geometry_is_named_and_the_rest_is_done(world, measure):
    student, teacher, clusters = world
    found = layer_similarity(
        [student[0], np.ones_like(student[1])], teacher, clusters, measure=measure, k=5
    )
    assert np.isnan(found.values[1]).all()
    assert np.isfinite(found.values[0]).all()
    assert np.isfinite(found.ci_low[0]).all()
    assert np.isnan(found.jackknife_values[:, 1]).all()
    assert "student layer 1 has no geometry" in found.reason
    assert found.best[0] == 0


def test_nothing_to_compare_gives_nan(world):
    _, teacher, clusters = world
    found = layer_similarity([np.ones((len(clusters), 2))], teacher, clusters)
    assert np.isnan(found.values).all()
    assert found.best == (0, 0)


def test_too_few_clips_left_for_neighbours_gives_no_interval():
    rng = np.random.default_rng(6)
    clusters = np.repeat(np.arange(8), [6, 6, 1, 1, 1, 1, 1, 1])
    x = rng.normal(size=(18, 4))
    found = layer_similarity([x], [x], clusters, measure="mutual_knn", k=10, n_permutations=9)
    assert found.values[0, 0] == 1.0
    assert np.isnan(found.ci_low).all()
    assert "too few clips are left" in found.reason


def test_thinning_takes_whole_clusters_and_says_so(world):
    student, teacher, clusters = world
    found = layer_similarity(student, teacher, clusters, n_permutations=9, max_clips=40, seed=1)
    rows = thin_clusters(clusters, 40, seed=1)
    assert found.n_clips == len(rows) <= 40
    assert f"{len(rows)} of {len(clusters)} clips" in found.reason
    for cluster in np.unique(clusters[rows]):
        assert np.sum(clusters[rows] == cluster) == np.sum(clusters == cluster)
    assert found.values[0, 0] == pytest.approx(
        debiased_linear_cka(student[0][rows], teacher[0][rows], clusters[rows])
    )
    assert len(thin_clusters([0] * 50 + [1] * 50, 10)) == 10  # no whole cluster fits
    with pytest.raises(ShapeError, match="at least 4"):
        thin_clusters(clusters, 3)


def test_wrong_input_is_refused(world):
    student, teacher, clusters = world
    with pytest.raises(UnknownNameError, match="debiased_linear_cka"):
        layer_similarity(student, teacher, clusters, measure="cka")
    with pytest.raises(ShapeError, match="same clips"):
        layer_similarity([student[0][:-1]], teacher, clusters)
    with pytest.raises(ShapeError, match="at least"):
        layer_similarity([], teacher, clusters)
    with pytest.raises(ShapeError, match="same clips in all"):
        layer_similarity([student[0], student[1][:-1]], teacher, clusters)
    with pytest.raises(ShapeError, match="cluster_id"):
        layer_similarity(student, teacher, clusters[:-1])
    with pytest.raises(ShapeError, match="at least k"):
        layer_similarity(student, teacher, clusters, measure="mutual_knn", k=60)
    with pytest.raises(DegenerateError, match="student layer 0"):
        layer_similarity([np.full((len(clusters), 2), np.inf)], teacher, clusters)


def test_null_kind_words():
    assert null_kind(0) == "none"


def test_pairs_are_compared_by_their_own_null():
    """One pair's null lies high and is not exceeded, another's lies low and is."""
    rng = np.random.default_rng(7)
    high = np.append(0.8, rng.normal(0.8, 0.02, size=199))
    low = np.append(0.15, rng.normal(0.0, 0.02, size=199))
    level, p_value = max_statistic(np.stack([high, low], axis=1)[:, None, :])
    assert p_value[0, 1] == 0.005
    assert p_value[0, 0] > 0.2
    np.testing.assert_allclose(level, [[0.83, 0.03]], atol=0.015)


def test_a_null_that_does_not_vary_rejects_nothing():
    _, p_value = max_statistic(np.full((100, 2, 2), 0.5))
    assert (p_value == 1).all()
