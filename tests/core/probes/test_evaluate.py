import math

import numpy as np
import pytest

from usad_workbench.core.errors import DegenerateError, ShapeError, UnknownNameError
from usad_workbench.core.probes import evaluate as evaluation
from usad_workbench.core.probes import (
    evaluate_best_layer,
    evaluate_probe,
    grouped_folds,
    resampling_units,
    select_layer,
)
from usad_workbench.core.probes.evaluate import _choose, _with_interval
from usad_workbench.core.probes.knn import KnnProbe
from usad_workbench.core.probes.linear import LinearProbe
from usad_workbench.core.probes.metrics import chance_level, count_hits, metric_of_counts

PROTOCOLS = ["knn", "linear"]


def planted(n=180, n_classes=3, n_groups=30, strength=2.0, seed=0):
    rng = np.random.default_rng(seed)
    groups = np.arange(n) % n_groups
    labels = rng.integers(0, n_classes, size=n)
    x = rng.normal(size=(n, 12)) + strength * np.eye(n_classes, 12)[labels]
    return x, np.array(["abcdefgh"[label] for label in labels]), groups


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_planted_classes_are_read(protocol):
    x, labels, groups = planted(strength=4)
    found = evaluate_probe(x, labels, groups, protocol=protocol)
    assert found.value > 0.9
    assert found.ci_low < found.value <= found.ci_high
    assert (found.n_test, found.n_classes, found.n_groups, found.n_clusters) == (180, 3, 30, 30)
    assert found.predictions.shape == (3, 180)
    assert found.value == pytest.approx(np.mean(found.predictions == labels))
    assert found.chance == pytest.approx(max(np.mean(labels == c) for c in "abc"))
    assert found.layers is None
    assert found.reason == ""


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_shuffled_labels_are_at_chance(protocol):
    x, labels, groups = planted()
    shuffled = np.random.default_rng(1).permutation(labels)
    found = evaluate_probe(x, shuffled, groups, protocol=protocol, metric="balanced_accuracy")
    assert found.chance == pytest.approx(1 / 3)
    assert found.value == pytest.approx(1 / 3, abs=0.08)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_group_leak_trap(protocol):
    """Speakers sound alike, the label is a random property of the speaker."""
    rng = np.random.default_rng(2)
    speaker = np.repeat(np.arange(60), 5)
    label = rng.permutation(np.arange(60) % 2)[speaker]
    x = 3 * rng.normal(size=(60, 20))[speaker] + rng.normal(size=(300, 20))
    leaking = evaluate_probe(x, label, np.arange(300), protocol=protocol, seeds=(0,))
    honest = evaluate_probe(x, label, speaker, protocol=protocol)
    assert leaking.value > 0.7
    assert honest.value == pytest.approx(0.5, abs=0.12)


def test_interval_covers_over_clusters_and_not_over_clips():
    """Right and wrong come in clusters: the units of the interval decide."""
    rng = np.random.default_rng(3)
    hits = {"clusters": [], "clips": []}
    for trial in range(60):
        clusters = np.repeat(np.arange(20), 10)
        labels = np.random.default_rng(trial).integers(0, 2, size=200)
        is_clear = np.repeat(rng.random(20) < 0.5, 10)
        x = np.where(is_clear, 2 * labels - 1, 1 - 2 * labels)[:, None] + np.zeros((200, 2))
        # A fixed rule, so that the truth is known: half of the clusters are read right.
        predicted = (x[:, 0] > 0).astype(int)
        for kind, units in (("clusters", clusters), ("clips", np.arange(200))):
            _, low, high, _ = _with_interval(labels, predicted[None], units, "accuracy")
            hits[kind].append(low <= 0.5 <= high)
    assert np.mean(hits["clusters"]) >= 0.88
    assert np.mean(hits["clips"]) < 0.7


def test_no_mistake_is_no_certainty():
    """A bootstrap of nothing but hits would have no width at all."""
    labels, units = np.arange(40) % 2, np.arange(40) // 4
    value, low, high, _ = _with_interval(labels, labels[None], units, "accuracy")
    assert (value, low, high) == pytest.approx((1.0, 0.025 ** (1 / 10), 1.0))
    value, low, high, _ = _with_interval(labels, 1 - labels[None], units, "accuracy")
    assert (value, low, high) == pytest.approx((0.0, 0.0, 1 - 0.025 ** (1 / 10)))


