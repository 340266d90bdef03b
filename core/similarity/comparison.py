"""Which teacher is the student nearest to, and is it nearer than a control?

Every encoder is taken at its best layer pair. That is a maximum, too high by the luck of the best
of many: so maxima are compared with maxima. Nearness is not
inheritance: encoders trained apart on the same audio grow alike. The yardstick is the nearest
control of the same home domain as the teacher, on the same clips.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit

from usad_workbench.core.arrays import Matrix
from usad_workbench.core.errors import ShapeError
from usad_workbench.core.similarity.layers import LayerMatrix
from usad_workbench.core.similarity.resampling import (
    MAX_JACKKNIFE_GROUPS,
    Interval,
    jackknife_limits,
    pair_variance,
    too_few_clusters,
)
from usad_workbench.core.similarity.significance import (
    ALPHA,
    describe_level,
    is_significant,
    known_number,
)

MatrixKey = tuple[str, str, str, str]
"""student, encoder, domain, measure"""


@dataclass(frozen=True, kw_only=True, slots=True)
class EncoderRole:
    """What an encoder is to this student, and the audio that it was made for."""

    role: str
    """teacher, control, baseline or student."""
    domain: str | None = None
    """Home domain; none for encoders made for any audio."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BestPair:
    """An encoder at the layer pair where it is nearest to the student."""

    encoder: str
    value: float
    ci_low: float
    ci_high: float
    student_layer: int
    teacher_layer: int
    is_above_null: bool | None
    """Whether it stands out from its permutation null; None if untested."""
    describe_level: str
    """The q-value or p-value that says so."""
    n_pairs: int
    """The maximum is over this many layer pairs."""
    n_clips: int
    n_clusters: int

    @property
    def has_interval(self) -> bool:
        """Whether both limits are known."""
        return math.isfinite(self.ci_low) and math.isfinite(self.ci_high)


@dataclass(frozen=True, kw_only=True, slots=True)
class NearestTeacher:
    """The nearest teacher of one student on the clips of one domain, beside the controls."""

    student: str
    domain: str
    measure: str
    teacher: BestPair | None
    """None where no teacher has a value here."""
    home: str | None
    """Home domain of that teacher; None where it was made for any audio, or there is none."""
    control: BestPair | None
    """The nearest control of the teacher's home domain; None where there is none."""
    baseline: BestPair | None
    """The nearest baseline, if any."""
    difference: Interval | None
    """Teacher's maximum minus control's; its interval from the joint jackknife, if known."""
    is_above_null: bool | None
    """Whether the teacher's value stands out from its permutation null; None if untested."""
    do_intervals_overlap: bool | None
    """Whether the intervals of teacher and control overlap; None where one has no interval."""
    is_nearer_than_control: bool | None
    """Decided by the interval of the difference at 1 - alpha, else by separate ones at 95%; None
    without both."""


def nearest_teachers(
    rows: Any,
    encoders: Mapping[str, EncoderRole],
    matrices: Mapping[MatrixKey, LayerMatrix] | None = None,
    alpha: float = ALPHA,
) -> list[NearestTeacher]:
    """For every student, domain and measure: the nearest teacher, beside the controls.

    Args:
        rows: The table ``teacher_similarity``, as a pandas DataFrame or as mappings; the
            column ``teacher`` names controls and baselines too.
        encoders: Role and home domain of each encoder; those not named are left out. Roles
            are this student's: another student's teacher may be this one's control.
        matrices: Where given, the joint interval of the difference is made from them.
        alpha: Level at which a similarity stands out, and a teacher is nearer than a control.

    Returns:
        One entry for each combination, in the order of the table.

    >>> table = [dict(student="s", student_layer=1, teacher=t, teacher_layer=2, domain="speech",
    ...     measure="debiased_linear_cka", value=v, ci_low=v - .05, ci_high=v + .05,
    ...     p_value=.01, n_clips=90, n_clusters=9) for t, v in [("t", .62), ("c", .60)]]
    >>> known = {"t": EncoderRole(role="teacher", domain="speech"),
    ...     "c": EncoderRole(role="control", domain="speech")}
    >>> found = nearest_teachers(table, known)[0]
    >>> found.teacher.encoder, found.control.encoder, found.is_nearer_than_control
    ('t', 'c', False)
    """
    groups: dict[tuple[str, str, str], dict[str, list[Mapping[str, Any]]]] = {}
    for row in _records(rows):
        key = (str(row["student"]), str(row["domain"]), str(row["measure"]))
        groups.setdefault(key, {}).setdefault(str(row["teacher"]), []).append(row)
    found = []
    for key, per_encoder in groups.items():
        best = {}
        for name, entries in per_encoder.items():
            pair = _best_pair(name, entries, alpha)
            if name in encoders and pair is not None:
                best[name] = pair
        found.append(_compare(key, best, encoders, matrices or {}, alpha))
    return found


def jackknife_difference(teacher: LayerMatrix, control: LayerMatrix) -> Interval:
    """Best value of one encoder minus best value of another, leaving out the same clusters.

    Both maxima are taken anew without each cluster, so that the choice of the layer pair is
    part of the interval, and what both share cancels.

    Args:
        teacher: Student against teacher.
        control: Student against control, the same clips, clusters and seed.

    Raises:
        ShapeError: another measure or other clips.

    Source: delete-group jackknife (Efron and Tibshirani 1993, ch. 11), joint over encoders.
    """
    sides = [(m.measure, m.n_clips, m.n_clusters) for m in (teacher, control)]
    if sides[0] != sides[1]:
        raise ShapeError(
            f"One matrix is {sides[0]}, the other {sides[1]} (measure, clips, clusters), expected "
            "the same. Compute both on the clips that all encoders have."
        )
    value = _maximum(teacher.values) - _maximum(control.values)
    n_clusters = teacher.n_clusters
    if teacher.jackknife_values is None or control.jackknife_values is None:
        reason = too_few_clusters(n_clusters) or "no interval: no leave-one-out values"
        return Interval(
            value=float(value),
            ci_low=math.nan,
            ci_high=math.nan,
            n_clusters=n_clusters,
            reason=reason,
        )
    left_out = _maximum(teacher.jackknife_values) - _maximum(control.jackknife_values)
    low, high = jackknife_limits(
        np.asarray(value), left_out, largest=1.0, of_pairs=difference_of_pairs(teacher, control)
    )
    reason = "" if np.isfinite(low) else "no interval: without one cluster too few clips are left"
    return Interval(
        value=float(value),
        ci_low=float(low),
        ci_high=float(high),
        n_clusters=n_clusters,
        reason=reason,
    )


