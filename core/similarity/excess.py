"""Excess over controls: similarity to a teacher beyond what encoders without it show.

Encoders trained apart on the same audio grow alike, so a similarity is no inheritance. The
yardstick are controls that could stand in one of two places: in the student's (students that
never had this teacher), or in the teacher's (encoders of the same home domain that did not
teach). If nothing was inherited, the observed pair is one more draw among the controls' pairs,
and the test asks whether it stands out from them: one case against a small sample (Crawford and
Howell 1998), t = excess / (s sqrt(1 + 1/m)) with m - 1 degrees of freedom, s the standard
deviation between the m controls. It is one-sided, since only a positive excess can be inherited.
s holds both sources of chance, that of the clips and that between encoders: adding the
jackknife's variance would count the clips twice.

The price is power: with two controls only an excess of some 10 s is seen, so four or more are
wanted. One control has no spread and gives no p; its interval speaks of other clips, not of other
encoders. A pair that copied varies more than any control, so the interval is a little too narrow.
Tests and intervals that were tried and dropped, with their error rates: ``docs/statistics.md``,
"Excess over controls".
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from usad_workbench.core.arrays import Ids, Matrix, Vectors
from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.similarity.layers import LayerMatrix, Measure, layer_similarity
from usad_workbench.core.similarity.neighbours import DEFAULT_K
from usad_workbench.core.similarity.resampling import jackknife_limits, too_few_clusters

ControlSlot = Literal["student", "teacher"]
"""The encoder that the controls stand in for."""
MIN_CONTROLS = 2
"""One control has no spread between controls."""
SPREAD_FLOOR = 1e-9
"""Controls whose similarities differ by less are one encoder under several names."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Excess:
    """One similarity minus the mean of the controls', with what chance could do to it.

    NaN: not defined, and ``reason`` says why.
    """

    value: float
    ci_low: float
    ci_high: float
    """95%, over other encoders and other clips; with one control over other clips only."""
    p_value: float
    """One-sided, for an excess above 0."""
    p_kind: str
    clips_low: float
    clips_high: float
    """95% delete-one-cluster jackknife, joint over all encoders: these encoders, other clips."""
    observed: float
    """The similarity itself."""
    control_values: Matrix
    """That of each control `[control]`."""
    clip_error: float
    """Standard error of the excess over clips."""
    spread: float
    """What the t divides by: between controls, times sqrt(1 + 1 / m)."""
    n_clips: int
    n_clusters: int
    reason: str

    def detectable(self, alpha: float) -> float:
        """The smallest excess that would have stood out by itself, one-sided at alpha."""
        m = len(self.control_values)
        return self.spread * float(stdtrit(m - 1, 1 - alpha)) if m > 1 else math.nan

    @property
    def is_above(self) -> bool:
        """Whether the excess over these controls holds on other clips too."""
        return math.isfinite(self.clips_low) and self.clips_low > 0


def excess_over_controls(
    observed: float,
    controls: NDArray[Any],
    left_out: NDArray[Any] | None,
    controls_left_out: NDArray[Any] | None,
    *,
    n_clips: int,
    n_clusters: int,
    largest: float = 1.0,
) -> Excess:
    """The excess of any similarity, from its values and its leave-one-group-out values.

    Args:
        observed: Similarity of student and teacher.
        controls: The same with a control in place of one of them `[control]`.
        left_out: ``observed`` without each group of clusters in turn `[group]`; none if unknown.
        controls_left_out: ``controls`` without the same groups `[group, control]`.
        n_clips: Clips behind each value.
        n_clusters: Clusters behind each value.
        largest: No excess can be larger: 1 for a similarity within 0 and 1, 2 for a kappa. It
            bounds the limits too.

    Returns:
        Without p and interval where there are too few clusters or controls.

    Raises:
        DegenerateError: no control, or a value that is not finite.
        ShapeError: leave-one-out values that do not fit.

    Source: Crawford and Howell 1998 (The Clinical Neuropsychologist 12:482) for the t.

    >>> found = excess_over_controls(.5, np.array([.1, .2, .3]), None, None,
    ...     n_clips=90, n_clusters=30)
    >>> round(found.value, 3), found.reason
    (0.3, 'no interval: no leave-one-out values')
    """
    controls = _checked(observed, controls)
    value = observed - float(controls.mean())
    reason, error, low, high = too_few_clusters(n_clusters), math.nan, math.nan, math.nan
    if not reason and (left_out is None or controls_left_out is None):
        reason = "no interval: no leave-one-out values"
    if not reason and left_out is not None and controls_left_out is not None:
        replicates = _replicates(left_out, controls_left_out, len(controls))
        if np.isfinite(replicates).all():
            limits = jackknife_limits(np.asarray(value), replicates)
            low, high = float(limits[0]), float(limits[1])
            error = (high - low) / 2 / float(stdtrit(len(replicates) - 1, 0.975))
            low, high = max(low, -largest), min(high, largest)
        else:
            reason = "no interval: without one cluster too few clips are left"
    return _tested(
        observed, controls, error, (low, high), (n_clips, n_clusters), reason, largest=largest
    )


