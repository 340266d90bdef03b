"""Debiased linear CKA: how alike two geometries of the same clips are.

The biased estimator gives about d / (n + d) for independent encoders, so 0.8 at 200
clips and 768 dims; a domain or subgroup rarely has more. Only the debiased one is here.
"""

import math

import numpy as np

from usad_workbench.core.arrays import Matrix, Vectors, centred_unit, check_aligned
from usad_workbench.core.errors import DegenerateError, ShapeError

MIN_CLIPS = 4
"""The estimator divides by n (n - 3)."""
NORM_FLOOR = 1e-12
"""HSIC_1 of an encoder with itself below this share of its Gram matrix is rounding."""


def debiased_linear_cka(x: Vectors, y: Vectors) -> float:
    """Debiased linear centred kernel alignment of two embeddings of the same clips.

    0 for unrelated geometries (a little negative by chance: shown as it is), 1 for the
    same up to rotation and scale. Exact in O(clips × dim × dim), no clips × clips matrix.
    Dominated by the dims with the largest variance. Similar is not inherited: two
    encoders trained apart on the same audio are similar too.

    Args:
        x: Embeddings `[clip, dim]` of one encoder's layer.
        y: Embeddings `[clip, dim]` of another, the same clips in the same order.

    Returns:
        A value without unit, at most 1.

    Raises:
        ShapeError: other numbers of clips, or fewer than 4.
        DegenerateError: values that are not finite, or all clips of one side equally far
            from each other.

    Source: Song et al. 2012 eq. 5 for HSIC_1, Kornblith et al. 2019 for the ratio;
    the feature form follows from K1 = 0 for the centred linear kernel.

    >>> x = np.random.default_rng(0).normal(size=(50, 8))
    >>> round(debiased_linear_cka(x, 3 * x[:, ::-1]), 6)
    1.0
    """
    x, y = check_aligned(x, y, MIN_CLIPS)
    x, y = centred_unit(x, "x"), centred_unit(y, "y")
    norms = _self_hsic1(x, "x"), _self_hsic1(y, "y")
    return _hsic1(x, y) / math.sqrt(norms[0] * norms[1])


def _hsic1(x: Matrix, y: Matrix) -> float:
    """HSIC_1 of centred embeddings; there K~1 = -diag(K), hence no Gram matrix."""
    n = len(x)
    a, b = np.einsum("ij,ij->i", x, x), np.einsum("ij,ij->i", y, y)
    ab = float(a @ b)
    cross = float(np.sum((x.T @ y) ** 2))
    total = cross - ab + float(a.sum() * b.sum()) / ((n - 1) * (n - 2)) - 2 * ab / (n - 2)
    return total / (n * (n - 3))


def _self_hsic1(x: Matrix, name: str) -> float:
    value = _hsic1(x, x)
    n = len(x)
    if value <= NORM_FLOOR * float(np.sum((x.T @ x) ** 2)) / (n * (n - 3)):
        raise equidistant(n, name)
    return value


def equidistant(n_clips: int, name: str) -> DegenerateError:
    """The error for embeddings whose U-centred Gram matrix vanishes."""
    return DegenerateError(
        f"All {n_clips} clips of {name} are equally far from each other, expected some nearer "
        "than others: the debiased alignment is undefined. Leave this layer out or add clips."
    )


def u_centre(gram: Matrix) -> Matrix:
    """The U-centred Gram matrix `[clip, clip]`: zero diagonal, every row sums to 0.

    Permuting the clips of a U-centred matrix is indexing it.

    Args:
        gram: A symmetric Gram or distance matrix `[clip, clip]`.

    Raises:
        ShapeError: not square, or fewer than 4 clips.

    Source: Székely and Rizzo 2014, definition 2.

    >>> centred = u_centre(np.diag([1.0, 2.0, 3.0, 4.0, 5.0]) + 1)
    >>> float(np.abs(centred).max()) < 1e-12
    True
    """
    gram = np.asarray(gram, dtype=np.float64)
    if gram.ndim != 2 or gram.shape[0] != gram.shape[1] or len(gram) < MIN_CLIPS:
        raise ShapeError(
            f"The Gram matrix has shape {gram.shape}, expected [clip, clip] with at least "
            f"{MIN_CLIPS} clips. Pass x @ x.T of a larger selection."
        )
    n = len(gram)
    hollow = gram.copy()
    np.fill_diagonal(hollow, 0.0)
    means = hollow.sum(axis=1) / (n - 2)
    means -= means.sum() / (2 * (n - 1))
    hollow -= means[:, None] + means[None, :]
    np.fill_diagonal(hollow, 0.0)
    return hollow


def hsic1_gram(gram_x: Matrix, gram_y: Matrix) -> float:
    """HSIC_1, the unbiased dependence of two kernels, from their Gram matrices.

    Args:
        gram_x: Gram matrix `[clip, clip]` of one side.
        gram_y: Gram matrix of the other, the same clips in the same order.

    Raises:
        ShapeError: matrices that are not square, of other sizes, or with under 4 clips.

    Source: Song et al. 2012 eq. 5, as the inner product of U-centred matrices.

    >>> x = np.arange(12.0).reshape(6, 2) ** 2
    >>> round(hsic1_gram(x @ x.T, np.ones((6, 6))), 9)
    0.0
    """
    x, y = u_centre(gram_x), u_centre(gram_y)
    if x.shape != y.shape:
        raise ShapeError(
            f"The Gram matrices have shapes {x.shape} and {y.shape}, expected the same clips "
            "on both sides. Select the clips that both encoders have."
        )
    n = len(x)
    return float(np.sum(x * y)) / (n * (n - 3))
