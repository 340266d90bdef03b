"""Excess over controls: one value beyond what controls in its place show.

Used for mistakes in common (``bias.error_consistency``); similarity has peers and placebos at once
(``placebo_excess``). If nothing was copied, the observed pair is one more draw among the controls'
pairs, and the test asks whether it stands out from them: one case against a small sample (Crawford
and Howell 1998), t = excess / (s sqrt(1 + 1/m)) with m - 1 degrees of freedom, s the standard
deviation between the m controls. It is one-sided, since only a positive excess can be copied. s
holds both sources of chance, that of the clips and that between encoders: adding the jackknife's
variance would count the clips twice.

The price is power: with two controls only an excess of some 10 s is seen, so four or more are
wanted. One control has no spread and gives no p; its interval speaks of other clips, not of other
encoders. A pair that copied varies more than any control, so the interval is a little too narrow.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from usad_workbench.core.arrays import Matrix
from usad_workbench.core.errors import DegenerateError, ShapeError
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
        p_value = float(stdtr(m - 1, -t))
        kind = f"one case against {m} controls, t({m - 1}), one-sided"
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
