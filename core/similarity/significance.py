"""Whether a number stands out from its null: levels, maxima over layer pairs, many tests at once.

One rule for every sentence and mark.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from usad_workbench.core.arrays import (
    Matrix,
)
from usad_workbench.core.errors import ShapeError

ALPHA = 0.05
"""Where nobody gives another level: that of the shipped rules."""


def is_significant(row: Mapping[str, Any], alpha: float = ALPHA) -> bool | None:
    """Whether a row of ``teacher_similarity`` stands out from its within-cluster null.

    By its q-value, or by its p-value where nobody has corrected over the panel yet. Both speak
    of the whole matrix of layer pairs, which a value above its own ``null_q95`` does not.

    Args:
        row: Of the table.
        alpha: The level.

    Returns:
        None where there was no null.

    >>> is_significant({"p_value": .03, "q_value": .2}), is_significant({"p_value": .03}), is_significant({})
    (False, True, None)
    """
    level = _level(row)
    return None if level is None else level[1] <= alpha


def describe_level(row: Mapping[str, Any]) -> str:
    """The number by which a row stands out or not; empty where there was no null.

    >>> describe_level({"p_value": .03, "q_value": .22})
    'q = 0.22'
    """
    level = _level(row)
    return "" if level is None else f"{level[0]} = {level[1]:.2g}"


def _level(row: Mapping[str, Any]) -> tuple[str, float] | None:
    for word in ("q", "p"):
        number = known_number(row.get(f"{word}_value"))
        if number is not None:
            return word, number
    return None


def known_number(value: Any) -> float | None:
    """The number, or none for what a database or pandas means by missing."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def max_statistic(draws: NDArray[np.floating[Any]]) -> tuple[Matrix, Matrix]:
    """Level and p of each pair from its draws; draw 0 is the observed one.

    Args:
        draws: `[1 + permutation, student_layer, teacher_layer]`.

    Returns:
        ``null_q95`` and ``p_value`` as the module says.

    Source: Groeger et al. 2026 for the level (order statistic with the observed value
    counted in), Westfall and Young 1993 for the maximum.

    >>> draws = np.r_[9.0, np.arange(19.0) / 10].reshape(20, 1, 1)
    >>> [float(part[0, 0]) for part in max_statistic(draws)]
    [1.8, 0.05]
    """
    draws = draws.astype(np.float64)
    n_draws = len(draws)
    level = np.sort(draws, axis=0)[math.ceil(0.95 * n_draws) - 1]
    # Mean and deviation over all draws, the observed one too, keep the test exact.
    deviation = draws.std(axis=0)
    standard = (draws - draws.mean(axis=0)) / np.where(deviation > SD_FLOOR, deviation, np.inf)
    top = standard.reshape(n_draws, -1).max(axis=1)
    # A permutation that changes nothing must count as at least the observed value.
    reached = top[:, None, None] >= standard[0] - SD_FLOOR
    return level, np.asarray(reached.mean(axis=0))


def benjamini_hochberg(p: NDArray[Any]) -> Matrix:
    """q-values of one panel: the smallest false discovery rate at which each p is kept.

    Args:
        p: p-values of any shape; NaN stays NaN and does not count as a test.

    Raises:
        ShapeError: a value outside [0, 1].

    Source: Benjamini and Hochberg 1995.

    >>> benjamini_hochberg(np.array([0.01, 0.04, np.nan, 0.03])).round(3).tolist()
    [0.03, 0.04, nan, 0.04]
    """
    p = np.asarray(p, dtype=np.float64)
    q = np.full(p.shape, np.nan)
    tested = ~np.isnan(p)
    values = p[tested]
    if np.any((values < 0) | (values > 1)):
        raise ShapeError(
            "Some p-values lie outside [0, 1], expected probabilities. Pass the p_value column."
        )
    m = len(values)
    order = np.argsort(values, kind="stable")
    steps = values[order] * m / np.arange(1, m + 1)
    stepped = np.empty(m)
    stepped[order] = np.minimum(np.minimum.accumulate(steps[::-1])[::-1], 1.0)
    q[tested] = stepped
    return q


def holm(p: NDArray[Any], weights: NDArray[Any] | None = None) -> Matrix:
    """Adjusted p-values: below 0.05 for any true null in at most 5% of all panels.

    Args:
        p: p-values `[test]`; NaN stays NaN and does not count as a test.
        weights: What each test has of the level `[test]`; equal where none. What a rejected test
            had goes to the others.

    Source: Holm 1979, with weights as in his section 4; for any dependence between the tests.

    >>> holm(np.array([0.01, 0.04, np.nan, 0.03])).round(3).tolist()
    [0.03, 0.06, nan, 0.06]
    >>> holm(np.array([0.03, 0.03]), np.array([3.0, 1.0])).round(3).tolist()
    [0.04, 0.04]
    """
    adjusted = np.full(p.shape, np.nan)
    tested = np.flatnonzero(~np.isnan(p))
    share = np.ones(len(tested)) if weights is None else np.asarray(weights)[tested]
    rank = np.argsort(p[tested] / share, kind="stable")
    order, share = tested[rank], share[rank]
    steps = p[order] / share * np.cumsum(share[::-1])[::-1]
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def family_p_values(
    p: NDArray[Any],
    families: Sequence[Hashable],
    weights: Mapping[Hashable, float] | None = None,
) -> Matrix:
    """For each test the p of its family when all families are asked.

    Simes inside a family, whose tests depend on each other positively, Holm over families: one
    where nothing is there is named in at most 5% of panels. The false discovery rate alone
    bounds only the share of wrong tests among the named.

    Args:
        p: p-values `[test]`; NaN stays NaN and does not count as a test.
        families: Which family each test belongs to.
        weights: What each family has of the level; equal where none.

    Source: Simes 1986, Holm 1979.

    >>> family_p_values(np.array([0.01, 0.04, 0.5, np.nan]), ["a", "a", "b", "b"]).tolist()
    [0.04, 0.04, 0.5, nan]
    """
    names = list(dict.fromkeys(families))
    places = np.array([names.index(one) for one in families], dtype=np.intp)
    simes = np.full(len(names), np.nan)
    for test in range(len(names)):
        q = benjamini_hochberg(p[places == test])
        if not np.isnan(q).all():
            simes[test] = np.nanmin(q)
    shares = None if weights is None else np.array([weights[name] for name in names])
    return np.where(np.isnan(p), np.nan, holm(simes, shares)[places])


SD_FLOOR = 1e-6
"""A null that varies less than this does not vary (float32)."""
