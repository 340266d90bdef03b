"""Who is served worst: accuracy by speaker, sex, language, instrument.

The gap between the best and the worst group is above 0 even where all groups are alike
(0.17 for 5 groups of 30 clips at accuracy 0.8), so it comes with what it would be if the
group labels were dealt anew: over clusters where each lies in one group, else over the
clips of each cluster. Intervals draw whole clusters.

The interval of a gap holds for all pairs of groups at once (max |t| of the bootstrap), since
which groups are best and worst is read from the same clips. Plain percentiles of the
bootstrapped gap never hold 0, as each resample has a best and a worst of its own.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from usad_workbench.core.arrays import Ids, Indices, Matrix, cluster_codes, id_array
from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.similarity.resampling import (
    Interval,
    bootstrap_limits,
    bootstrap_samples,
    permutation_blocks,
    permutation_p_value,
    too_few_clusters,
)

N_PERMUTATIONS = 1000
N_RESAMPLES = 2000
MIN_SHAPE_GROUPS = 3
"""Two groups always correlate at 1 or -1: no profile to compare."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupGap:
    """Accuracy by group and the gap between the best and the worst. NaN: ``reason`` says why."""

    accuracies: dict[str, float]
    worst_group: str
    worst_value: float
    worst_ci_low: float
    worst_ci_high: float
    """95%, for all groups at once."""
    gap: float
    ci_low: float
    ci_high: float
    """95%, for all pairs of groups at once; at 0 where any of them could be alike."""
    null_gap: float
    """The mean gap of group labels dealt anew."""
    debiased_gap: float
    """Gap minus null gap; too small where the groups truly differ."""
    p_value: float
    n_clips: int
    n_clusters: int
    dealt_over: str
    """``clusters`` or ``clips of a cluster``: what the null exchanges."""
    reason: str


