"""Debiased linear CKA: how alike two geometries are, over clips of different clusters.

The biased estimator gives about d / (n + d) for independent encoders, so 0.8 at 200
clips and 768 dims; a domain or subgroup rarely has more. Only the debiased one is here.

Two clips of one speaker, track or recording are near in every encoder: over all pairs of clips,
encoders that have nothing but their clusters in common are similar, the more so the fewer
clusters there are. So only clips of different clusters are compared. For Gram matrices K and L of
clips in clusters the dependence is

    HSIC = E[K_ij L_ij] - 2 E[K_ij L_iq] + E[K_ij L_qr],

where i, j, q and r are clips of four different clusters. The estimate replaces E by the mean over
all clusters that differ and all of their clips, every cluster counting the same: it is the mean,
over every four clips of four clusters, of HSIC_1 of these four, hence without bias for two clips
drawn from two clusters. With clusters of one clip it is HSIC_1 of Song et al. 2012, eq. 5. As a
mean of inner products of U-centred matrices of four clips it is an inner product itself: an
encoder with itself is never below 0, and the ratio lies within -1 and 1.
"""

import math

import numpy as np

from usad_workbench.core.arrays import (
    SPREAD_FLOOR,
    Ids,
    Indices,
    Matrix,
    Vectors,
    centred_unit,
    check_aligned,
    cluster_codes,
)
from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.similarity._cluster_hsic import (
    check_cluster_number,
    cluster_weights,
    from_sums,
    hsic_of_layers,
)

MIN_CLIPS = 4
"""The estimator asks for clips of four clusters."""
NORM_FLOOR = 1e-12
"""HSIC of an encoder with itself below this share of its Gram matrix is rounding."""


def debiased_linear_cka(x: Vectors, y: Vectors, clusters: Ids | None = None) -> float:
    """Debiased linear centred kernel alignment of two embeddings of the same clips.

    0 for unrelated geometries (a little negative by chance: shown as it is), 1 for the
    same up to rotation and scale. Exact in O(clips × dim × dim), no clips × clips matrix.
    Dominated by the dims with the largest variance. Similar is not inherited: two
    encoders trained apart on the same audio are similar too.

    Args:
        x: Embeddings `[clip, dim]` of one encoder's layer.
        y: Embeddings `[clip, dim]` of another, the same clips in the same order.
        clusters: Cluster id of each clip; clips of one cluster are not compared, and every
            cluster counts the same. None: every clip is its own cluster.

    Returns:
        A value without unit, within -1 and 1.

    Raises:
        ShapeError: other numbers of clips, or fewer than 4.
        DegenerateError: values that are not finite, fewer than 4 clusters, or all clips of one
            side equally far from each other.

    Source: Song et al. 2012 eq. 5 for HSIC_1 (a U-statistic of order four; here of clusters),
    Kornblith et al. 2019 for the ratio; the sums from features are in ``_cluster_hsic``.

    >>> x = np.random.default_rng(0).normal(size=(50, 8))
    >>> round(debiased_linear_cka(x, 3 * x[:, ::-1], np.arange(50) // 5), 6)
    1.0
    """
    x, y = check_aligned(x, y, MIN_CLIPS)
    codes = cluster_codes(clusters, len(x))
    found = hsic_of_layers([centred_unit(x, "x")], [centred_unit(y, "y")], codes)
    own = float(found.students[0]), float(found.teachers[0])
    floors = float(found.student_floors[0]), float(found.teacher_floors[0])
    for value, floor, name in zip(own, floors, "xy", strict=True):
        if value <= NORM_FLOOR * floor:
            raise equidistant(len(x), name)
    return float(found.pairs[0, 0]) / math.sqrt(own[0] * own[1])


def standardised_linear_cka(x: Vectors, y: Vectors, clusters: Ids | None = None) -> float:
    """Debiased linear CKA with every dim of both sides scaled to a variance of 1.

    A second reading beside ``debiased_linear_cka``, which a few dims of large variance decide: one
    that only the student has hides everything else that it shares. Here all dims count the same,
    those of noise too. Not invariant to rotations. Constant dims are left out.

    Args:
        x: Embeddings `[clip, dim]` of one encoder's layer.
        y: Embeddings `[clip, dim]` of another, the same clips in the same order.
        clusters: Cluster id of each clip, as for ``debiased_linear_cka``.

    Returns:
        A value without unit, within -1 and 1.

    Raises:
        ShapeError: as ``debiased_linear_cka``.
        DegenerateError: as ``debiased_linear_cka``.

    Source: as ``debiased_linear_cka``; dims that dominate: Timkey and van Schijndel 2021
    (arXiv:2109.04404), who standardise for cosine and RSA.

    >>> x, new = np.random.default_rng(0).normal(size=(2, 200, 8))
    >>> y = np.hstack([x, 30 * new[:, :1]])
    >>> debiased_linear_cka(x, y) < 0.1, standardised_linear_cka(x, y) > 0.9
    (True, True)
    """
    x, y = check_aligned(x, y, MIN_CLIPS)
    codes = cluster_codes(clusters, len(x))
    return debiased_linear_cka(standardised(x, "x", codes), standardised(y, "y", codes), codes)