def test_under_eight_clusters_there_is_no_interval():
    x, labels, groups = planted(n_groups=7)
    found = evaluate_probe(x, labels, groups)
    assert math.isnan(found.ci_low)
    assert "7 clusters" in found.reason


def test_classes_of_one_group_count_as_wrong_and_are_reported():
    x, labels, groups = planted()
    labels = labels.copy()
    labels[groups == 0] = "rare"
    found = evaluate_probe(x, labels, groups, seeds=(0, 1))
    assert found.n_unseen == 2 * np.sum(groups == 0)
    assert not np.any(found.predictions[:, groups == 0] == "rare")


def test_predictions_keep_the_type_of_the_labels():
    x, labels, groups = planted()
    numbers = np.unique(labels, return_inverse=True)[1] + 40
    assert set(np.unique(evaluate_probe(x, numbers, groups).predictions)) <= {40, 41, 42}


def test_units_are_the_coarser_of_groups_and_clusters():
    groups = np.array([0, 0, 1, 1])
    assert resampling_units(groups, None) is groups
    assert resampling_units(groups, [0, 1, 2, 3]).tolist() == [0, 0, 1, 1]
    assert resampling_units(np.arange(4), ["x", "x", "y", "y"]).tolist() == [0, 0, 1, 1]
    assert resampling_units(groups, ["x", "y", "x", "y"]).tolist() == [0, 1, 0, 1]
    with pytest.raises(ShapeError, match="cluster_id"):
        resampling_units(groups, ["x"])


def test_layer_choice_does_not_peek():
    """Under the null the best of many layers on the test folds looks good; the choice does not."""
    rng = np.random.default_rng(4)
    labels, groups = np.arange(60) % 2, np.arange(60) // 2
    peeked, honest = [], []
    for trial in range(6):
        layers = [rng.normal(size=(60, 4)) for _ in range(30)]
        alone = [evaluate_probe(x, labels, groups, seeds=(trial,)).value for x in layers]
        peeked.append(max(alone))
        found = evaluate_best_layer(layers, labels, groups, seeds=(trial,))
        honest.append(found.value)
        assert found.layers.shape == (1, 5)
    assert np.mean(peeked) > 0.64
    assert np.mean(honest) == pytest.approx(0.5, abs=0.08)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_layer_choice_finds_the_planted_layer_from_training_rows_alone(protocol):
    x, labels, groups = planted(strength=3)
    rng = np.random.default_rng(5)
    layers = [rng.normal(size=x.shape), x, rng.normal(size=x.shape)]
    train = grouped_folds(labels, groups)[0].train
    assert select_layer(layers, labels, groups, train, protocol) == 1
    found = evaluate_best_layer(layers, labels, groups, protocol=protocol, seeds=(0,))
    assert (found.layers == 1).all()
    alone = evaluate_probe(x, labels, groups, protocol=protocol, seeds=(0,))
    np.testing.assert_array_equal(found.predictions, alone.predictions)
    outside = np.setdiff1d(np.arange(len(labels)), train)
    decoy = [layer.copy() for layer in layers]
    decoy[2][outside] = 100 * np.eye(3, 12)[np.unique(labels, return_inverse=True)[1]][outside]
    assert select_layer(decoy, labels, groups, train, protocol) == 1


def test_blocks_side_by_side_read_what_either_knows():
    rng = np.random.default_rng(6)
    groups = np.arange(240) // 6
    one, two = rng.integers(0, 2, size=(2, 240))
    labels = 2 * one + two
    left = rng.normal(size=(240, 6)) + 4 * one[:, None]
    right = 50 * (rng.normal(size=(240, 6)) + 4 * two[:, None])
    for protocol in PROTOCOLS:
        alone = evaluate_probe(left, labels, groups, protocol=protocol, seeds=(0,))
        both = evaluate_probe([left, right], labels, groups, protocol=protocol, seeds=(0,))
        assert alone.value < 0.6
        assert both.value > 0.9


def test_metrics_against_their_definitions():
    rng = np.random.default_rng(7)
    labels, predicted, clusters = rng.integers(0, 3, size=(3, 100))
    hits, clips = count_hits(labels, predicted, clusters)
    pooled = hits.sum(axis=0), clips.sum(axis=0)
    assert metric_of_counts(*pooled, "accuracy") == pytest.approx(np.mean(labels == predicted))
    recalls = [np.mean(predicted[labels == c] == c) for c in range(3)]
    assert metric_of_counts(*pooled, "balanced_accuracy") == pytest.approx(np.mean(recalls))
    assert np.isnan(metric_of_counts(np.zeros(3), np.zeros(3), "accuracy"))
    assert chance_level(np.array([0, 0, 2]), "balanced_accuracy") == 0.5