def excess_similarity(
    student: Vectors,
    teacher: Vectors,
    controls: Sequence[Vectors],
    clusters: Ids,
    *,
    slot: ControlSlot = "teacher",
    measure: Measure = "debiased_linear_cka",
    k: int = DEFAULT_K,
    seed: int = 0,
) -> Excess:
    """How much nearer student and teacher are than with a control in the place of one.

    Args:
        student: Embeddings `[clip, dim]`.
        teacher: The same clips of the teacher.
        controls: The same clips of each control.
        clusters: Cluster id of each clip.
        slot: Whose place the controls take.
        measure: Which similarity.
        k: Neighbours per clip, for ``mutual_knn``.
        seed: Of the thinning to at most 1000 clips.

    Raises:
        ShapeError: other numbers of clips, or too few.
        DegenerateError: no control, values that are not finite, an encoder without geometry.

    >>> rng = np.random.default_rng(0)
    >>> heard = rng.normal(size=(60, 8))
    >>> teacher, *controls = (heard + rng.normal(size=(60, 8)) for _ in range(5))
    >>> found = excess_similarity(teacher, teacher, controls, list(range(60)))
    >>> found.p_value < 0.01, found.p_kind
    (True, 'one case against 4 controls, t(3), one-sided')
    """
    if not controls:
        raise no_control()
    rows, columns = [student], [teacher]
    (rows if slot == "student" else columns).extend(controls)
    matrix = layer_similarity(
        rows, columns, clusters, measure=measure, k=k, n_permutations=0, seed=seed
    )
    others = range(1, 1 + len(controls))
    return excess_in(matrix, (0, 0), others, slot)


def excess_in(
    matrix: LayerMatrix, cell: tuple[int, int], controls: Sequence[int], slot: ControlSlot
) -> Excess:
    """The excess of one cell of a matrix over other cells of its column or of its row.

    Args:
        matrix: Encoders in the student's place against encoders in the teacher's.
        cell: Row of the student, column of the teacher.
        controls: Rows, or columns, of the controls.
        slot: Whose place the controls take.

    Raises:
        DegenerateError: no control, or a cell without a value.
    """
    row, column = cell
    others = list(controls)
    index: tuple[Any, Any] = (others, column) if slot == "student" else (row, others)
    left_out = matrix.jackknife_values
    return excess_over_controls(
        float(matrix.values[row, column]),
        matrix.values[index],
        None if left_out is None else left_out[:, row, column],
        None if left_out is None else left_out[:, *index],
        n_clips=matrix.n_clips,
        n_clusters=matrix.n_clusters,
    )


