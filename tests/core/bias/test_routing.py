"""Routers before planted specialists; T20 of the reference table."""

import numpy as np
import pytest
from statsmodels.stats.contingency_tables import mcnemar

from usad_workbench.core.bias import routing
from usad_workbench.core.bias.routing import (
    any_right_share,
    best_on_validation,
    break_even_accuracy,
    equivalence,
    mcnemar_p_value,
    pareto_front,
    pca_mixture,
    routed,
)
from usad_workbench.core.errors import ShapeError
from usad_workbench.core.probes import evaluate_probe
from usad_workbench.core.similarity.resampling import Interval

N_CLASSES = 10


def _three_specialists(seed=0, n=600, dim=30):
    """Each holds the label of one domain's clips and noise on the others."""
    rng = np.random.default_rng(seed)
    domain, labels = np.arange(n) % 3, rng.integers(N_CLASSES, size=n)
    codes = rng.normal(size=(N_CLASSES, dim))
    blocks = []
    for home in range(3):
        clear = (domain == home)[:, None]
        blocks.append(rng.normal(size=(n, dim)) + 1.2 * clear * codes[labels])
    return blocks, domain, labels


def test_oracle_router_beats_concatenation_beats_each_teacher():
    blocks, domain, labels = _three_specialists()
    groups = np.arange(len(labels))
    alone = [
        evaluate_probe(x, labels, groups, protocol="linear", n_folds=3, seeds=(0,)) for x in blocks
    ]
    joint = evaluate_probe(blocks, labels, groups, protocol="linear", n_folds=3, seeds=(0,))
    names = np.array(["a", "b", "c"])
    predictions = dict(zip(names, (one.predictions for one in alone), strict=True))
    oracle = float(np.mean(routed(predictions, names[domain])[0] == labels))
    assert oracle > joint.value > max(one.value for one in alone)
    assert oracle == pytest.approx(
        np.mean(
            [np.mean(alone[d].predictions[0][domain == d] == labels[domain == d]) for d in range(3)]
        )
    )
    unscaled = np.hstack([30 * blocks[0], *blocks[1:]])
    drowned = evaluate_probe(
        unscaled - unscaled.mean(axis=0), labels, groups, protocol="knn", n_folds=3, seeds=(0,)
    )
    scaled = evaluate_probe(blocks, labels, groups, protocol="knn", n_folds=3, seeds=(0,))
    assert drowned.value < scaled.value - 0.05  # the block with the largest norm alone


def test_a_router_that_is_right_rho_of_the_time_breaks_even():
    specialist, off, student = 0.9, 0.3, 0.72
    rho = break_even_accuracy(student, specialist, off)
    assert rho * specialist + (1 - rho) * off == pytest.approx(student, abs=1e-15)
    assert np.isnan(break_even_accuracy(0.5, 0.3, 0.3))


def test_any_right_of_guessers_is_no_system():
    """T20: 1 - 0.9^3 = 0.271 at chance 0.10."""
    rng = np.random.default_rng(1)
    guesses = [rng.random(20_000) < 0.1 for _ in range(3)]
    assert any_right_share(guesses) == pytest.approx(0.271, abs=0.01)


def test_validation_picks_for_each_fold_of_each_seed():
    scores = {"a": np.array([[0.9, 0.1], [0.2, 0.2]]), "b": np.array([[0.5, 0.5], [0.2, 0.3]])}
    folds = np.array([[0, 0, 1], [1, 0, 0]])
    assert best_on_validation(scores, folds).tolist() == [["a", "a", "b"], ["b", "a", "a"]]
    assert (
        best_on_validation({"a": np.array([[np.nan]]), "b": np.array([[0.0]])}, folds[:1] * 0)[
            0
        ].tolist()
        == ["b"] * 3
    )


def test_routes_must_lead_somewhere():
    with pytest.raises(ShapeError, match="nobody"):
        routed({"a": np.zeros((1, 2))}, np.array(["a", "nobody"]))


def test_mixture_keeps_the_geometry_of_scaled_blocks():
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(80, 5)), 50 * rng.normal(size=(80, 7))
    whole = pca_mixture([a, b], 12)
    blocks = [x - x.mean(axis=0) for x in (a, b)]
    joint = np.hstack([x / np.sqrt(np.mean(np.sum(x**2, axis=1))) for x in blocks])
    expected = joint @ joint.T / 2
    np.testing.assert_allclose(whole @ whole.T, expected, atol=1e-10)
    cut = pca_mixture([a, b], 4)
    np.testing.assert_allclose(np.abs(cut), np.abs(whole[:, :4]), atol=1e-10)
    wide = pca_mixture([a[:8], b[:8]], 12)
    assert wide.shape == (8, 7)  # 8 clips span 7 axes


def test_mixture_made_in_parts_is_that_of_one_array(monkeypatch):
    rng = np.random.default_rng(6)
    a = rng.normal(size=(700, 5)).astype(np.float32) + 3
    b = (50 * rng.normal(size=(700, 7))).astype(np.float32)
    whole = pca_mixture([a, b], 6), pca_mixture([b], 6)
    # The literal definition, one float64 array.
    blocks = [x - x.mean(axis=0) for x in (a.astype(np.float64), b.astype(np.float64))]
    joint = np.hstack([x / np.sqrt(np.mean(np.sum(x**2, axis=1))) for x in blocks]) / np.sqrt(2)
    np.testing.assert_array_equal(whole[0], (joint @ np.linalg.eigh(joint.T @ joint)[1])[:, :5:-1])
    monkeypatch.setattr(routing, "PART_CLIPS", 64)
    for one, parts in zip(whole, (pca_mixture([a, b], 6), pca_mixture([b], 6)), strict=True):
        assert len(parts) == 700
        signs = np.sign(np.sum(one * parts, axis=0))  # of an axis, which is free
        np.testing.assert_allclose(parts * signs, one, rtol=1e-9, atol=1e-10)


def test_mcnemar_is_that_of_statsmodels():
    rng = np.random.default_rng(3)
    a, b = rng.random(200) < 0.7, rng.random(200) < 0.6
    table = [[np.sum(a & b), np.sum(a & ~b)], [np.sum(~a & b), np.sum(~a & ~b)]]
    assert mcnemar_p_value(a, b) == pytest.approx(mcnemar(table, exact=True).pvalue, abs=1e-12)
    assert mcnemar_p_value(a, a) == 1.0


@pytest.mark.parametrize(
    ("value", "half", "verdict"),
    [
        (0.0, 0.004, "equivalent"),
        (0.05, 0.02, "better"),
        (-0.05, 0.02, "worse"),
        (0.01, 0.018, "not worse"),
        (0.0, 0.05, "undecided"),
        (0.0, np.nan, "undecided"),
    ],
)
def test_verdict_of_two_one_sided_tests(value, half, verdict):
    found = equivalence(
        Interval(value=value, ci_low=value - half, ci_high=value + half, n_clusters=40)
    )
    assert found.verdict == verdict


def test_pareto_front():
    costs, values = [1.0, 5.0, 3.0, np.nan, 9.0], [0.3, 0.9, 0.8, 1.0, 0.9]
    assert pareto_front(costs, values) == [True, True, True, False, False]