def test_wrong_input_is_refused():
    x, labels, groups = planted()
    with pytest.raises(UnknownNameError, match="linear"):
        evaluate_probe(x, labels, groups, protocol="mlp")
    with pytest.raises(UnknownNameError, match="balanced_accuracy"):
        evaluate_probe(x, labels, groups, metric="f1")
    with pytest.raises(ShapeError, match="one label for each clip"):
        evaluate_probe(x[:-1], labels, groups)
    with pytest.raises(ShapeError, match="same clips in each"):
        evaluate_probe([x, x[:-1]], labels, groups)
    with pytest.raises(ShapeError, match="one label and one group"):
        evaluate_probe(x, labels, groups[:-1])
    with pytest.raises(ShapeError, match="no seeds"):
        evaluate_probe(x, labels, groups, seeds=())
    with pytest.raises(ShapeError, match="no layers"):
        evaluate_best_layer([], labels, groups)
    with pytest.raises(DegenerateError, match="one group"):
        evaluate_probe(x, labels, np.zeros(len(x), dtype=int))
    with pytest.raises(DegenerateError, match="not finite"):
        evaluate_probe(np.full_like(x, np.nan), labels, groups)
    assert KnnProbe(x, np.zeros(len(x), dtype=int)).predict(np.arange(5), np.arange(2)).sum() == 0


class Spy:
    """Records which rows it is trained and asked on."""

    def __init__(self):
        self.calls = []

    def predict(self, train, test, n_settings=1, tolerance=0.0):
        self.calls.append((train, test))
        return np.zeros((n_settings, len(test)), dtype=np.intp)


def test_settings_are_chosen_on_rows_that_neither_train_nor_test_the_choice(monkeypatch):
    x, labels, groups = planted()
    codes = np.unique(labels, return_inverse=True)[1]
    train = grouped_folds(labels, groups)[0].train
    spy = Spy()
    monkeypatch.setattr(evaluation, "_build", lambda *_: spy)
    (choice,) = _choose([x], codes, groups, [train], "linear", "accuracy", [0])
    assert choice[:2] == (0, 0)
    assert len(spy.calls) == 3
    assert sorted(np.concatenate([test for _, test in spy.calls])) == train.tolist()
    for inner_train, inner_test in spy.calls:
        assert set(inner_train) < set(train)
        assert not set(groups[inner_train]) & set(groups[inner_test])


@pytest.mark.parametrize("protocol", ["knn", "linear"])
def test_many_clips_are_all_tested_and_some_trained_on(monkeypatch, protocol):
    """A fold is trained on a part, class by class; what all find, the part finds too."""
    rng = np.random.default_rng(5)
    labels = np.repeat([0, 1, 2], [300, 90, 30])
    groups = rng.permutation(420) // 7
    x = rng.normal(size=(420, 6)) + 1.5 * np.eye(6)[labels]
    whole = evaluate_probe(x, labels, groups, protocol=protocol, seeds=(0,))
    assert whole.note == ""
    trained = []
    counted = KnnProbe.predict if protocol == "knn" else LinearProbe.predict

    def predict(self, train, test, *settings):
        trained.append(np.bincount(labels[train], minlength=3))
        return counted(self, train, test, *settings)

    monkeypatch.setattr(KnnProbe if protocol == "knn" else LinearProbe, "predict", predict)
    monkeypatch.setattr(evaluation, "MAX_TRAIN_CLIPS", 120)
    part = evaluate_probe(x, labels, groups, protocol=protocol, seeds=(0,))
    assert max(sizes.sum() for sizes in trained) <= 123
    assert min(sizes.min() for sizes in trained) >= 2
    assert part.n_test == 420 and part.n_unseen == 0
    assert "trained on 120 of up to 3" in part.note and "all clips are tested" in part.note
    assert part.ci_low <= whole.value <= part.ci_high
    again = evaluate_probe(x, labels, groups, protocol=protocol, seeds=(0,))
    np.testing.assert_array_equal(again.predictions, part.predictions)
