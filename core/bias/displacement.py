"""How far a known change of the sound moves an embedding, and whose profile that is.

``displacement`` is in units of the within-class spread: 1 means that the change moves a clip as
far as another clip of its class lies. ``invariance`` is the ratio form ``1 - E|f(x) - f(x')|² /
E|f(x) - f(x_j)|²`` with x_j any other clip of the domain.

Intervals leave out one cluster after the other, from the changed clips and from the clips that
give the spread. The cluster bootstrap would be wrong here: a clip drawn twice lies at no distance
from itself, which shortens the spread.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from usad_workbench.core.arrays import (
    Ids,
    Indices,
    Matrix,
    Vectors,
    as_vectors,
    id_array,
)
from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.similarity.resampling import (
    MIN_CLUSTERS,
    jackknife_error,
    too_few_clusters,
)

FLOOR = 1e-3
"""A thousandth of the within-class spread is no movement: profiles are logarithms."""
MIN_CONTROLS = 2
"""Fewer controls have no spread between them."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Spread:
    """Mean squared distances between two clips, of all and without each cluster in turn."""

    within_class: float
    within_domain: float
    class_left_out: dict[str, float]
    """Cluster to the mean squared distance within classes without it."""
    domain_left_out: dict[str, float]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Sensitivity:
    """How far each change moves one encoder in one domain."""

    displacement: Matrix
    """`[intervention]`, in units of the within-class spread."""
    invariance: Matrix
    """`[intervention]`, 1 where nothing moves."""
    displacement_left_out: Matrix
    """`[cluster, intervention]` without each cluster of the changed clips in turn."""
    n_clips: Sequence[int]
    """Changed clips of each intervention."""
    n_clusters: int

    @property
    def profile(self) -> Matrix:
        """Logarithm (base 10) of the displacement `[intervention]`."""
        return _log(self.displacement)

    @property
    def profile_left_out(self) -> Matrix:
        """The profile without each cluster in turn `[cluster, intervention]`."""
        return _log(self.displacement_left_out)

    def limits(self, confidence: float = 0.95) -> tuple[Matrix, Matrix, str]:
        """Lower and upper limit of the displacement `[intervention]`, or NaN and why.

        The jackknife is on the logarithm, where displacements are nearer to normal.
        """
        empty = np.full(self.displacement.shape, np.nan)
        reason = too_few_clusters(self.n_clusters)
        if reason:
            return empty, empty, reason
        error = jackknife_error(self.profile_left_out)
        half = float(stdtrit(self.n_clusters - 1, 0.5 + confidence / 2)) * error
        centre = self.profile
        low = np.where(self.displacement < FLOOR, 0.0, 10 ** (centre - half))
        return low, 10 ** (centre + half), ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Excess:
    """A value of the student minus the mean of the controls' values."""

    value: float
    controls: float
    """The controls' mean; NaN without any."""
    excess: float
    ci_low: float
    ci_high: float
    p_value: float
    """Two-sided."""
    reason: str = ""


def spread(x: Vectors, labels: Ids, clusters: Ids) -> Spread:
    """Mean squared distance between two different clips, of one class and of the domain.

    Args:
        x: Embeddings of a domain's clips `[clip, dim]`.
        labels: Class of each clip.
        clusters: Cluster of each clip.

    Raises:
        ShapeError: another number of labels or clusters than clips.
        DegenerateError: no two clips share a class, or all of these are equal.

    >>> found = spread(np.array([[0.0], [2.0], [9.0]]), ["a", "a", "b"], ["p", "q", "r"])
    >>> found.within_class, round(found.within_domain, 3)
    (4.0, 44.667)
    """
    array = as_vectors(x, "x", min_clips=2)
    array = array - array.mean(axis=0)
    names, groups = id_array(labels), id_array(clusters)
    if names.shape != (len(array),) or groups.shape != (len(array),):
        raise ShapeError(
            f"There are {names.shape} labels and {groups.shape} clusters for {len(array)} clips, "
            "expected one of each for each clip. Pass the columns in the order of the rows."
        )
    of_class, class_out = _pair_distances(array, names, groups)
    of_domain, domain_out = _pair_distances(array, np.zeros(len(array), dtype=int), groups)
    if not of_class > 0:
        raise DegenerateError(
            f"No two of {len(array)} clips share a class and differ, so there is no spread "
            "within classes. Give labels that several clips share."
        )
    return Spread(
        within_class=of_class,
        within_domain=of_domain,
        class_left_out=class_out,
        domain_left_out=domain_out,
    )


