"""One student, or a router before specialists: systems made from others, and their regret.

Pure functions on embeddings and predictions. The router that knows the domain and picks its
specialist on validation is a system; the one that takes whichever specialist is right on
each clip is none: three specialists that guess reach 0.27 that way at a chance of 0.10.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit
from scipy.stats import binomtest

from usad_workbench.core.arrays import Indices, Matrix, Vectors
from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.probes.blocks import as_blocks
from usad_workbench.core.similarity.resampling import Interval

PART_CLIPS = 5000
"""Clips whose vectors are float64 at one time: 5,000 of 2,304 dims take 92 MB."""
MARGIN = 0.01
"""Differences below one point do not matter; fixed before any number was looked at."""
ALPHA = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class Equivalence:
    """A difference against a margin that does not matter. NaN: no interval to test with."""

    verdict: str
    """``equivalent``, ``better``, ``not worse``, ``worse`` or ``undecided``."""
    p_not_worse: float
    """One-sided: that the difference lies above minus the margin."""
    p_equivalent: float
    """The larger of the two one-sided tests (TOST)."""


def pca_mixture(blocks: Sequence[Vectors], width: int) -> Matrix:
    """The teachers side by side, cut to the student's width: what a mere mixture would be.

    Each block is centred and scaled to equal mean square length, then all are projected on the first
    principal axes of these clips. No label is looked at; the clips are, as a student that
    trains on unlabelled audio looks at audio.

    Args:
        blocks: Embeddings `[clip, dim]` of each teacher.
        width: Dims of the student.

    Returns:
        `[clip, axis]`; fewer axes than asked where the rank is lower.

    Raises:
        ShapeError: blocks of other numbers of clips, or no width.
        DegenerateError: values that are not finite, or all rows equal.

    >>> x = np.random.default_rng(0).normal(size=(50, 6))
    >>> pca_mixture([x, 100 * x[:, :3]], 4).shape
    (50, 4)
    """
    if width < 1:
        raise ShapeError(f"The width is {width}, expected at least 1. Pass the student's dims.")
    side_by_side = _SideBySide(as_blocks(list(blocks)))
    # The smaller of the two square matrices has the same axes.
    if side_by_side.n_dims <= side_by_side.n_clips:
        squares, axes = np.linalg.eigh(
            reduce(np.add, (part.T @ part for part in side_by_side.parts()))
        )
        kept = _kept_axes(squares, width)
        mixture = np.empty((side_by_side.n_clips, len(kept)))
        start = 0
        for part in side_by_side.parts():
            mixture[start : start + len(part)] = (part @ axes)[:, kept]
            start += len(part)
        return mixture
    joint = np.vstack(list(side_by_side.parts()))
    squares, sides = np.linalg.eigh(joint @ joint.T)
    kept = _kept_axes(squares, width)
    return np.asarray((sides * np.sqrt(np.maximum(squares, 0.0)))[:, kept])


def _kept_axes(squares: Matrix, width: int) -> Indices:
    """The axes with the largest squares that are no rounding, largest first."""
    if squares[-1] <= 0:
        raise DegenerateError(
            "All rows of the mixture are equal, expected embeddings that differ. Choose other "
            "layers or clips."
        )
    return np.flatnonzero(squares > 1e-10 * squares[-1])[::-1][:width]


class _SideBySide:
    """Blocks centred, scaled to equal mean square length and put side by side, some clips at a time.

    So no float64 array of all clips and dims exists. A single block keeps its scale.
    """

    def __init__(self, blocks: Sequence[Vectors]) -> None:
        self.n_clips, self.n_dims = len(blocks[0]), sum(block.shape[1] for block in blocks)
        self._blocks = blocks
        self._means = [
            reduce(np.add, (x.sum(axis=0, dtype=np.float64) for x in _parts(block))) / self.n_clips
            for block in blocks
        ]
        self._scales = [1.0]
        if len(blocks) > 1:
            self._scales = [
                _length(block, mean) for block, mean in zip(blocks, self._means, strict=True)
            ]

    def parts(self) -> Iterator[Matrix]:
        """The clips in their order, `[clip, dim]` of at most ``PART_CLIPS`` at a time."""
        for of_blocks in zip(*(_parts(block) for block in self._blocks), strict=True):
            centred = [
                (x - mean) / scale
                for x, mean, scale in zip(of_blocks, self._means, self._scales, strict=True)
            ]
            yield np.hstack(centred) / np.sqrt(len(centred))


def _parts(block: Vectors) -> Iterator[Vectors]:
    return (block[start : start + PART_CLIPS] for start in range(0, len(block), PART_CLIPS))


def _length(block: Vectors, mean: Matrix) -> float:
    """Root of the mean square length about the mean; 1 where all rows are equal."""
    squares = [np.sum((x - mean) ** 2, axis=1) for x in _parts(block)]
    return float(np.sqrt(np.mean(np.concatenate(squares)))) or 1.0


def routed(predictions: Mapping[str, NDArray[Any]], routes: NDArray[Any]) -> NDArray[Any]:
    """Each clip's prediction by the specialist it was sent to.

    Args:
        predictions: Of each specialist, `[seed, clip]`.
        routes: Name of a specialist, `[clip]` or `[seed, clip]`.

    Raises:
        ShapeError: a route to nobody, or other numbers of clips.

    >>> routed({"a": np.array([[1, 1]]), "b": np.array([[2, 2]])}, np.array(["b", "a"])).tolist()
    [[2, 1]]
    """
    names = list(predictions)
    table = np.stack([np.atleast_2d(predictions[name]) for name in names])
    unknown = sorted(set(np.unique(routes).tolist()) - set(names))
    if unknown or table.shape[2] != np.shape(routes)[-1]:
        raise ShapeError(
            f"There are routes to {unknown or names} of {np.shape(routes)[-1]} clips, expected "
            f"specialists among {names} and {table.shape[2]} clips. Evaluate all specialists."
        )
    specialist = np.zeros(np.shape(routes), dtype=np.intp)
    for number, name in enumerate(names):
        specialist[routes == name] = number
    chosen = np.broadcast_to(specialist, table.shape[1:])
    return np.asarray(np.take_along_axis(table, chosen[None], axis=0)[0])


def best_on_validation(
    validation: Mapping[str, NDArray[Any]], folds: NDArray[Any]
) -> NDArray[np.object_]:
    """The specialist with the best validation score of the fold that tests each clip.

    Args:
        validation: Score of each specialist on folds within the training part `[seed, fold]`.
        folds: The fold in which each clip is tested `[seed, clip]`.

    Returns:
        Names `[seed, clip]`; ties go to the first.

    >>> scores = {"a": np.array([[0.1, 0.9]]), "b": np.array([[0.5, 0.5]])}
    >>> best_on_validation(scores, np.array([[0, 1, 1]])).tolist()
    [['b', 'a', 'a']]
    """
    names = np.array(list(validation), dtype=object)
    scores = np.stack([np.asarray(validation[name], dtype=np.float64) for name in names])
    best = np.argmax(np.where(np.isfinite(scores), np.round(scores, 12), -np.inf), axis=0)
    return np.asarray(names[np.take_along_axis(best, np.asarray(folds), axis=1)])


def break_even_accuracy(student: float, specialist: float, off_domain: float) -> float:
    """How often a router must be right to be as good as the student, rho*.

    (student - off_domain) / (specialist - off_domain), within 0 and 1 as an accuracy is: at 1
    no router is good enough, at 0 any is. NaN where the specialist is no better than the others.

    Args:
        student: Accuracy of the student.
        specialist: Of the domain's specialist.
        off_domain: Mean of the specialists that a wrong route leads to.

    >>> break_even_accuracy(0.8, 0.9, 0.4), break_even_accuracy(0.3, 0.9, 0.4)
    (0.8, 0.0)
    """
    if not specialist > off_domain:
        return math.nan
    needed = (student - off_domain) / (specialist - off_domain)
    return min(max(needed, 0.0), 1.0)


def mcnemar_p_value(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Exact two-sided McNemar test of two right-or-wrong vectors `[clip]`.

    It takes clips as independent: where clusters hold several, the interval of the paired
    difference is what counts. 1 where they never differ.

    Raises:
        ShapeError: other numbers of clips.

    Source: McNemar 1947; equal to statsmodels ``mcnemar(exact=True)``.

    >>> mcnemar_p_value(np.array([1, 1, 1, 0]), np.array([0, 0, 0, 0]))
    0.25
    """
    first, second = np.asarray(a, dtype=bool), np.asarray(b, dtype=bool)
    if first.shape != second.shape or first.ndim != 1:
        raise ShapeError(
            f"The two have shape {first.shape} and {second.shape}, expected the same clips. "
            "Compare two systems on one task."
        )
    n_first, n_second = int(np.sum(first & ~second)), int(np.sum(second & ~first))
    if n_first + n_second == 0:
        return 1.0
    return float(binomtest(n_first, n_first + n_second, 0.5).pvalue)


