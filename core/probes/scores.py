"""Metrics of scores, for one label or several per clip, with weights for resampling.

A metric is computed for every row of weights at once: a resample of clusters is a count
for each clip, and the clips are sorted once.
"""

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from usad_workbench.core.arrays import Matrix
from usad_workbench.core.errors import DegenerateError, ShapeError, UnknownNameError, did_you_mean
from usad_workbench.core.probes.folds import Codes

ScoreMetric = Literal["accuracy", "balanced_accuracy", "map", "auroc"]
"""``map``: mean average precision over the classes; ``auroc``: the mean area under the ROC."""

Truth = Codes | NDArray[np.bool_]
"""A class number for each clip, or ``[clip, class]`` where a clip has any number of labels."""


def metric_of_scores(
    truth: Truth, scores: Matrix, metric: ScoreMetric, weights: Matrix | None = None
) -> Matrix:
    """The metric for each row of weights, `[resample]`; one value where there are none.

    Classes without a weighted positive (for ``auroc`` also without a negative) do not
    count. NaN where nothing counts.

    Args:
        truth: Class numbers `[clip]`, or label indicators `[clip, class]`.
        scores: Higher is more likely, `[clip, class]`.
        metric: Accuracies take the highest score and need class numbers.
        weights: How often each clip counts, `[resample, clip]`.

    Raises:
        ShapeError: other numbers of clips, or an accuracy of several labels per clip.
        DegenerateError: a score that is NaN.
        UnknownNameError: no such metric.

    Source: scikit-learn's definitions, ties taken together.

    >>> truth, scores = np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]])
    >>> metric_of_scores(truth, scores, "accuracy").round(3).tolist()
    [0.667]
    >>> metric_of_scores(truth, scores, "map").round(3).tolist()
    [1.0]
    """
    if metric not in get_args(ScoreMetric):
        raise UnknownNameError(
            f"Unknown metric {metric!r}. {did_you_mean(metric, get_args(ScoreMetric))}"
        )
    is_accuracy = metric in ("accuracy", "balanced_accuracy")
    if scores.ndim != 2 or len(truth) != len(scores) or (is_accuracy and truth.ndim != 1):
        raise ShapeError(
            f"The truth has shape {truth.shape} and the scores {scores.shape}, expected "
            f"[clip, class] scores of the same clips{', and one label each' * is_accuracy}."
        )
    if np.isnan(scores).any():
        raise DegenerateError("Some scores are NaN, expected numbers. Train with a lower rate.")
    rows = np.ones((1, len(truth))) if weights is None else np.asarray(weights, dtype=np.float64)
    if truth.ndim == 1:
        labels = truth[:, None] == np.arange(scores.shape[1])
    else:
        labels = np.asarray(truth, dtype=bool)
    if metric == "accuracy":
        right = (np.argmax(scores, axis=1) == truth).astype(np.float64)
        return _ratio(rows @ right, rows.sum(axis=1))
    if metric == "balanced_accuracy":
        right = labels & (np.argmax(scores, axis=1) == truth)[:, None]
        return _mean_of_classes(_ratio(rows @ right, rows @ labels.astype(np.float64)).T)
    of_class = _average_precision if metric == "map" else _area_under_roc
    seen = [k for k in range(scores.shape[1]) if labels[:, k].any()]
    return _mean_of_classes(np.array([of_class(labels[:, k], scores[:, k], rows) for k in seen]))


def _average_precision(positive: NDArray[np.bool_], score: Matrix, weights: Matrix) -> Matrix:
    true, every = _cumulated(positive, score, weights)
    gained = np.diff(true, axis=1, prepend=0.0)
    precision = np.divide(true, every, out=np.zeros_like(true), where=every > 0)
    return _ratio(np.sum(gained * precision, axis=1), true[:, -1])


def _area_under_roc(positive: NDArray[np.bool_], score: Matrix, weights: Matrix) -> Matrix:
    true, every = _cumulated(positive, score, weights)
    false = every - true
    width = np.diff(false, axis=1, prepend=0.0)
    height = true - np.diff(true, axis=1, prepend=0.0) / 2
    return _ratio(np.sum(width * height, axis=1), true[:, -1] * false[:, -1])


def _cumulated(
    positive: NDArray[np.bool_], score: Matrix, weights: Matrix
) -> tuple[Matrix, Matrix]:
    """Weight of positives and of all down to each distinct score, `[resample, score]`."""
    order = np.argsort(-score, kind="stable")
    last_of_tie = np.append(np.flatnonzero(np.diff(score[order])), len(order) - 1)
    ordered = weights[:, order]
    true = np.cumsum(ordered * positive[order], axis=1)[:, last_of_tie]
    return true, np.cumsum(ordered, axis=1)[:, last_of_tie]


def _ratio(top: Matrix, bottom: Matrix) -> Matrix:
    nothing = np.full(np.shape(top), np.nan)
    return np.asarray(np.divide(top, bottom, out=nothing, where=np.asarray(bottom) > 0))


def _mean_of_classes(values: Matrix) -> Matrix:
    """Mean over the classes `[class, resample]` that have a value."""
    counted = np.isfinite(values)
    return _ratio(np.where(counted, values, 0.0).sum(axis=0), counted.sum(axis=0))
