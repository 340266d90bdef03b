"""Metrics of predictions, computed from counts per cluster so that resampling is cheap."""

from typing import Literal, get_args

import numpy as np

from usad_workbench.core.arrays import Matrix
from usad_workbench.core.errors import UnknownNameError, did_you_mean
from usad_workbench.core.probes.folds import Codes

Metric = Literal["accuracy", "balanced_accuracy"]
"""Names of the metrics as they stand in the table ``tasks``."""


def check_metric(metric: str) -> None:
    """Raises UnknownNameError for a metric that is not here.

    >>> check_metric("accuracy")
    """
    if metric not in get_args(Metric):
        raise UnknownNameError(
            f"Unknown metric {metric!r}. {did_you_mean(metric, get_args(Metric))}"
        )


def chance_level(labels: Codes, metric: Metric) -> float:
    """What a probe reaches that has learned nothing but the class sizes.

    Accuracy: the share of the largest class. Balanced accuracy: 1 / classes.

    >>> chance_level(np.array([0, 0, 0, 1]), "accuracy")
    0.75
    """
    sizes = np.bincount(labels)
    if metric == "accuracy":
        return float(sizes.max() / sizes.sum())
    return 1 / int(np.count_nonzero(sizes))


def count_hits(labels: Codes, predicted: Codes, clusters: Codes) -> tuple[Matrix, Matrix]:
    """Right predictions and clips of every cluster and class.

    Args:
        labels: True class number of each clip.
        predicted: Class numbers `[clip]`, or `[seed, clip]` whose hits are averaged.
        clusters: Cluster number of each clip.

    Returns:
        Two arrays `[cluster, class]`.

    >>> hits, clips = count_hits(np.array([0, 1]), np.array([[0, 0]]), np.array([0, 0]))
    >>> hits.tolist(), clips.tolist()
    ([[1.0, 0.0]], [[1.0, 1.0]])
    """
    right = np.atleast_2d(predicted == labels).mean(axis=0)
    shape = int(clusters.max()) + 1, int(labels.max()) + 1
    hits, clips = np.zeros(shape), np.zeros(shape)
    np.add.at(hits, (clusters, labels), right)
    np.add.at(clips, (clusters, labels), 1.0)
    return hits, clips


def metric_of_counts(hits: Matrix, clips: Matrix, metric: Metric) -> Matrix:
    """The metric from hits and clips `[..., class]`; classes without clips do not count.

    NaN where there are no clips at all, as in a resample that draws none.

    >>> hits, clips = np.array([3.0, 0.0]), np.array([3.0, 1.0])
    >>> float(metric_of_counts(hits, clips, "accuracy"))
    0.75
    >>> float(metric_of_counts(hits, clips, "balanced_accuracy"))
    0.5
    """
    if metric == "accuracy":
        top, bottom = hits.sum(axis=-1), clips.sum(axis=-1)
    else:
        recalls = np.divide(hits, clips, out=np.zeros_like(hits), where=clips > 0)
        top, bottom = recalls.sum(axis=-1), np.count_nonzero(clips, axis=-1)
    nothing = np.full(np.shape(top), np.nan)
    return np.asarray(np.divide(top, bottom, out=nothing, where=np.asarray(bottom) > 0))