def difference_of_excesses(home: Excess, others: Sequence[Excess]) -> Excess:
    """Excess at home minus the mean excess elsewhere: is more inherited in the own domain?

    Every encoder is compared with itself, so what sets it apart in every domain cancels.
    Two-sided, unlike an excess: a student may have copied a teacher only elsewhere.

    Args:
        home: On clips of the teacher's home domain.
        others: On clips of other domains, with the same controls in the same order. Their
            clusters are taken as independent of the home domain's.

    Raises:
        DegenerateError: no other domain.
        ShapeError: other controls.

    >>> rng = np.random.default_rng(0)
    >>> home, away = (excess_over_controls(v, np.array([.1, .2, .15]), None, None,
    ...     n_clips=90, n_clusters=30) for v in (.5, .2))
    >>> round(difference_of_excesses(home, [away]).value, 3)
    0.3
    """
    if not others:
        raise DegenerateError(
            "There is no other domain to compare with, expected at least one. Add clips of one."
        )
    if any(len(one.control_values) != len(home.control_values) for one in others):
        raise ShapeError(
            "The domains have other numbers of controls, expected the same controls in all. "
            "Use the controls that have vectors in every domain."
        )
    n = len(others)
    observed = home.observed - sum(one.observed for one in others) / n
    away = np.mean([one.control_values for one in others], axis=0)
    error = math.sqrt(home.clip_error**2 + sum(one.clip_error**2 for one in others) / n**2)
    n_clusters = min(home.n_clusters, *(one.n_clusters for one in others))
    controls = home.control_values - away
    value = observed - float(controls.mean())
    half = float(stdtrit(n_clusters - 1, 0.975)) * error if n_clusters > 1 else math.nan
    missing = dict.fromkeys(one.reason for one in (home, *others) if math.isnan(one.clip_error))
    return _tested(
        observed,
        controls,
        error,
        (max(value - half, -2.0), min(value + half, 2.0)),
        (home.n_clips + sum(one.n_clips for one in others), n_clusters),
        "; ".join(missing),
        two_sided=True,
        largest=2.0,
    )


def no_control() -> DegenerateError:
    """The error where there is nothing to measure an excess over."""
    return DegenerateError(
        "There is no control, expected at least one that could stand in the student's or the "
        "teacher's place. Embed one, or name it with --controls."
    )


def _checked(observed: float, controls: NDArray[Any]) -> Matrix:
    controls = np.asarray(controls, dtype=np.float64)
    if controls.size == 0:
        raise no_control()
    if not (math.isfinite(observed) and np.isfinite(controls).all()):
        raise DegenerateError(
            f"The similarity is {observed} and those of the controls {controls.tolist()}, expected "
            "finite numbers: one encoder has no geometry here. Leave it out."
        )
    return controls


def _replicates(left_out: NDArray[Any], controls: NDArray[Any], n_controls: int) -> Matrix:
    """The excess without each group `[group]`."""
    if controls.shape != (len(left_out), n_controls):
        raise ShapeError(
            f"The controls' leave-one-out values have shape {controls.shape}, expected "
            f"({len(left_out)}, {n_controls}) for [group, control]. Leave out the same groups."
        )
    return np.asarray(left_out - controls.mean(axis=1), dtype=np.float64)


def _tested(
    observed: float,
    controls: Matrix,
    error: float,
    clips: tuple[float, float],
    sizes: tuple[int, int],
    reason: str,
    *,
    two_sided: bool = False,
    largest: float,
) -> Excess:
    """The t of one case against the controls, where there are enough of them and of clusters."""
    value, m = observed - float(controls.mean()), len(controls)
    low, high, p_value, kind = math.nan, math.nan, math.nan, "none"
    spread = math.nan
    if not reason and m < MIN_CONTROLS:
        low, high = clips
        kind = "none: one control"
        reason = "one control: no p, the interval is over other clips, not over other encoders"
    elif not reason and np.ptp(controls) <= SPREAD_FLOOR:
        reason = f"no p: the {m} controls cannot be told apart, as if they were one"
    elif not reason:
        spread = float(controls.std(ddof=1)) * math.sqrt(1 + 1 / m)
        half = float(stdtrit(m - 1, 0.975)) * spread
        low, high = max(value - half, -largest), min(value + half, largest)
        t = value / spread
        p_value = float(2 * stdtr(m - 1, -abs(t)) if two_sided else stdtr(m - 1, -t))
        kind = f"one case against {m} controls, t({m - 1}), {'two' if two_sided else 'one'}-sided"
    return Excess(
        value=value,
        ci_low=low,
        ci_high=high,
        p_value=p_value,
        p_kind=kind,
        clips_low=clips[0],
        clips_high=clips[1],
        observed=observed,
        control_values=controls,
        clip_error=error,
        spread=spread,
        n_clips=sizes[0],
        n_clusters=sizes[1],
        reason=reason,
    )
