"""Differences between two encoders on the same clips, with one interval for both.

Two separate intervals that overlap say little: what is hard for one encoder is hard for the
other. Here both are resampled together, cluster by cluster.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from usad_workbench.core.arrays import Ids, Matrix
from usad_workbench.core.errors import ShapeError
from usad_workbench.core.probes.evaluate import N_RESAMPLES
from usad_workbench.core.probes.folds import codes_of
from usad_workbench.core.probes.metrics import (
    Metric,
    check_metric,
    count_hits,
    metric_of_counts,
)
from usad_workbench.core.similarity.resampling import (
    Interval,
    bootstrap_limits,
    bootstrap_samples,
    too_few_clusters,
)


@dataclass(frozen=True, kw_only=True)
class PairedTask:
    """Predictions of two encoders for the same clips of one task."""

    pred_a: Ids
    """Labels `[clip]` or `[seed, clip]`, as in ``ProbeResult.predictions``."""
    pred_b: Ids
    labels: Ids
    clusters: Ids
    """Cluster of each clip: the same id in two tasks is the same speaker, track or recording."""
    metric: Metric = "accuracy"


def paired_difference(
    pred_a: Ids,
    pred_b: Ids,
    labels: Ids,
    clusters: Ids,
    *,
    metric: Metric = "accuracy",
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Metric of a minus metric of b on the same clips, 95% bootstrap over clusters.

    Args:
        pred_a: Predicted labels `[clip]` or `[seed, clip]` of one encoder.
        pred_b: The same of the other.
        labels: True label of each clip.
        clusters: What is resampled: the units of ``resampling_units``.
        metric: Accuracy or balanced accuracy.
        n_resamples: Bootstrap size.
        seed: Of the resamples.

    Raises:
        ShapeError: other numbers of clips.
        UnknownNameError: no such metric.

    >>> labels = np.arange(40) % 2
    >>> found = paired_difference(labels, 0 * labels, labels, np.arange(40) // 4)
    >>> found.value, found.ci_low, found.ci_high
    (0.5, 0.5, 0.5)
    """
    task = PairedTask(pred_a=pred_a, pred_b=pred_b, labels=labels, clusters=clusters, metric=metric)
    return mean_paired_difference([task], n_resamples=n_resamples, seed=seed)


def mean_paired_difference(
    tasks: Sequence[PairedTask], *, n_resamples: int = N_RESAMPLES, seed: int = 0
) -> Interval:
    """Mean over tasks of the differences, every task with the same weight.

    Clusters are drawn once for all tasks, so that a speaker who is in two tasks is drawn
    for both.

    Args:
        tasks: One for each task.
        n_resamples: Bootstrap size.
        seed: Of the resamples.

    Raises:
        ShapeError: no tasks, or other numbers of clips within one.
        UnknownNameError: no such metric.
    """
    if len(tasks) == 0:
        raise ShapeError("There are no tasks, expected at least one. Evaluate a task first.")
    sizes = [_n_clips(task) for task in tasks]
    everyone = codes_of([str(c) for task in tasks for c in task.clusters], "cluster")
    parts = np.split(everyone, np.cumsum(sizes)[:-1])
    n_clusters = int(everyone.max()) + 1
    tables = [_tables(task, part, n_clusters) for task, part in zip(tasks, parts, strict=True)]
    alone = np.ones((1, n_clusters))
    value = float(_mean_difference(tasks, tables, alone)[0])
    reason = too_few_clusters(min(len(np.unique(part)) for part in parts))
    if reason:
        return Interval(
            value=value, ci_low=math.nan, ci_high=math.nan, n_clusters=n_clusters, reason=reason
        )
    samples = bootstrap_samples(
        lambda counts: _mean_difference(tasks, tables, counts), n_clusters, n_resamples, seed
    )
    low, high = bootstrap_limits(samples, n_clusters)
    return Interval(value=value, ci_low=low, ci_high=high, n_clusters=n_clusters)


def _n_clips(task: PairedTask) -> int:
    check_metric(task.metric)
    n = len(task.labels)
    shapes = [np.shape(task.pred_a), np.shape(task.pred_b), (len(task.clusters),)]
    if n == 0 or any(shape[-1:] != (n,) or len(shape) > 2 for shape in shapes):
        raise ShapeError(
            f"There are {n} labels, predictions {shapes[0]} and {shapes[1]} and clusters "
            f"{shapes[2]}, expected the same clips in each. Evaluate both encoders on one task."
        )
    return n


def _tables(
    task: PairedTask, clusters: np.ndarray, n_clusters: int
) -> tuple[Matrix, Matrix, Matrix]:
    """Hits of a, hits of b and clips, `[cluster, class]`."""
    names = np.asarray([str(label) for label in task.labels], dtype=np.str_)
    codes = np.unique(names, return_inverse=True)[1].astype(np.intp)
    tables = []
    for predictions in (task.pred_a, task.pred_b):
        right = np.atleast_2d(np.asarray(predictions)).astype(np.str_) == names
        # As predictions: the true class where right, none where wrong.
        hits, clips = count_hits(codes, np.where(right, codes, -1), clusters)
        missing = ((0, n_clusters - len(hits)), (0, 0))
        tables.append(np.pad(hits, missing))
    return tables[0], tables[1], np.pad(clips, missing)


def _mean_difference(
    tasks: Sequence[PairedTask], tables: list[tuple[Matrix, Matrix, Matrix]], counts: Matrix
) -> Matrix:
    """`[resample]`; NaN where a task has no clips in a resample."""
    differences = [
        metric_of_counts(counts @ a, counts @ clips, task.metric)
        - metric_of_counts(counts @ b, counts @ clips, task.metric)
        for task, (a, b, clips) in zip(tasks, tables, strict=True)
    ]
    return np.asarray(np.mean(differences, axis=0))
