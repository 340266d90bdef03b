"""GULP: how differently can ridge regression predict from two embeddings?"""

import math

import numpy as np

from usad_workbench.core.arrays import Matrix, Vectors, centred_unit, check_aligned
from usad_workbench.core.errors import DegenerateError, ShapeError

PENALTIES = (1e-3, 1e-1, 1.0)
"""Shares of the mean eigenvalue: weak, middle and strong ridge."""
CONDITION_CEILING = 1e12
"""A covariance worse than this cannot be inverted without a penalty."""


def gulp_distance(x: Vectors, y: Vectors, penalty: float = 1e-1) -> float:
    """Worst root mean squared difference between ridge predictions from two embeddings.

    Over all targets of unit norm, on these clips. Each side is centred and scaled to unit
    mean square per dim, which makes ``penalty`` a share of its mean eigenvalue.

    Args:
        x: Embeddings `[clip, dim]` of one encoder's layer.
        y: Embeddings `[clip, dim]` of another, the same clips in the same order.
        penalty: Ridge penalty as a share of the mean eigenvalue.

    Returns:
        0 where every ridge predictor agrees; grows with the dims that do not.

    Raises:
        ShapeError: other numbers of clips, or a negative penalty.
        DegenerateError: values that are not finite, all clips of one side equal, or no
            penalty and a covariance without an inverse.

    Source: Boix-Adsera et al. 2022 (arXiv:2210.06545), eq. 4 with both penalties equal.

    >>> x = np.random.default_rng(0).normal(size=(50, 4))
    >>> round(gulp_distance(x, x[:, ::-1]), 6)
    0.0
    """
    x, y = check_aligned(x, y, min_clips=2)
    if penalty < 0:
        raise ShapeError(f"penalty is {penalty}, expected 0 or more. Use one of {PENALTIES}.")
    x, y = centred_unit(x, "x"), centred_unit(y, "y")
    n = len(x)
    # Of two kernels over clips: same number as with the covariances over dims.
    a, b = _smoother(x, penalty, "x"), _smoother(y, penalty, "y")
    squares = float(np.sum(a[0] ** 2) + np.sum(b[0] ** 2))
    cross = (a[1].T @ b[1]) ** 2 * a[0][:, None] * b[0][None, :]
    squared = squares - 2 * float(cross.sum())
    # What is left of equal sides is rounding.
    return math.sqrt(squared) if squared > 1e-12 * n else 0.0


def _smoother(x: Matrix, penalty: float, name: str) -> tuple[Matrix, Matrix]:
    """Shrinkage of each principal direction `[direction]` and its clips `[clip, direction]`."""
    left, sizes, _ = np.linalg.svd(x, full_matrices=False)
    eigenvalues = sizes**2 / len(x)
    if penalty == 0 and (
        len(x) <= x.shape[1] or eigenvalues[0] > CONDITION_CEILING * eigenvalues[-1]
    ):
        raise DegenerateError(
            f"The covariance of {name} has no inverse ({len(x)} clips, {x.shape[1]} dims), expected "
            "a penalty above 0 or more clips than dims. Use a penalty."
        )
    return eigenvalues / (eigenvalues + penalty), left
