"""Layers that say nothing: every clip has the same vector, or the same direction.

No similarity, probe or map is defined on them. Stored vectors are float32, so a spread at the
rounding of such numbers is none.
"""

import numpy as np
import numpy.typing as npt

from usad_workbench.core.arrays import Vectors

ROUNDING = 1e-6
"""Spread of unit vectors, root mean square, that is the rounding of float32 and no geometry."""

SAMPLE = 1000
"""Vectors that are looked at first: of a million that differ no copy is made."""


def describe_collapse(x: Vectors) -> str:
    """In what way all these vectors are one; empty where they differ.

    Args:
        x: Finite vectors `[clip, dim]`.

    >>> describe_collapse(np.ones((9, 4))), describe_collapse(np.outer(np.arange(1, 9), [3.0, 4.0]))
    ('have one and the same vector', 'point in one direction')
    >>> describe_collapse(np.eye(4))
    ''
    """
    if len(x) > SAMPLE and not describe_collapse(x[:: len(x) // SAMPLE][:SAMPLE]):
        return ""  # what differs in a part differs in the whole
    array = np.asarray(x, dtype=np.float64)
    largest = float(np.abs(array).max(initial=0.0))
    if len(array) < 2 or not np.isfinite(largest):
        return ""
    if largest == 0.0 or _spread(array / largest) <= ROUNDING:
        return "have one and the same vector"
    lengths = np.linalg.norm(array, axis=1, keepdims=True)
    unit = np.divide(array, lengths, out=np.zeros_like(array), where=lengths > 0)
    return "point in one direction" if _spread(unit) <= ROUNDING else ""


def _spread(x: npt.NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean((x - x.mean(axis=0)) ** 2)))