def equivalence(difference: Interval, margin: float = MARGIN, alpha: float = ALPHA) -> Equivalence:
    """What an interval says against a margin: two one-sided tests.

    Args:
        difference: Student minus another system, with its 95% interval over clusters.
        margin: What does not matter.
        alpha: Level of each one-sided test.

    Source: Schuirmann 1987 (two one-sided tests); the standard error is read from the
    interval, t has clusters - 1 degrees of freedom.

    >>> found = equivalence(Interval(value=0., ci_low=-.002, ci_high=.002, n_clusters=50))
    >>> found.verdict
    'equivalent'
    """
    value, df = difference.value, difference.n_clusters - 1
    if not (math.isfinite(difference.ci_low) and math.isfinite(difference.ci_high)):
        return Equivalence(verdict="undecided", p_not_worse=math.nan, p_equivalent=math.nan)
    error = (difference.ci_high - difference.ci_low) / (2 * float(stdtrit(df, 0.975)))
    not_worse = _upper_tail(value + margin, error, df)
    not_better = _upper_tail(margin - value, error, df)
    verdict = "undecided"
    if max(not_worse, not_better) <= alpha:
        verdict = "equivalent"
    elif _upper_tail(value - margin, error, df) <= alpha:
        verdict = "better"
    elif _upper_tail(-margin - value, error, df) <= alpha:
        verdict = "worse"
    elif not_worse <= alpha:
        verdict = "not worse"
    return Equivalence(
        verdict=verdict, p_not_worse=not_worse, p_equivalent=max(not_worse, not_better)
    )


