"""Errors of a student beside those of a teacher: same clips wrong, same wrong answers.

Two encoders that find the same clips hard agree in their errors without either having copied the
other (kappa 0.36 from shared difficulty alone), so a consistency is evidence of inheritance only
above that of controls: ``excess_consistency``.

Rightness comes as `[clip]` or `[seed, clip]` from probes of one protocol on the same folds; seeds
are averaged. Intervals draw whole clusters.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from usad_workbench.core.arrays import Ids, Indices, Matrix, cluster_codes
from usad_workbench.core.errors import ShapeError
from usad_workbench.core.similarity.excess import (
    ControlSlot,
    Excess,
    excess_over_controls,
    no_control,
)
from usad_workbench.core.similarity.resampling import (
    bootstrap_limits,
    bootstrap_samples,
    jackknife_groups,
    too_few_clusters,
)

MIN_ERRORS = 30
"""Below, a handful of clips makes the number: it is not given."""
N_RESAMPLES = 2000
CHUNK = 100
"""Resamples at once where a table of confusions goes with each."""
Right = NDArray[Any]
"""Whether each clip was right `[clip]` or `[seed, clip]`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ErrorConsistency:
    """How far two encoders are right and wrong on the same clips. NaN: ``reason`` says why."""

    kappa: float
    """Agreement above that of independent errors, over the most it could be: Cohen's kappa."""
    ci_low: float
    ci_high: float
    """95%, bootstrap over clusters."""
    kappa_unbiased: float
    kappa_max: float
    """The largest kappa that these two accuracies allow."""
    copy_probability: float
    """Share of clips whose rightness would be copied, were the rest independent."""
    copy_ci_low: float
    copy_ci_high: float
    agreement: float
    accuracy: float
    teacher_accuracy: float
    n_errors: float
    """Errors of the one with fewer, mean over seeds."""
    n_clips: int
    n_clusters: int
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SharedConfusions:
    """How often two encoders give the same wrong answer. NaN: ``reason`` says why."""

    kappa: float
    """(observed - expected) / (1 - expected); says more or less, not how much was copied."""
    ci_low: float
    ci_high: float
    observed: float
    """Share of same answers where both are wrong."""
    expected: float
    """The expected share if answers were independent within each true class."""
    n_clips: float
    """Clips that both get wrong, mean over seeds."""
    n_clusters: int
    reason: str


