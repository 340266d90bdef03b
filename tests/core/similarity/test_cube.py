import numpy as np
import pytest

from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.similarity import debiased_linear_cka, hsic1_gram
from usad_workbench.core.similarity._cross_products import (
    Rows,
    cross_products,
    from_features,
    from_gram_blocks,
)
from usad_workbench.core.similarity.cube import observed_cube
from usad_workbench.workbench.speed.similarity import bench_similarity_cube, gram_cka


@pytest.fixture
def world():
    rng = np.random.default_rng(0)
    domains = rng.choice(["speech", "music", "sound"], size=150)
    shared = rng.normal(size=(150, 5)) + 7
    student = [shared @ rng.normal(size=(5, d)) + rng.normal(size=(150, d)) for d in (8, 3)]
    teacher = [shared @ rng.normal(size=(5, d)) + rng.normal(size=(150, d)) for d in (4, 200, 6)]
    return student, teacher, domains


@pytest.mark.parametrize("per_cluster", [1, 3])
def test_every_cell_is_the_pairwise_value_and_the_literal_one(world, per_cluster):
    student, teacher, domains = world
    clusters = np.random.default_rng(2).permutation(150) // per_cluster
    found = observed_cube(student, teacher, domains, clusters)
    assert found.n_clusters == [len(set(clusters[domains == one])) for one in found.domains]
    assert found.domains == ["music", "sound", "speech"]
    assert found.n_clips == [int(np.sum(domains == one)) for one in found.domains]
    assert found.reasons == ["", "", ""]
    for d, domain in enumerate(found.domains):
        rows = domains == domain
        for i, x in enumerate(student):
            for j, y in enumerate(teacher):
                value, own = found.values[d, i, j], clusters[rows]
                expected = debiased_linear_cka(x[rows], y[rows], own)
                assert value == pytest.approx(expected, abs=1e-12)
                k, m = x[rows] @ x[rows].T, y[rows] @ y[rows].T
                norms = hsic1_gram(k, k, own) * hsic1_gram(m, m, own)
                assert value == pytest.approx(hsic1_gram(k, m, own) / np.sqrt(norms), abs=1e-10)
                if per_cluster == 1:
                    assert value == pytest.approx(gram_cka(x[rows], y[rows]), abs=1e-10)


def test_shuffled_rows_give_other_values(world):
    student, teacher, domains = world
    order = np.random.default_rng(1).permutation(150)
    right = observed_cube(student, teacher, domains).values
    wrong = observed_cube([x[order] for x in student], teacher, domains).values
    assert np.all(wrong < 0.5 * right)


@pytest.mark.parametrize("block_clips", [7, 50, 200])
@pytest.mark.parametrize("n_means", [0, 40])
def test_both_forms_are_the_products_of_whole_gram_matrices(world, block_clips, n_means):
    student, teacher, _ = world
    students, teachers = ([rows_of(x, n_means) for x in side] for side in (student, teacher))
    literal = {kind: literal_products(students, teachers, kind) for kind in range(3)}
    for found in (
        from_gram_blocks(students, teachers, block_clips),
        from_features(students, teachers),
        cross_products(students, teachers),
    ):
        for kind, (pairs, own_s, own_t) in literal.items():
            np.testing.assert_allclose(found.pairs[kind], pairs, rtol=1e-12)
            np.testing.assert_allclose(found.students[kind], own_s, rtol=1e-12)
            np.testing.assert_allclose(found.teachers[kind], own_t, rtol=1e-12)


def rows_of(x, n_means):
    """A layer whose means are its clips, or some of their sums."""
    return Rows(clips=x, means=x[:n_means] + x[-1] if n_means else x)


def literal_products(students, teachers, kind):
    left, right = (("clips", "clips"), ("clips", "means"), ("means", "means"))[kind]
    grams_s, grams_t = (
        [getattr(x, left) @ getattr(x, right).T for x in side] for side in (students, teachers)
    )
    pairs = [[np.sum(a * b) for b in grams_t] for a in grams_s]
    return pairs, [np.sum(a * a) for a in grams_s], [np.sum(b * b) for b in grams_t]


def test_wide_layers_go_through_blocks_and_narrow_ones_through_features(monkeypatch):
    taken = []
    module = "usad_workbench.core.similarity._cross_products"
    for name in ("from_features", "from_gram_blocks"):
        monkeypatch.setattr(f"{module}.{name}", lambda *_, name=name: taken.append(name))
    for dim in (4, 300):
        layers = [rows_of(np.zeros((100, dim)), 0)] * 3
        cross_products(layers, layers)
    assert taken == ["from_features", "from_gram_blocks"]


def test_what_has_no_value_is_named_and_the_rest_is_done(world):
    student, teacher, domains = world
    student = [np.ones_like(student[0]), student[1]]
    domains = np.where(np.arange(150) < 3, "few", domains)
    found = observed_cube(student, teacher, domains)
    few = found.domains.index("few")
    assert np.isnan(found.values[few]).all()
    assert "3 clusters, at least 4" in found.reasons[few]
    others = [i for i in range(4) if i != few]
    assert np.isnan(found.values[others, 0]).all()
    assert np.isfinite(found.values[others, 1]).all()
    assert "student layer 0 has no geometry" in found.reasons[others[0]]
    nothing = observed_cube(student, [np.ones((150, 2))], domains)
    assert np.isnan(nothing.values).all()


def test_wrong_input_is_refused(world):
    student, teacher, domains = world
    for wrong in ([], [student[0][:-1]]):
        with pytest.raises(ShapeError, match="same clips in all"):
            observed_cube(wrong, teacher, domains)
    with pytest.raises(DegenerateError, match="not finite"):
        observed_cube([np.full((150, 2), np.nan)], teacher, domains)


def test_the_benchmark_in_small():
    rows = bench_similarity_cube(n_layers=2, n_large=200, n_peer=60, dim=8)
    assert "Gram" in rows[1].peer
    assert all(row.value > 0 for row in rows)


def test_the_peer_is_the_definition():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(2, 30, 6))
    y = y + x
    a, b = x @ x.T, y @ y.T
    expected = hsic1_gram(a, b) / np.sqrt(hsic1_gram(a, a) * hsic1_gram(b, b))
    assert gram_cka(x, y) == pytest.approx(expected, abs=1e-12)