def standardised(x: Matrix, name: str, codes: Indices) -> Matrix:
    """The dims that vary, centred and of variance 1, every cluster counting the same.

    Raises:
        DegenerateError: no dim varies.

    >>> standardised(np.array([[1.0, 5.0], [3.0, 5.0]]), "x", np.arange(2)).round(9).tolist()
    [[-1.0], [1.0]]
    """
    weights = cluster_weights(codes) / (int(codes.max()) + 1)
    scaled = x / np.maximum(np.abs(x).max(axis=0), np.finfo(np.float64).tiny)
    centred = scaled - weights @ scaled
    spread = np.sqrt(weights @ centred**2)
    varies = spread > SPREAD_FLOOR
    if not varies.any():
        raise DegenerateError(
            f"All {len(x)} rows of {name} are equal, expected embeddings that differ. "
            "Leave this layer out, or check how it was embedded."
        )
    return np.asarray(centred[:, varies] / spread[varies])


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
    gram = _checked_gram(gram)
    n = len(gram)
    hollow = gram.copy()
    np.fill_diagonal(hollow, 0.0)
    means = hollow.sum(axis=1) / (n - 2)
    means -= means.sum() / (2 * (n - 1))
    hollow -= means[:, None] + means[None, :]
    np.fill_diagonal(hollow, 0.0)
    return hollow


def hsic1_gram(gram_x: Matrix, gram_y: Matrix, clusters: Ids | None = None) -> float:
    """HSIC_1, the unbiased dependence of two kernels, from their Gram matrices.

    Args:
        gram_x: Gram or distance matrix `[clip, clip]` of one side, symmetric.
        gram_y: Gram matrix of the other, the same clips in the same order.
        clusters: Cluster id of each clip; clips of one cluster are not compared.

    Raises:
        ShapeError: matrices that are not square, of other sizes, or with under 4 clips.
        DegenerateError: fewer than 4 clusters.

    Source: Song et al. 2012 eq. 5, over clips of different clusters as in this module's docstring.

    >>> x = np.arange(12.0).reshape(6, 2) ** 2
    >>> round(hsic1_gram(x @ x.T, np.ones((6, 6))), 9)
    0.0
    """
    x, y = _checked_gram(gram_x), _checked_gram(gram_y)
    if x.shape != y.shape:
        raise ShapeError(
            f"The Gram matrices have shapes {x.shape} and {y.shape}, expected the same clips "
            "on both sides. Select the clips that both encoders have."
        )
    codes = cluster_codes(clusters, len(x))
    check_cluster_number(codes)
    weights, n_clusters = cluster_weights(codes), int(codes.max()) + 1
    member = np.zeros((len(codes), n_clusters))
    member[np.arange(len(codes)), codes] = weights
    a, b = (side * (codes[:, None] != codes[None, :]) for side in (x, y))
    rows_a, rows_b = a @ member, b @ member
    between_a, between_b = member.T @ rows_a, member.T @ rows_b
    in_rows = rows_a.sum(axis=1) * rows_b.sum(axis=1) - np.sum(rows_a * rows_b, axis=1)
    quadruples = float(between_a.sum() * between_b.sum())
    quadruples -= 4 * float(between_a.sum(axis=1) @ between_b.sum(axis=1))
    quadruples += 2 * float(np.sum(between_a * between_b))
    pairs = float(weights @ (a * b) @ weights)
    return from_sums(pairs, float(weights @ in_rows), quadruples, n_clusters)


def _checked_gram(gram: Matrix) -> Matrix:
    gram = np.asarray(gram, dtype=np.float64)
    if gram.ndim != 2 or gram.shape[0] != gram.shape[1] or len(gram) < MIN_CLIPS:
        raise ShapeError(
            f"The Gram matrix has shape {gram.shape}, expected [clip, clip] with at least "
            f"{MIN_CLIPS} clips. Pass x @ x.T of a larger selection."
        )
    return gram
