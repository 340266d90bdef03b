"""Nuisance factors: what can be read from embeddings that should not decide anything.

Folds keep clusters whole. With random folds a probe recognises the speaker and finds what is
nowhere in the data. What remains is compared to two sets of other labels, on the same folds:

- control labels, constant per cluster and random across clusters: score minus their mean
  is the selectivity. Hewitt and Liang (2019, arXiv:1909.03368) have control labels that a probe
  can learn by heart; these it cannot, since it is tested on other clusters. So theirs asks what
  a probe memorises, which whole clusters rule out, and ours is the distance from chance;
- a permutation null: the control labels again where clusters have one level each, and
  labels exchanged within clusters where they vary.

Clusters change labels only within a test fold. So every labelling has the class sizes of the true
one in every fold, and one reduction of the embeddings serves all of them. Free exchange would
leave the folds unstratified for the null alone, which then falls below the level of a stratified
probe and rejects too often.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from usad_workbench.core.arrays import Ids, Matrix, Vectors
from usad_workbench.core.bias._linear import (
    ClassProbe,
    checked_vectors,
    reduced_features,
    ridge_values,
)
from usad_workbench.core.bias.factors import (
    VARYING_SHARE,
    Factor,
    cluster_orders,
    score,
    score_interval,
    varying_share,
)
from usad_workbench.core.errors import ShapeError
from usad_workbench.core.probes.folds import Codes, Fold, codes_of
from usad_workbench.core.similarity.resampling import (
    Interval,
    bootstrap_limits,
    bootstrap_samples,
    exchange_warning,
    permutation_p_value,
    permutations_within,
    strata,
    too_few_clusters,
)

N_PERMUTATIONS = 99
N_CONTROLS = 20
"""Control labellings, where the null needs labellings of its own."""
N_RESAMPLES = 1000
MIN_FACTORS = 8
"""Fewer factors give no correlation of profiles."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class NuisanceResult:
    """How well one factor is read from one layer."""

    value: float
    """Balanced accuracy, or R2 about the training mean."""
    ci_low: float
    ci_high: float
    """95%, bootstrap over clusters."""
    chance: float
    """1 / classes, or 0 for R2."""
    control: float
    """Mean score on control labels."""
    selectivity: float
    """Value minus control: the distance from chance with these clusters."""
    null_mean: float
    p_value: float
    """One-sided, from ``n_permutations`` labellings."""
    null_kind: str
    """``clusters`` or ``within clusters``: what the null exchanges."""
    n_clips: int
    n_clusters: int
    predictions: Matrix
    """Out-of-fold class numbers or values `[clip]`."""
    baseline: Matrix
    """Training mean of each clip's fold, for R2 `[clip]`."""
    misread: Matrix
    """How wrong each clip is read `[clip]`: best wrong class minus true one, or |error|."""
    reason: str
    """Why there is no interval, or what weakens the null."""