def sensitivity(distances: Matrix, clusters: Ids, scale: Spread) -> Sensitivity:
    """Displacement of each change, its ratio form, and both without each cluster.

    Args:
        distances: |f(x) - f(x')| `[intervention, clip]`; NaN where a clip could not be changed.
        clusters: Cluster of each changed clip.
        scale: Of the clips of the same domain.

    Raises:
        ShapeError: another number of clusters than clips, or no clip.
    """
    squares = np.asarray(distances, dtype=np.float64) ** 2
    groups = [str(one) for one in clusters]
    if squares.ndim != 2 or squares.shape[1] != len(groups) or not groups:
        raise ShapeError(
            f"Distances have shape {squares.shape} for {len(groups)} clips, expected "
            "[intervention, clip] with at least one clip. Change some clips first."
        )
    names = sorted(set(groups))
    codes = np.array([names.index(one) for one in groups])
    finite = np.isfinite(squares)
    values = np.where(finite, squares, 0.0)
    member = codes[None, :] == np.arange(len(names))[:, None]
    left = (~member).astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = values.sum(axis=1) / finite.sum(axis=1)
        left_mean = (left @ values.T) / (left @ finite.T)
    scales = np.array([scale.class_left_out.get(one, scale.within_class) for one in names])
    return Sensitivity(
        displacement=np.sqrt(mean / scale.within_class),
        invariance=1 - mean / scale.within_domain,
        displacement_left_out=np.sqrt(left_mean / scales[:, None]),
        n_clips=finite.sum(axis=1).tolist(),
        n_clusters=len(names),
    )


def profile_similarity(a: Matrix, b: Matrix) -> Matrix:
    """Pearson correlation of two profiles over interventions, along the last axis.

    Raises:
        DegenerateError: fewer than 3 interventions, or a profile without differences.

    >>> float(profile_similarity(np.array([0.0, 1.0, 3.0]), np.array([1.0, 3.0, 7.0])).round(6))
    1.0
    """
    a, b = a - a.mean(axis=-1, keepdims=True), b - b.mean(axis=-1, keepdims=True)
    size = np.sqrt((a**2).sum(axis=-1) * (b**2).sum(axis=-1))
    if a.shape[-1] < 3 or not np.all(size > 0):
        raise DegenerateError(
            f"A profile of {a.shape[-1]} interventions has no differences to correlate, expected "
            "at least 3 that move the encoder differently. Measure more interventions."
        )
    return np.asarray((a * b).sum(axis=-1) / size)


def profile_slope(student: Matrix, teacher: Matrix) -> float:
    """Least-squares slope of the student's profile on the teacher's: 1 where it moves alike."""
    centred = teacher - teacher.mean()
    return float(centred @ student / (centred @ centred))


def excess_similarity(
    student: Sensitivity, teacher: Sensitivity, controls: Sequence[Sensitivity]
) -> Excess:
    """Similarity of the student's profile to the teacher's, above the controls' to it.

    All encoders lose the same cluster at the same time, so what is common to them cancels.
    The interventions are taken as given: the interval says nothing of others.

    Args:
        student: Its sensitivity.
        teacher: The teacher's, on the same clips.
        controls: Of encoders that the teacher did not teach and that did not teach.

    Raises:
        DegenerateError: a profile without differences.
    """
    value = float(profile_similarity(student.profile, teacher.profile))
    left = profile_similarity(student.profile_left_out, teacher.profile_left_out)
    of_controls = [float(profile_similarity(one.profile, teacher.profile)) for one in controls]
    theirs_left = [
        profile_similarity(one.profile_left_out, teacher.profile_left_out) for one in controls
    ]
    return _excess(value, of_controls, left, theirs_left, student.n_clusters, largest=2.0)


def excess_of_cause(one: Sensitivity, controls: Sequence[Sensitivity], intervention: int) -> Excess:
    """How much more (or less) one change moves an encoder than it moves the controls.

    Differences of log10 displacements: 0.3 is twice as far.
    """
    return _excess(
        float(one.profile[intervention]),
        [float(c.profile[intervention]) for c in controls],
        one.profile_left_out[:, intervention],
        [c.profile_left_out[:, intervention] for c in controls],
        one.n_clusters,
    )


