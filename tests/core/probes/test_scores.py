"""Metrics of scores against scikit-learn, with ties, and weights against repeated clips."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, balanced_accuracy_score, roc_auc_score

from usad_workbench.core.errors import DegenerateError, ShapeError, UnknownNameError
from usad_workbench.core.probes.scores import metric_of_scores

RNG = np.random.default_rng(0)
SCORES = RNG.normal(size=(60, 4)).round(1)  # rounding makes ties
CLASSES = RNG.integers(0, 4, size=60)
LABELS = RNG.random((60, 4)) < 0.3


def test_equals_scikit_learn() -> None:
    value = metric_of_scores(LABELS, SCORES, "map")
    assert value == pytest.approx([average_precision_score(LABELS, SCORES)], abs=1e-12)
    value = metric_of_scores(LABELS, SCORES, "auroc")
    assert value == pytest.approx([roc_auc_score(LABELS, SCORES)], abs=1e-12)
    picked = SCORES.argmax(axis=1)
    value = metric_of_scores(CLASSES, SCORES, "balanced_accuracy")
    assert value == pytest.approx([balanced_accuracy_score(CLASSES, picked)], abs=1e-12)
    assert metric_of_scores(CLASSES, SCORES, "accuracy") == [np.mean(picked == CLASSES)]


@pytest.mark.parametrize("metric", ["map", "auroc"])
def test_weights_are_repetitions(metric: str) -> None:
    counts = RNG.integers(0, 3, size=(5, 60))
    found = metric_of_scores(LABELS, SCORES, metric, counts)  # type: ignore[arg-type]
    for value, row in zip(found, counts, strict=True):
        again = np.repeat(np.arange(60), row)
        literal = metric_of_scores(LABELS[again], SCORES[again], metric)  # type: ignore[arg-type]
        assert value == pytest.approx(literal[0], abs=1e-12)


def test_a_class_without_positives_does_not_count() -> None:
    labels = LABELS.copy()
    labels[:, 2] = False
    expected = average_precision_score(labels[:, [0, 1, 3]], SCORES[:, [0, 1, 3]])
    assert metric_of_scores(labels, SCORES, "map") == pytest.approx([expected], abs=1e-12)


def test_what_has_no_meaning_is_refused() -> None:
    with pytest.raises(ShapeError, match="one label each"):
        metric_of_scores(LABELS, SCORES, "accuracy")
    with pytest.raises(DegenerateError, match="NaN"):
        metric_of_scores(LABELS, np.full((60, 4), np.nan), "map")
    with pytest.raises(UnknownNameError, match="map"):
        metric_of_scores(LABELS, SCORES, "mpa")  # type: ignore[arg-type]