def error_consistency(
    student: Right,
    teacher: Right,
    clusters: Ids,
    *,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> ErrorConsistency:
    """Cohen's kappa of being right, with what follows from it.

    Args:
        student: Whether the student was right `[clip]` or `[seed, clip]`.
        teacher: The same of the teacher, whose rightness may have been copied.
        clusters: Cluster id of each clip.
        n_resamples: Bootstrap size.
        seed: Of the resamples.

    Returns:
        NaN with a reason where one of them makes fewer than 30 errors.

    Raises:
        ShapeError: other numbers of clips or seeds.

    Source: Geirhos et al. 2020 (arXiv:2006.16736) for kappa, Klein et al. 2025
    (arXiv:2507.06645) for the copy probability.

    >>> right = np.arange(100) % 2 == 0
    >>> found = error_consistency(right, right, np.arange(100) // 5)
    >>> found.kappa, found.copy_probability
    (1.0, 1.0)
    """
    tables, groups = right_tables([student, teacher], clusters)
    n_clusters, n_clips = len(tables), len(groups)
    total = tables.sum(axis=0)
    accuracy, teacher_accuracy, agreement = (total[1:] / total[0]).tolist()
    n_errors = n_clips * (1 - max(accuracy, teacher_accuracy))
    common = {
        "agreement": agreement,
        "accuracy": accuracy,
        "teacher_accuracy": teacher_accuracy,
        "n_errors": n_errors,
        "n_clips": n_clips,
        "n_clusters": n_clusters,
    }
    reason = _too_few_errors(accuracy, teacher_accuracy, n_errors)
    nan = math.nan
    if reason:
        return ErrorConsistency(
            kappa=nan,
            ci_low=nan,
            ci_high=nan,
            kappa_unbiased=nan,
            kappa_max=nan,
            copy_probability=nan,
            copy_ci_low=nan,
            copy_ci_high=nan,
            reason=reason,
            **common,
        )
    kappa, copied = float(kappa_of(total)), float(_copy_probability(total))
    expected = accuracy * teacher_accuracy + (1 - accuracy) * (1 - teacher_accuracy)
    most = min(accuracy, teacher_accuracy) + min(1 - accuracy, 1 - teacher_accuracy)
    limits = [(nan, nan), (nan, nan)]
    reason = too_few_clusters(n_clusters)
    if not reason:
        draws = bootstrap_samples(lambda counts: counts @ tables, n_clusters, n_resamples, seed)
        limits = [
            bootstrap_limits(statistic(draws), n_clusters)
            for statistic in (kappa_of, _copy_probability)
        ]
    return ErrorConsistency(
        kappa=kappa,
        ci_low=limits[0][0],
        ci_high=limits[0][1],
        kappa_unbiased=n_clips * kappa / (n_clips - 1 + kappa),
        kappa_max=(most - expected) / (1 - expected),
        copy_probability=copied,
        copy_ci_low=limits[1][0],
        copy_ci_high=limits[1][1],
        reason=reason,
        **common,
    )


def excess_consistency(
    student: Right,
    teacher: Right,
    controls: Sequence[Right],
    clusters: Ids,
    *,
    slot: ControlSlot = "teacher",
) -> Excess:
    """Kappa of student and teacher minus the mean kappa with a control in one's place.

    The test and the intervals are those of every excess (``similarity.excess``): one case
    against the spread between controls, and a joint leave-one-cluster-out interval.

    Args:
        student: Whether the student was right `[clip]` or `[seed, clip]`.
        teacher: The same of the teacher.
        controls: The same of each control.
        clusters: Cluster id of each clip.
        slot: Whose place the controls take.

    Raises:
        ShapeError: other numbers of clips or seeds.
        DegenerateError: no control, or one without errors.

    >>> rng = np.random.default_rng(0)
    >>> teacher, *controls = (rng.random(400) < 0.7 for _ in range(5))
    >>> found = excess_consistency(teacher, teacher, controls, np.arange(400) // 10)
    >>> found.value > 0.9, found.p_value < 0.01
    (True, True)
    """
    if not controls:
        raise no_control()
    pairs = [(student, teacher)]
    pairs += [(student, c) if slot == "teacher" else (c, teacher) for c in controls]
    built = [right_tables(list(pair), clusters)[0] for pair in pairs]
    tables = np.stack(built, axis=1)
    n_clips = np.shape(student)[-1]
    groups = jackknife_groups(clusters, n_clips)
    codes = cluster_codes(clusters, n_clips)
    kappas = kappa_of(tables.sum(axis=0))
    left_out = np.stack(
        [
            kappa_of(tables[np.unique(codes[groups != group])].sum(axis=0))
            for group in range(int(groups.max()) + 1)
        ]
    )
    return excess_over_controls(
        float(kappas[0]),
        kappas[1:],
        left_out[:, 0],
        left_out[:, 1:],
        n_clips=n_clips,
        n_clusters=len(tables),
        largest=2.0,
    )


def shared_confusions(
    student: NDArray[Any],
    teacher: NDArray[Any],
    labels: Ids,
    clusters: Ids,
    *,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> SharedConfusions:
    """Whether the two give the same wrong answer, beyond the confusions each class invites.

    Expected is sum_y n_y a_y·b_y / n over the n clips that both get wrong: a_y and b_y are
    the shares of the wrong answers to true class y. Chance at 1 / (classes - 1) instead
    gives 0.23 without any copying, since the same pairs of classes are hard for everybody.

    Args:
        student: Predicted labels `[clip]` or `[seed, clip]`.
        teacher: The same of the teacher.
        labels: True label of each clip.
        clusters: Cluster id of each clip.
        n_resamples: Bootstrap size.
        seed: Of the resamples.

    Returns:
        NaN with a reason where both are wrong on fewer than 30 clips, or where two classes
        leave one wrong answer only.

    Raises:
        ShapeError: other numbers of clips or seeds.

    >>> labels = np.arange(120) % 4
    >>> wrong = (labels + 1 + np.arange(120) // 4 % 3) % 4
    >>> found = shared_confusions(wrong, wrong, labels, np.arange(120) // 8)
    >>> found.kappa, round(found.expected, 2)
    (1.0, 0.33)
    """
    a, b, truth, codes = _answers(student, teacher, labels, clusters)
    n_clusters, n_seeds = int(codes.max()) + 1, len(a)
    both = (a != truth) & (b != truth)
    n_both = float(both.sum()) / n_seeds
    tables = _confusion_tables(a, b, truth, codes, both)
    observed, expected = (float(v[0]) for v in _shares(np.ones((1, n_clusters)), *tables))
    kappa, low, high = math.nan, math.nan, math.nan
    reason = ""
    if n_both < MIN_ERRORS:
        reason = f"both are wrong on {n_both:.0f} clips, at least {MIN_ERRORS} are needed"
    elif expected >= 1 - 1e-12:
        reason = "each class has one wrong answer only: nothing to share"
    else:
        kappa = (observed - expected) / (1 - expected)
        reason = too_few_clusters(n_clusters)
    if not reason:
        samples = bootstrap_samples(
            lambda counts: _resampled_confusions(counts, *tables), n_clusters, n_resamples, seed
        )
        low, high = bootstrap_limits(samples, n_clusters)
    return SharedConfusions(
        kappa=kappa,
        ci_low=low,
        ci_high=high,
        observed=observed,
        expected=expected,
        n_clips=n_both,
        n_clusters=n_clusters,
        reason=reason,
    )


def right_tables(pair: Sequence[Right], clusters: Ids) -> tuple[Matrix, Indices]:
    """Clips, right of a, right of b and agreement of each cluster `[cluster, 4]`."""
    a, b = (np.atleast_2d(np.asarray(one, dtype=bool)) for one in pair)
    if a.shape != b.shape:
        raise ShapeError(
            f"The two encoders have rightness of shape {a.shape} and {b.shape}, expected the same "
            "seeds and clips. Evaluate both on one task with the same seeds."
        )
    codes = cluster_codes(clusters, a.shape[1])
    columns = [np.ones(a.shape[1]), a.mean(axis=0), b.mean(axis=0), (a == b).mean(axis=0)]
    tables = np.stack([np.bincount(codes, weights=column) for column in columns], axis=1)
    return tables.astype(np.float64), codes


def kappa_of(sums: Matrix) -> Matrix:
    """Kappa from clips, right, right and agreement `[..., 4]`; NaN where both are perfect."""
    n, p, q, agreement = _means(sums)
    expected = p * q + (1 - p) * (1 - q)
    return _above(np.where(n > 0, agreement, np.nan), expected)


def _copy_probability(sums: Matrix) -> Matrix:
    """Kappa × (1 - expected) / (1 - (q² + (1-q)²)), q the accuracy of the copied encoder."""
    _, p, q, agreement = _means(sums)
    expected = p * q + (1 - p) * (1 - q)
    room = 2 * q * (1 - q)
    nothing = np.full(np.shape(room), np.nan)
    return np.asarray(np.divide(agreement - expected, room, out=nothing, where=room > 1e-12))


def _means(sums: Matrix) -> tuple[Matrix, Matrix, Matrix, Matrix]:
    n = sums[..., 0]
    means = sums[..., 1:] / np.where(n > 0, n, 1.0)[..., None]
    return n, means[..., 0], means[..., 1], means[..., 2]


def _above(observed: Matrix, expected: Matrix) -> Matrix:
    """(observed - expected) / (1 - expected), NaN without room above the expectation."""
    room = 1 - expected
    nothing = np.full(np.shape(room), np.nan)
    return np.asarray(np.divide(observed - expected, room, out=nothing, where=room > 1e-12))


def _too_few_errors(p: float, q: float, n_errors: float) -> str:
    if p == q == 1.0:
        return "both make no error: kappa is not defined"
    if n_errors < MIN_ERRORS:
        return f"{n_errors:.0f} errors of one of the two, at least {MIN_ERRORS} are needed"
    if p == q == 0.0:
        return "both are always wrong: kappa is not defined"
    return ""


def _answers(
    student: NDArray[Any], teacher: NDArray[Any], labels: Ids, clusters: Ids
) -> tuple[Indices, Indices, Indices, Indices]:
    """Answers as class numbers `[seed, clip]`, truth and clusters `[clip]`."""
    a, b = (np.atleast_2d(np.asarray(one)).astype(np.str_) for one in (student, teacher))
    truth = np.asarray([str(label) for label in labels], dtype=np.str_)
    if a.shape != b.shape or a.shape[1] != len(truth):
        raise ShapeError(
            f"The predictions have shape {a.shape} and {b.shape} for {len(truth)} labels, expected "
            "the same seeds and clips. Evaluate both on one task with the same seeds."
        )
    everything = np.concatenate([a.ravel(), b.ravel(), truth])
    codes = np.unique(everything, return_inverse=True)[1].astype(np.intp)
    first, second, third = np.split(codes, [a.size, 2 * a.size])
    return (
        first.reshape(a.shape),
        second.reshape(b.shape),
        third,
        cluster_codes(clusters, len(truth)),
    )


def _confusion_tables(
    a: Indices, b: Indices, truth: Indices, codes: Indices, both: NDArray[np.bool_]
) -> tuple[Matrix, csr_array, csr_array]:
    """Same answers `[cluster]`, answers of a and of b `[cluster, class × answer]`.

    Sparse: a cluster has no more answers than clips, however many classes there are.
    """
    n_classes = int(max(a.max(), b.max(), truth.max())) + 1
    shape = int(codes.max()) + 1, n_classes**2
    cluster, true = (np.broadcast_to(one, a.shape)[both] for one in (codes, truth))
    ones = np.ones(len(cluster))
    of_a, of_b = (
        csr_array((ones, (cluster, true * n_classes + answers[both])), shape=shape)
        for answers in (a, b)
    )
    same = np.zeros(shape[0])
    np.add.at(same, cluster, (a[both] == b[both]).astype(np.float64))
    return same, of_a, of_b


def _resampled_confusions(counts: Matrix, same: Matrix, of_a: csr_array, of_b: csr_array) -> Matrix:
    """Kappa in each resample, a few at a time: a table of confusions goes with each."""
    blocks = (counts[start : start + CHUNK] for start in range(0, len(counts), CHUNK))
    return np.concatenate([_above(*_shares(block, same, of_a, of_b)) for block in blocks])


def _shares(
    counts: Matrix, same: Matrix, of_a: csr_array, of_b: csr_array
) -> tuple[Matrix, Matrix]:
    """Observed and expected share of same answers in each resample `[resample]`."""
    n_classes = math.isqrt(of_a.shape[1])
    shape = len(counts), n_classes, n_classes
    drawn_a = (counts @ of_a).reshape(shape)
    drawn_b = (counts @ of_b).reshape(shape)
    sizes = drawn_a.sum(axis=2)
    products = np.sum(drawn_a * drawn_b, axis=2)
    by_class = np.divide(products, sizes, out=np.zeros_like(sizes), where=sizes > 0)
    total = sizes.sum(axis=1)
    total = np.where(total > 0, total, np.nan)
    return np.asarray(counts @ same / total), np.asarray(by_class.sum(axis=1) / total)