def inherited_trait(student: Excess, teacher: Excess, alpha: float) -> str:
    """``fragility`` or ``invariance`` where both stand out on the same side, else ``no``.

    Args:
        student: Above what controls move by.
        teacher: The same of the teacher.
        alpha: The level at which each stands out, two-sided.
    """
    if not all(np.isfinite([student.ci_low, teacher.ci_low])):
        return "not testable"
    if max(student.p_value, teacher.p_value) > alpha:
        return "no"
    if student.excess > 0 and teacher.excess > 0:
        return "fragility"
    return "invariance" if student.excess < 0 and teacher.excess < 0 else "no"


def _excess(
    value: float,
    controls: Sequence[float],
    left_out: Matrix,
    controls_left_out: Sequence[Matrix],
    n_clusters: int,
    largest: float = math.inf,
) -> Excess:
    """The difference with clip noise by jackknife and the spread between controls on top.

    Without inheritance the student is one more control: its distance from the mean of m has
    variance s² (1 + 1 / m). Degrees of freedom by Welch and Satterthwaite.
    """
    # Correlations differ by 2 at most; log displacements have no such bound.
    m = len(controls)
    mean = float(np.mean(controls)) if m else math.nan
    reason = too_few_clusters(n_clusters)
    if m == 0:
        reason = "not testable: no control"
    elif m < MIN_CONTROLS:
        reason = f"no interval: {m} control, at least {MIN_CONTROLS} are needed"
    low = high = p = math.nan
    difference = value - mean
    if not reason and n_clusters >= MIN_CLUSTERS:
        clips = float(jackknife_error(left_out - np.mean(controls_left_out, axis=0))) ** 2
        between = float(np.var(controls, ddof=1)) * (1 + 1 / m)
        total = clips + between
        if total > 0:
            df = total**2 / (clips**2 / (n_clusters - 1) + between**2 / (m - 1))
            half = float(stdtrit(df, 0.975)) * math.sqrt(total)
            low, high = max(difference - half, -largest), min(difference + half, largest)
            p = float(2 * stdtr(df, -abs(difference) / math.sqrt(total)))
        else:
            reason = "no interval: nothing differs between controls or clusters"
    return Excess(
        value=value,
        controls=mean,
        excess=difference,
        ci_low=low,
        ci_high=high,
        p_value=p,
        reason=reason,
    )


def _log(displacement: Matrix) -> Matrix:
    return np.asarray(np.log10(np.maximum(displacement, FLOOR)))


def _pair_distances(x: Matrix, names: Ids, groups: Ids) -> tuple[float, dict[str, float]]:
    """Mean squared distance of two rows of one name, of all and without each group.

    The sum over pairs of n rows is n Σ|x|² - |Σx|², so one pass over (name, group) cells
    gives all of them.
    """
    of_name, of_group = (np.unique(ids, return_inverse=True)[1] for ids in (names, groups))
    group_names = [str(one) for one in np.unique(groups)]
    cell, cell_of = np.unique(of_name * (of_group.max() + 1) + of_group, return_inverse=True)
    name_of, group_of = cell // (of_group.max() + 1), cell % (of_group.max() + 1)
    count = np.bincount(cell_of).astype(float)
    squares = np.bincount(cell_of, weights=(x**2).sum(axis=1))
    sums = np.add.reduceat(x[np.argsort(cell_of, kind="stable")], _starts(count), axis=0)
    n, q = np.bincount(name_of, weights=count), np.bincount(name_of, weights=squares)
    s = np.add.reduceat(sums, _starts(np.bincount(name_of)), axis=0)
    total, pairs = n * q - (s**2).sum(axis=1), n * (n - 1) / 2
    n_left, q_left = n[name_of] - count, q[name_of] - squares
    total_left = n_left * q_left - ((s[name_of] - sums) ** 2).sum(axis=1)
    lost = np.bincount(group_of, weights=total[name_of] - total_left)
    lost_pairs = np.bincount(group_of, weights=pairs[name_of] - n_left * (n_left - 1) / 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = float(total.sum() / pairs.sum()) if pairs.sum() else math.nan
        left = (total.sum() - lost) / (pairs.sum() - lost_pairs)
    usable = np.isfinite(left) & (left > 0)
    return value, {
        name: float(one) if ok else value
        for name, one, ok in zip(group_names, left, usable, strict=True)
    }


def _starts(counts: NDArray[Any]) -> Indices:
    return np.asarray(np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.intp))