def _upper_tail(distance: float, error: float, df: int) -> float:
    """P(T >= distance / error); where nothing varies, 0 or 1."""
    if error <= 0:
        return 0.0 if distance > 0 else 1.0
    return float(stdtr(df, -distance / error))


def pareto_front(costs: Sequence[float], values: Sequence[float]) -> list[bool]:
    """Which systems nobody beats: none costs no more and is worth more, or less for as much.

    A system without a cost or a value is not on the front.

    >>> pareto_front([1, 2, 2, 3], [0.5, 0.7, 0.6, 0.7])
    [True, True, False, False]
    """
    points = list(zip(costs, values, strict=True))
    finite = [(c, v) for c, v in points if math.isfinite(c) and math.isfinite(v)]

    def beaten(cost: float, value: float) -> bool:
        return any(c <= cost and v >= value and (c, v) != (cost, value) for c, v in finite)

    return [(c, v) in finite and not beaten(c, v) for c, v in points]


def any_right_share(right: Sequence[NDArray[Any]]) -> float:
    """Share of clips on which any specialist is right: headroom, not a system.

    >>> any_right_share([np.array([True, False]), np.array([False, False])])
    0.5
    """
    return float(np.mean(np.any(np.stack([np.asarray(one, bool) for one in right]), axis=0)))