def probe_nuisance(
    x: Vectors,
    factor: Factor,
    clusters: Ids,
    *,
    n_folds: int = 5,
    n_permutations: int = N_PERMUTATIONS,
    seed: int = 0,
) -> NuisanceResult:
    """Reads one factor from embeddings of clusters never trained on.

    Args:
        x: Embeddings `[clip, dim]`; standardised here, with statistics of the training rows.
        factor: From ``categorical`` or ``continuous``.
        clusters: Cluster id of each clip.
        n_folds: At most; no more than the rarest level has clusters.
        n_permutations: Size of the null.
        seed: Of folds and labellings.

    Raises:
        ShapeError: other numbers of clips.
        DegenerateError: constant embeddings, one cluster, or a level in one cluster alone.

    Source: Hewitt and Liang 2019 for control labels; see the module for what differs.

    >>> from usad_workbench.core.bias.factors import categorical
    >>> rng = np.random.default_rng(0)
    >>> sex = np.repeat(np.arange(20) % 2, 5)
    >>> x = rng.normal(size=(100, 4)) + 4 * sex[:, None]
    >>> found = probe_nuisance(x, categorical(sex), np.repeat(np.arange(20), 5))
    >>> found.value, found.chance, found.p_value <= 0.02
    (1.0, 0.5, True)
    """
    array = checked_vectors(x, len(factor))
    units = codes_of(clusters, "cluster")
    if len(units) != len(factor):
        raise ShapeError(
            f"There are {len(units)} clusters for {len(factor)} clips, expected one for each."
        )
    folds = factor.folds(clusters, n_folds, seed)
    varies = varying_share(factor.values, units) >= VARYING_SHARE
    controls = _control_labellings(
        factor, units, folds, N_CONTROLS if varies else n_permutations, seed
    )
    nulls = _null_labellings(factor, units, folds, n_permutations, seed) if varies else controls[:0]
    everything = np.vstack([factor.values[None], controls, nulls])
    predictions, misread, baseline = _read(array, factor, everything, folds)
    scores = np.array(
        [
            score(factor.with_values(labels), predictions[i], baseline[i])
            for i, labels in enumerate(everything)
        ]
    )
    control, null = scores[1 : 1 + len(controls)], scores[1 + len(controls) :]
    null = null if varies else control
    interval = score_interval(factor, predictions[0], baseline[0], units, seed)
    weak = exchange_warning(_exchanged(units, folds, varies), n_permutations)
    return NuisanceResult(
        value=interval.value,
        ci_low=interval.ci_low,
        ci_high=interval.ci_high,
        chance=factor.chance,
        control=float(control.mean()),
        selectivity=interval.value - float(control.mean()),
        null_mean=float(null.mean()),
        p_value=permutation_p_value(interval.value, null),
        null_kind="within clusters" if varies else "clusters",
        n_clips=len(factor),
        n_clusters=interval.n_clusters,
        predictions=predictions[0],
        baseline=baseline[0],
        misread=misread,
        reason="; ".join(one for one in (interval.reason, weak) if one),
    )


def amplification(
    factor: Factor,
    student: NuisanceResult,
    teachers: Sequence[NuisanceResult],
    clusters: Ids,
    seed: int = 0,
) -> Interval:
    """Score of the student minus that of the best teacher, 95% bootstrap over clusters.

    The best teacher is chosen anew in each resample.

    Args:
        factor: What all of them were asked, on the same clips.
        student: Result of the student.
        teachers: Results of its teachers.
        clusters: Cluster id of each clip.
        seed: Of the resamples.

    Raises:
        ShapeError: no teachers.
    """
    if not teachers:
        raise ShapeError("There are no teachers to compare with, expected at least one.")
    units = codes_of(clusters, "cluster")
    n_clusters = int(units.max()) + 1
    value = student.value - max(one.value for one in teachers)
    reason = too_few_clusters(n_clusters)
    if reason:
        return Interval(
            value=value, ci_low=math.nan, ci_high=math.nan, n_clusters=n_clusters, reason=reason
        )
    of_student, *of_teachers = (
        factor.resampler(one.predictions, one.baseline, units) for one in (student, *teachers)
    )
    samples = bootstrap_samples(
        lambda counts: of_student(counts) - np.max([one(counts) for one in of_teachers], axis=0),
        n_clusters,
        N_RESAMPLES,
        seed,
    )
    low, high = bootstrap_limits(samples, n_clusters)
    return Interval(value=value, ci_low=low, ci_high=high, n_clusters=n_clusters)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ProfileInheritance:
    """The student's profile over factors beside a teacher's, both above the controls."""

    student_excess: Matrix
    """Student minus mean of the controls `[factor]`."""
    teacher_excess: Matrix
    """Teacher minus mean of the controls `[factor]`."""
    correlation: float
    """Pearson, over factors; NaN where ``reason`` says why."""
    n_factors: int
    reason: str


