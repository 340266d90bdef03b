"""Whether a similarity stands out from its null: the one rule for every sentence and mark."""

import math
from collections.abc import Mapping
from typing import Any

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
