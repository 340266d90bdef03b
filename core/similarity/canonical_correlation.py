"""Canonical correlations: which directions two embeddings share up to any linear map.

Invariant to every invertible map, so with few clips any two embeddings agree: unrelated ones
of 40 dims have a mean correlation of .76, .32 and .10 at 60, 300 and 3000 clips. A result
with fewer than 20 clips per dim carries a warning.
"""

from dataclasses import dataclass

import numpy as np

from usad_workbench.core.arrays import Matrix, Vectors, centred_unit, check_aligned
from usad_workbench.core.errors import ShapeError

CLIPS_PER_DIM = 20
"""Fewer clips per dim: correlations are mostly chance."""
RANK_FLOOR = 1e-10
"""Singular values below this share of the largest are rounding."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CanonicalCorrelation:
    """A mean of canonical correlations."""

    value: float
    """In [0, 1]."""
    correlations: Matrix
    """Largest first."""
    n_dims: tuple[int, int]
    """Directions that were kept of each side."""
    warning: str
    """Why the value cannot be trusted; empty where it can."""


def svcca(x: Vectors, y: Vectors, kept_variance: float = 0.99) -> CanonicalCorrelation:
    """Mean canonical correlation of the principal directions of two embeddings.

    Args:
        x: Embeddings `[clip, dim]` of one encoder's layer.
        y: Embeddings `[clip, dim]` of another, the same clips in the same order.
        kept_variance: Share of the variance whose principal directions are kept.

    Raises:
        ShapeError: other numbers of clips, or a share outside (0, 1].
        DegenerateError: values that are not finite, or all clips of one side equal.

    Source: Raghu et al. 2017 (arXiv:1706.05806).

    >>> x = np.random.default_rng(0).normal(size=(100, 4))
    >>> round(svcca(x, x @ np.diag([1.0, 2.0, 3.0, 4.0]), 1.0).value, 6)
    1.0
    """
    if not 0 < kept_variance <= 1:
        raise ShapeError(
            f"kept_variance is {kept_variance}, expected a share above 0 and at most 1. Use 0.99."
        )
    a, b, n_clips = *_sides(x, y, kept_variance), len(x)
    correlations = np.clip(np.linalg.svd(a.T @ b, compute_uv=False), 0.0, 1.0)
    return _result(float(correlations.mean()), correlations, a, b, n_clips)


def pwcca(x: Vectors, y: Vectors) -> CanonicalCorrelation:
    """Canonical correlations weighted by how much of ``x`` each direction carries.

    Not symmetric. All directions are kept.

    Args:
        x: Embeddings `[clip, dim]` whose directions weigh.
        y: Embeddings `[clip, dim]` of another, the same clips in the same order.

    Raises:
        ShapeError: other numbers of clips.
        DegenerateError: values that are not finite, or all clips of one side equal.

    Source: Morcos et al. 2018 (arXiv:1806.05759), eq. 2 (weights: sums of absolute inner
    products of the canonical variables with the dims of ``x``).

    >>> x = np.random.default_rng(0).normal(size=(100, 4))
    >>> round(pwcca(x, x[:, ::-1]).value, 6)
    1.0
    """
    a, b = _sides(x, y, 1.0)
    left, correlations, _ = np.linalg.svd(a.T @ b, full_matrices=False)
    correlations = np.clip(correlations, 0.0, 1.0)
    # float64 and one scale, as the sides have them: the weights are shares, scale cancels.
    centred = centred_unit(np.asarray(x, dtype=np.float64), "x")
    weights = np.abs((a @ left).T @ centred).sum(axis=1)
    value = float(weights @ correlations / weights.sum())
    return _result(value, correlations, a, b, len(centred))


def _sides(x: Vectors, y: Vectors, kept_variance: float) -> tuple[Matrix, Matrix]:
    x, y = check_aligned(x, y, min_clips=3)
    return _whitened(centred_unit(x, "x"), kept_variance), _whitened(
        centred_unit(y, "y"), kept_variance
    )


def _whitened(x: Matrix, kept_variance: float) -> Matrix:
    """Orthonormal principal components `[clip, kept]`."""
    left, sizes, _ = np.linalg.svd(x, full_matrices=False)
    shares = np.cumsum(sizes**2) / np.sum(sizes**2)
    n_kept = int(np.searchsorted(shares, kept_variance * (1 - 1e-12))) + 1
    n_kept = min(n_kept, int(np.sum(sizes > RANK_FLOOR * sizes[0])))
    return np.asarray(left[:, :n_kept])


def _result(
    value: float, correlations: Matrix, a: Matrix, b: Matrix, n_clips: int
) -> CanonicalCorrelation:
    dims = (a.shape[1], b.shape[1])
    warning = ""
    if n_clips < CLIPS_PER_DIM * max(dims):
        warning = (
            f"{n_clips} clips for {max(dims)} directions, fewer than {CLIPS_PER_DIM} each: "
            "correlations this high arise by chance"
        )
    return CanonicalCorrelation(
        value=value, correlations=correlations, n_dims=dims, warning=warning
    )