def profile_inheritance(
    student: Sequence[float] | Matrix,
    teacher: Sequence[float] | Matrix,
    controls: Sequence[Sequence[float]] | Matrix,
) -> ProfileInheritance:
    """Whether the student has the teacher's profile where both differ from controls.

    Args:
        student: Selectivity `[factor]`.
        teacher: The same of one teacher.
        controls: The same of encoders that did not teach `[control, factor]`.

    Raises:
        ShapeError: no controls, or other numbers of factors.

    >>> s, t = np.arange(8.0), np.arange(8.0) ** 1.1
    >>> round(profile_inheritance(s, t, np.zeros((2, 8))).correlation, 2)
    1.0
    """
    s, t = np.asarray(student, dtype=np.float64), np.asarray(teacher, dtype=np.float64)
    others = np.asarray(controls, dtype=np.float64)
    if others.ndim != 2 or len(others) == 0 or not s.shape == t.shape == others.shape[1:]:
        raise ShapeError(
            f"The profiles have shapes {s.shape}, {t.shape} and controls {others.shape}, expected "
            "the same factors for each and at least one control."
        )
    finite = np.isfinite(s) & np.isfinite(t) & np.isfinite(others).all(axis=0)
    level = np.where(finite, others.mean(axis=0), np.nan)
    excess_s, excess_t = s - level, t - level
    n = int(finite.sum())
    reason, correlation = "", math.nan
    if n < MIN_FACTORS:
        reason = f"no correlation: {n} factors, at least {MIN_FACTORS} are needed"
    elif np.ptp(excess_s[finite]) == 0 or np.ptp(excess_t[finite]) == 0:
        reason = "no correlation: a profile is flat"
    else:
        correlation = float(np.corrcoef(excess_s[finite], excess_t[finite])[0, 1])
    return ProfileInheritance(
        student_excess=excess_s,
        teacher_excess=excess_t,
        correlation=correlation,
        n_factors=n,
        reason=reason,
    )


def _read(
    x: Matrix, factor: Factor, labellings: Matrix, folds: Sequence[Fold]
) -> tuple[Matrix, Matrix, Matrix]:
    """Predictions and baselines `[labelling, clip]`, and the misreading of the true labels."""
    predictions, baseline = np.empty_like(labellings), np.empty_like(labellings)
    misread = np.empty(len(factor))
    for fold in folds:
        z = reduced_features(x, fold.train)
        baseline[:, fold.test] = labellings[:, fold.train].mean(axis=1, keepdims=True)
        if factor.is_continuous:
            predictions[:, fold.test] = ridge_values(z, labellings, fold.train, fold.test)
            misread[fold.test] = np.abs(predictions[0, fold.test] - factor.values[fold.test])
            continue
        probe = ClassProbe(z, fold.train, fold.test)
        for i, labels in enumerate(labellings.astype(np.intp)):
            scores = probe.scores(labels, factor.n_levels)
            predictions[i, fold.test] = np.argmax(scores, axis=1)
            if i == 0:
                cells = np.arange(len(scores)), labels[fold.test]
                true = scores[cells]
                scores[cells] = -np.inf
                misread[fold.test] = scores.max(axis=1) - true
    return predictions, misread, baseline


def _fold_of(folds: Sequence[Fold], n_clips: int) -> Codes:
    fold_of = np.zeros(n_clips, dtype=np.intp)
    for number, fold in enumerate(folds):
        fold_of[fold.test] = number
    return fold_of


def _exchanged(units: Codes, folds: Sequence[Fold], varies: bool) -> Codes:
    """The strata of the null: of clips where the factor varies, of clusters where not."""
    number = _fold_of(folds, len(units))
    if not varies:
        return number[np.unique(units, return_index=True)[1]]
    pairs = np.stack([strata(units, len(units)), number])
    return np.unique(pairs, axis=1, return_inverse=True)[1].ravel().astype(np.intp)


def _control_labellings(
    factor: Factor, units: Codes, folds: Sequence[Fold], n: int, seed: int
) -> Matrix:
    """Each cluster gets the level of a random clip of another cluster of its fold."""
    orders = cluster_orders(units, _exchanged(units, folds, False), n, seed)
    return np.asarray(factor.values[orders])


def _null_labellings(
    factor: Factor, units: Codes, folds: Sequence[Fold], n: int, seed: int
) -> Matrix:
    """Labels exchanged within clusters; clusters of one clip exchange within their fold."""
    orders = permutations_within(_exchanged(units, folds, True), n, seed)
    return np.asarray(factor.values[orders])