def group_gap(
    right: NDArray[Any],
    groups: Ids,
    clusters: Ids,
    *,
    n_permutations: int = N_PERMUTATIONS,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> GroupGap:
    """The worst group's accuracy and the gap to the best one.

    Args:
        right: Whether each clip was right `[clip]` or `[seed, clip]`.
        groups: Group of each clip.
        clusters: Cluster id of each clip.
        n_permutations: Of the null.
        n_resamples: Bootstrap size.
        seed: Of both.

    Raises:
        ShapeError: other numbers of clips.
        DegenerateError: fewer than two groups.

    Source: fairlearn's ``MetricFrame`` for the gap; the null is a cluster permutation.

    >>> right = np.arange(400) % 10 < np.where(np.arange(400) < 200, 9, 6)
    >>> found = group_gap(right, np.arange(400) // 200, np.arange(400) // 10)
    >>> found.worst_group, round(found.gap, 2), found.p_value < 0.01
    ('1', 0.3, True)
    """
    share, names, group, cluster = _checked(right, groups, clusters)
    n_clusters, n_groups = int(cluster.max()) + 1, len(names)
    hits, clips = _by_cluster(share, group, cluster, n_groups)
    values = hits.sum(axis=0) / clips.sum(axis=0)
    gap = float(np.ptp(values))
    null, dealt = _null_gaps(share, group, cluster, n_permutations, seed)
    worst = int(np.argmin(values))
    low = high = worst_low = worst_high = math.nan
    reason = too_few_clusters(n_clusters)
    if not reason:
        drawn = bootstrap_samples(
            lambda draws: _ratio(draws @ hits, draws @ clips), n_clusters, n_resamples, seed
        )
        sizes = np.count_nonzero(clips, axis=0)
        low, high, reason = _gap_limits(values, drawn, sizes)
        worst_low, worst_high = _limits_of_all(values, drawn, sizes, worst)
    null_gap, p_value = float(np.nanmean(null)), permutation_p_value(gap - 1e-12, null)
    if np.nanmax(null) - np.nanmin(null) < 1e-9:
        null_gap, p_value = math.nan, math.nan
        why = f"no null: dealing groups anew over {dealt} changes nothing, as with one cluster each"
        reason = "; ".join(filter(None, (reason, why)))
    return GroupGap(
        accuracies=dict(zip(names, values.tolist(), strict=True)),
        worst_group=names[worst],
        worst_value=float(values[worst]),
        worst_ci_low=worst_low,
        worst_ci_high=worst_high,
        gap=gap,
        ci_low=low,
        ci_high=high,
        null_gap=null_gap,
        debiased_gap=gap - null_gap,
        p_value=p_value,
        n_clips=len(share),
        n_clusters=n_clusters,
        dealt_over=dealt,
        reason=reason,
    )


def equalised_odds_gap(labels: Ids, predicted: NDArray[Any], groups: Ids) -> float:
    """The larger of the gaps in true and in false positive rate, mean over one-vs-rest classes.

    Args:
        labels: True label of each clip.
        predicted: Predicted labels `[clip]` or `[seed, clip]`.
        groups: Group of each clip.

    Returns:
        In [0, 1]; NaN where no class has both rates in two groups. With two classes it is
        what fairlearn calls the equalized odds difference.

    Raises:
        ShapeError: other numbers of clips.
        DegenerateError: fewer than two groups.

    >>> equalised_odds_gap([1, 1, 0, 0], np.array([1, 0, 0, 0]), ["a", "b", "a", "b"])
    1.0
    """
    truth = np.asarray([str(one) for one in labels], dtype=np.str_)
    answers = np.atleast_2d(np.asarray(predicted)).astype(np.str_)
    if answers.shape[1] != len(truth):
        raise ShapeError(
            f"There are {answers.shape[1]} predictions for {len(truth)} labels, expected one each. "
            "Pass the predictions of the same clips."
        )
    _, names, group, _ = _checked(answers == truth, groups, np.arange(len(truth)))
    gaps = []
    for name in np.unique(truth):
        positive, said = truth == name, (answers == name).mean(axis=0)
        rates = []
        for rows in (positive, ~positive):
            top = np.bincount(group[rows], weights=said[rows], minlength=len(names))
            sizes = np.bincount(group[rows], minlength=len(names))
            rates.append(_ratio(top.astype(np.float64), sizes.astype(np.float64)))
        both = [np.ptp(rate[np.isfinite(rate)]) for rate in rates if np.isfinite(rate).sum() > 1]
        if both:
            gaps.append(float(max(both)))
    return float(np.mean(gaps)) if gaps else math.nan


def inherited_gap(
    student: NDArray[Any],
    teacher: NDArray[Any],
    controls: Sequence[NDArray[Any]],
    groups: Ids,
    clusters: Ids,
    *,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> Interval:
    """How much more the student's profile over groups is the teacher's than the controls'.

    The correlation over groups of accuracy by group, student and teacher, minus the mean
    correlation of student and control; all of them on the same resamples.

    Args:
        student: Whether the student was right `[clip]` or `[seed, clip]`.
        teacher: The same of the teacher.
        controls: The same of each control.
        groups: Group of each clip.
        clusters: Cluster id of each clip.
        n_resamples: Bootstrap size.
        seed: Of the resamples.

    Raises:
        ShapeError: other numbers of clips.
        DegenerateError: no control, fewer than three groups, or an encoder that is as good
            in every group.
    """
    if not controls:
        raise DegenerateError(
            "There is no control, expected at least one: encoders find the same groups hard. "
            "Embed one, or name it with --controls."
        )
    tables = []
    for right in (student, teacher, *controls):
        share, names, group, cluster = _checked(right, groups, clusters)
        tables.append(_by_cluster(share, group, cluster, len(names)))
    if len(names) < MIN_SHAPE_GROUPS:
        raise DegenerateError(
            f"There are {len(names)} groups, expected at least {MIN_SHAPE_GROUPS}: two always "
            "correlate at 1 or -1. Choose a column with more groups."
        )
    n_clusters = int(cluster.max()) + 1
    value = float(_excess_correlation(tables, np.ones((1, n_clusters)))[0])
    if not math.isfinite(value):
        raise DegenerateError(
            "An encoder is as good in every group, expected groups that differ: it has no "
            "profile. Leave it out."
        )
    reason = too_few_clusters(n_clusters)
    if reason:
        return Interval(
            value=value, ci_low=math.nan, ci_high=math.nan, n_clusters=n_clusters, reason=reason
        )
    samples = bootstrap_samples(
        lambda draws: _excess_correlation(tables, draws), n_clusters, n_resamples, seed
    )
    low, high = bootstrap_limits(samples, n_clusters)
    return Interval(value=value, ci_low=low, ci_high=high, n_clusters=n_clusters)


def _checked(
    right: NDArray[Any], groups: Ids, clusters: Ids
) -> tuple[Matrix, list[str], Indices, Indices]:
    """Share of seeds that were right `[clip]`, group names, group and cluster numbers."""
    share = np.atleast_2d(np.asarray(right, dtype=np.float64)).mean(axis=0)
    ids = id_array(groups)
    if ids.shape != share.shape:
        raise ShapeError(
            f"There are {ids.shape} groups for {len(share)} clips, expected one for each clip. "
            "Pass the group column in the order of the clips."
        )
    names, group = np.unique(ids, return_inverse=True)
    if len(names) < 2:
        raise DegenerateError(
            f"There are {len(names)} groups, expected at least 2 to compare. Choose another column."
        )
    codes = cluster_codes(clusters, len(share))
    return share, [str(name) for name in names], group.astype(np.intp), codes


def _by_cluster(
    share: Matrix, group: Indices, cluster: Indices, n_groups: int
) -> tuple[Matrix, Matrix]:
    """Right clips and clips `[cluster, group]`."""
    shape = int(cluster.max()) + 1, n_groups
    hits, clips = np.zeros(shape), np.zeros(shape)
    np.add.at(hits, (cluster, group), share)
    np.add.at(clips, (cluster, group), 1.0)
    return hits, clips


def _ratio(top: Matrix, bottom: Matrix) -> Matrix:
    nothing = np.full(np.shape(top), np.nan)
    return np.asarray(np.divide(top, bottom, out=nothing, where=bottom > 0))


def _null_gaps(
    share: Matrix, group: Indices, cluster: Indices, n_permutations: int, seed: int
) -> tuple[Matrix, str]:
    """Gaps of group labels dealt anew `[permutation]`, and what was exchanged."""
    n_groups = int(group.max()) + 1
    pairs = len(np.unique(cluster * n_groups + group))
    if pairs == int(cluster.max()) + 1:
        hits = np.bincount(cluster, weights=share).astype(np.float64)
        clips = np.bincount(cluster).astype(np.float64)
        owner = np.empty(len(clips), dtype=np.intp)
        owner[cluster] = group
        stratum, over = np.zeros(len(clips), dtype=np.intp), "clusters"
    else:
        hits, clips, owner = share, np.ones(len(share)), group
        stratum, over = cluster, "clips of a cluster"
    gaps = []
    for orders in permutation_blocks(stratum, n_permutations, seed):
        of_group = [owner[orders] == g for g in range(n_groups)]
        values = np.stack([_ratio(dealt @ hits, dealt @ clips) for dealt in of_group], axis=1)
        gaps.append(np.nanmax(values, axis=1) - np.nanmin(values, axis=1))
    return np.concatenate(gaps), over


def _gap_limits(values: Matrix, drawn: Matrix, sizes: Indices) -> tuple[float, float, str]:
    """Limits of the largest difference, from limits of all differences at once."""
    first, second = np.triu_indices(len(values), k=1)
    difference = values[first] - values[second]
    samples = drawn[:, first] - drawn[:, second]
    half = _half_widths(difference, samples, sizes[first] + sizes[second])
    if half is None:
        return math.nan, math.nan, "no interval: a group is missing from too many resamples"
    low = float(np.max(np.abs(difference) - half))
    return max(low, 0.0), min(float(np.max(np.abs(difference) + half)), 1.0), ""


def _limits_of_all(
    values: Matrix, drawn: Matrix, sizes: Indices, worst: int
) -> tuple[float, float]:
    """Limits of the smallest value: the smallest of all lower and of all upper limits."""
    half = _half_widths(values, drawn, sizes)
    if half is None:
        return math.nan, math.nan
    low, high = float(np.min(values - half)), float(np.min(values + half))
    return max(low, 0.0), min(max(high, float(values[worst])), 1.0)


def _half_widths(values: Matrix, samples: Matrix, n_clusters: Indices) -> Matrix | None:
    """Half widths that hold for all columns at once; none where too few resamples have all.

    Each standard error is that of the bootstrap, each column widened like the t of its own
    clusters against the normal.
    """
    samples = samples[np.isfinite(samples).all(axis=1)]
    if len(samples) < 100:
        return None
    error = samples.std(axis=0, ddof=1)
    n = np.maximum(n_clusters, 2).astype(np.float64)
    wide = error * np.sqrt(n / (n - 1)) * stdtrit(n - 1, 0.975) / ndtri(0.975)
    off = np.abs(samples - values)
    ratio = np.divide(off, error, out=np.zeros_like(off), where=error > 0).max(axis=1)
    return np.asarray(np.quantile(ratio, 0.95) * wide)


def _excess_correlation(tables: Sequence[tuple[Matrix, Matrix]], draws: Matrix) -> Matrix:
    """Correlation with the teacher minus the mean one with controls `[resample]`."""
    profiles = [_ratio(draws @ hits, draws @ clips) for hits, clips in tables]
    unit = []
    for profile in profiles:
        centred = profile - profile.mean(axis=1, keepdims=True)
        length = np.linalg.norm(centred, axis=1, keepdims=True)
        unit.append(_ratio(centred, np.where(length > 1e-12, length, 0.0)))
    student, teacher, *controls = unit
    of_controls = np.mean([np.sum(student * c, axis=1) for c in controls], axis=0)
    return np.asarray(np.sum(student * teacher, axis=1) - of_controls)