def difference_of_pairs(first: LayerMatrix, second: LayerMatrix) -> float:
    """The variance that pairs of clusters add to the difference of the best values; 0 if unknown.

    The pairs of layers are taken as chosen: that another one might be is in the jackknife.
    """
    a, b = first.best_pair_parts, second.best_pair_parts
    return 0.0 if a is None or b is None else float(pair_variance(a - b))


def _maximum(values: Matrix) -> Matrix:
    """The maximum over layer pairs, NaN only where every pair is."""
    top = np.where(np.isnan(values), -np.inf, values).max(axis=(-2, -1))
    return np.where(np.isinf(top), np.nan, top)


def _records(rows: Any) -> Iterable[Mapping[str, Any]]:
    if hasattr(rows, "to_dict"):
        rows = rows.to_dict("records")
    return [row for row in rows if known_number(row["value"]) is not None]


def _best_pair(name: str, entries: list[Mapping[str, Any]], alpha: float) -> BestPair | None:
    best = max(entries, key=lambda row: float(row["value"]))

    def column(key: str) -> float:
        number = known_number(best.get(key))
        return math.nan if number is None else number

    return BestPair(
        encoder=name,
        value=float(best["value"]),
        ci_low=column("ci_low"),
        ci_high=column("ci_high"),
        student_layer=int(best["student_layer"]),
        teacher_layer=int(best["teacher_layer"]),
        is_above_null=is_significant(best, alpha),
        describe_level=describe_level(best),
        n_pairs=len(entries),
        n_clips=int(best["n_clips"]),
        n_clusters=int(best["n_clusters"]),
    )


def _compare(
    key: tuple[str, str, str],
    best: dict[str, BestPair],
    encoders: Mapping[str, EncoderRole],
    matrices: Mapping[MatrixKey, LayerMatrix],
    alpha: float,
) -> NearestTeacher:
    student, domain, measure = key
    teacher = _nearest(best, encoders, "teacher")
    home = encoders[teacher.encoder].domain if teacher else None
    control = _nearest(best, encoders, "control", home) if teacher else None
    baseline = _nearest(best, encoders, "baseline")
    difference = _difference(key, teacher, control, matrices)
    overlap = _overlap(teacher, control)
    is_nearer = _is_nearer(teacher, control, difference, overlap, alpha)
    found = NearestTeacher(
        student=student,
        domain=domain,
        measure=measure,
        teacher=teacher,
        control=control,
        baseline=baseline,
        difference=difference,
        is_above_null=teacher.is_above_null if teacher else None,
        do_intervals_overlap=overlap,
        is_nearer_than_control=is_nearer,
        home=home,
    )
    return found


_ANY_DOMAIN = object()


def _nearest(
    best: dict[str, BestPair],
    encoders: Mapping[str, EncoderRole],
    role: str,
    home: object = _ANY_DOMAIN,
) -> BestPair | None:
    pairs = [
        pair
        for name, pair in sorted(best.items())
        if encoders[name].role == role and home in (_ANY_DOMAIN, encoders[name].domain)
    ]
    return max(pairs, key=lambda pair: pair.value, default=None)


def _difference(
    key: tuple[str, str, str],
    teacher: BestPair | None,
    control: BestPair | None,
    matrices: Mapping[MatrixKey, LayerMatrix],
) -> Interval | None:
    if teacher is None or control is None:
        return None
    student, domain, measure = key
    sides = [matrices.get((student, e.encoder, domain, measure)) for e in (teacher, control)]
    if sides[0] is not None and sides[1] is not None:
        return jackknife_difference(sides[0], sides[1])
    return Interval(
        value=teacher.value - control.value,
        ci_low=math.nan,
        ci_high=math.nan,
        n_clusters=min(teacher.n_clusters, control.n_clusters),
        reason="no interval: the leave-one-out values of both encoders are needed",
    )


def _overlap(teacher: BestPair | None, control: BestPair | None) -> bool | None:
    if teacher is None or control is None:
        return None
    if not (teacher.has_interval and control.has_interval):
        return None
    return teacher.ci_low <= control.ci_high and control.ci_low <= teacher.ci_high


def _is_nearer(
    teacher: BestPair | None,
    control: BestPair | None,
    difference: Interval | None,
    overlap: bool | None,
    alpha: float,
) -> bool | None:
    if teacher is None or control is None:
        return None
    if difference is not None and math.isfinite(difference.ci_low):
        return _lower_limit(difference, alpha) > 0
    if overlap is None:
        return None
    return not overlap and teacher.value > control.value


def _lower_limit(difference: Interval, alpha: float) -> float:
    """The lower limit at 1 - alpha, from that at 95%."""
    df = min(difference.n_clusters, MAX_JACKKNIFE_GROUPS) - 1
    reach = float(stdtrit(df, 1 - alpha / 2) / stdtrit(df, 0.975))
    return difference.value - reach * (difference.value - difference.ci_low)
