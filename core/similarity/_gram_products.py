"""Inner products of U-centred Gram matrices, whole and without each group of clips.

All that attribution and partial similarity need are the products of every pair of encoders.
Leaving out a group changes sums of rows alone, so the products without each group in turn
cost as much as one more pass over the matrices (Song et al. 2012, eq. 5, for the form).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from usad_workbench.core.errors import ShapeError
from usad_workbench.core.similarity._arrays import (
    Indices,
    Matrix,
    Vectors,
    as_vectors,
    centred_unit,
)
from usad_workbench.core.similarity.cka import MIN_CLIPS, u_centre


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class GramProducts:
    """``<U(K_i), U(K_j)>`` of Gram matrices of trace 1 `[..., encoder, encoder]`."""

    whole: Matrix
    left_out: NDArray[np.float64]
    """Without each group `[group, encoder, encoder]`."""


def unit_grams(encoders: Sequence[Vectors]) -> list[Matrix]:
    """Linear Gram matrices of centred embeddings, `[clip, clip]`, trace 1.

    Raises:
        ShapeError: other numbers of clips, fewer than 4, or no encoder.
        DegenerateError: values that are not finite, or rows that are all equal.
    """
    sizes = {len(x) for x in encoders}
    if len(sizes) != 1:
        raise ShapeError(
            f"The encoders have {sorted(sizes)} clips, expected the same clips in all. Select the "
            "clips that all have."
        )
    grams = []
    for place, x in enumerate(encoders):
        name = f"encoder {place}"
        centred = centred_unit(as_vectors(x, name, MIN_CLIPS), name)
        gram = centred @ centred.T
        grams.append(np.asarray(gram / np.trace(gram)))
    return grams


def centred_grams(grams: Sequence[Matrix]) -> NDArray[np.float64]:
    """U-centred copies `[encoder, clip, clip]`."""
    return np.stack([u_centre(gram) for gram in grams])


def gram_products(grams: Sequence[Matrix], groups: Indices) -> GramProducts:
    """Products of all pairs, whole and without each group.

    Args:
        grams: From ``unit_grams``.
        groups: Group of each clip, 0, 1, ... `[clip]`.

    Source: Song et al. 2012 (JMLR 13:1393), eq. 5, times n (n - 3).
    """
    n, n_groups = len(groups), int(groups.max()) + 1
    member = np.zeros((n, n_groups))
    member[np.arange(n), groups] = 1.0
    sides = [_side(gram, member) for gram in grams]
    n_encoders = len(grams)
    whole = np.empty((n_encoders, n_encoders))
    left_out = np.empty((n_groups, n_encoders, n_encoders))
    kept = 1.0 - member
    sizes = member.sum(axis=0)
    for i in range(n_encoders):
        for j in range(i, n_encoders):
            a, b = sides[i], sides[j]
            product = a.gram * b.gram
            rows = product.sum(axis=1)
            value = _song(float(rows.sum()), a.total, b.total, float(a.sums @ b.sums), n)
            whole[i, j] = value / (a.trace * b.trace)
            inside = np.einsum("cg,cg->g", product @ member, member)
            traces = rows.sum() - 2 * (member.T @ rows) + inside
            for g in range(n_groups):
                left, right = a.without[:, g] * kept[:, g], b.without[:, g] * kept[:, g]
                cross = float(left @ right)
                size = n - float(sizes[g])
                value = _song(float(traces[g]), float(left.sum()), float(right.sum()), cross, size)
                left_out[g, i, j] = value / (a.traces[g] * b.traces[g])
            whole[j, i], left_out[:, j, i] = whole[i, j], left_out[:, i, j]
    return GramProducts(whole=whole, left_out=left_out)


@dataclass(frozen=True, slots=True, eq=False)
class _Side:
    """One Gram matrix with zero diagonal and its sums."""

    gram: Matrix
    sums: Matrix
    """Of rows `[clip]`."""
    total: float
    without: Matrix
    """Sums of rows without each group `[clip, group]`."""
    trace: float
    traces: Matrix
    """Trace of the matrix centred anew without each group `[group]`."""


def _side(gram: Matrix, member: Matrix) -> _Side:
    diagonal = np.diag(gram).copy()
    bare = gram.copy()
    np.fill_diagonal(bare, 0.0)
    sums = bare.sum(axis=1)
    without = sums[:, None] - bare @ member
    kept = 1.0 - member
    diagonals = kept.T @ diagonal
    totals = np.einsum("cg,cg->g", without, kept) + diagonals
    traces = diagonals - totals / kept.sum(axis=0)
    trace = diagonal.sum() - (sums.sum() + diagonal.sum()) / len(gram)
    return _Side(bare, sums, float(sums.sum()), without, float(trace), traces)


def _song(trace: float, total_a: float, total_b: float, cross: float, n: float) -> float:
    """n (n - 3) HSIC_1 from sums; NaN where too few clips are left."""
    if n < MIN_CLIPS:
        return math.nan
    return trace + total_a * total_b / ((n - 1) * (n - 2)) - 2 * cross / (n - 2)
