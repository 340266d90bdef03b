"""Sums over pairs of clips of products of Gram matrices, for all layer pairs, without a Gram matrix.

For layers X and Y the sum over all pairs of clips of (X X')(Y Y') equals the squared norm of X'Y.
The left side costs clips × clips × dim for each *layer*, the right side clips × dim × dim for each
*pair* of layers; with many layers and few clips the left side is cheaper. Rows and columns of the
Gram matrices need not be the same vectors: here they are clips or means of clusters.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from usad_workbench.core.arrays import Matrix

BLOCK_CLIPS = 512
"""A block of every layer's Gram matrix stays small beside the layers themselves."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Rows:
    """Two sets of vectors of one layer; one set twice where they are the same array."""

    clips: Matrix
    """`[clip, dim]`"""
    means: Matrix
    """`[cluster, dim]`"""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CrossProducts:
    """Inner products of Gram matrices: of clips, of clips with means, and of means."""

    pairs: NDArray[np.float64]
    """`[3, student_layer, teacher_layer]`"""
    students: Matrix
    """Each student layer with itself `[3, student_layer]`."""
    teachers: Matrix
    """`[3, teacher_layer]`"""


def cross_products(students: Sequence[Rows], teachers: Sequence[Rows]) -> CrossProducts:
    """Inner products of all pairs, by the form with fewer operations.

    Args:
        students: Layers, at least one.
        teachers: The same of another encoder, same clips and clusters.

    >>> x = np.array([[1.0], [-1.0]])
    >>> cross_products([Rows(clips=x, means=x)], [Rows(clips=2 * x, means=2 * x)]).pairs[0]
    array([[16.]])
    """
    dims_s, dims_t = (np.array([x.clips.shape[1] for x in side]) for side in (students, teachers))
    n_clips = len(students[0].clips)
    by_blocks = n_clips**2 * (dims_s.sum() + dims_t.sum())
    by_features = n_clips * (
        2 * dims_s.sum() * dims_t.sum() + np.sum(dims_s**2) + np.sum(dims_t**2)
    )
    chosen = from_gram_blocks if by_blocks < by_features else from_features
    return chosen(students, teachers)


def from_features(students: Sequence[Rows], teachers: Sequence[Rows]) -> CrossProducts:
    """One student layer times all teacher layers side by side at a time."""
    starts = np.cumsum([0, *(y.clips.shape[1] for y in teachers[:-1])])
    wide = Rows(
        clips=np.hstack([y.clips for y in teachers]),
        means=np.hstack([y.means for y in teachers]),
    )
    is_same = teachers[0].means is teachers[0].clips
    pairs = [np.add.reduceat(_column_products(x, wide, is_same), starts, axis=1) for x in students]
    own_s, own_t = (
        np.stack([_column_products(x, x, is_same).sum(axis=1) for x in side], axis=1)
        for side in (students, teachers)
    )
    return CrossProducts(pairs=np.stack(pairs, axis=1), students=own_s, teachers=own_t)


def from_gram_blocks(
    students: Sequence[Rows], teachers: Sequence[Rows], block_clips: int = BLOCK_CLIPS
) -> CrossProducts:
    """Every layer's Gram matrix, one block of clips × clips at a time; half, for symmetry."""
    layers, n_students = [*students, *teachers], len(students)
    clips, means = [x.clips for x in layers], [x.means for x in layers]
    sides = [(clips, clips), (clips, means), (means, means)]
    if means[0] is clips[0]:
        sides = sides[:1]
    pairs = np.zeros((len(sides), n_students, len(teachers)))
    own = np.zeros((len(sides), len(layers)))
    for kind, (left, right) in enumerate(sides):
        is_symmetric = left is right
        for start in range(0, len(left[0]), block_clips):
            rows = slice(start, start + block_clips)
            first = start if is_symmetric else 0
            for other in range(first, len(right[0]), block_clips):
                blocks = _blocks(left, right, rows, slice(other, other + block_clips))
                weight = 2.0 if is_symmetric and other != start else 1.0
                pairs[kind] += weight * (blocks[:n_students] @ blocks[n_students:].T)
                own[kind] += weight * np.einsum("ij,ij->i", blocks, blocks)
    if len(sides) == 1:
        pairs, own = np.repeat(pairs, 3, axis=0), np.repeat(own, 3, axis=0)
    return CrossProducts(pairs=pairs, students=own[:, :n_students], teachers=own[:, n_students:])


def _blocks(left: Sequence[Matrix], right: Sequence[Matrix], rows: slice, columns: slice) -> Matrix:
    """A block of the Gram matrix of each layer, flat `[layer, row × column]`."""
    shape = (len(left[0][rows]), len(right[0][columns]))
    blocks = np.empty((len(left), *shape))
    for block, x, y in zip(blocks, left, right, strict=True):
        np.matmul(x[rows], y[columns].T, out=block)
    return blocks.reshape(len(left), -1)


def _column_products(x: Rows, y: Rows, is_same: bool) -> Matrix:
    """Products of X'Y of clips and of means, summed over the dims of x `[3, dim of y]`."""
    # The product of a matrix with itself costs half.
    clips = x.clips.T @ y.clips
    if is_same:
        return np.repeat(np.einsum("ij,ij->j", clips, clips)[None], 3, axis=0)
    means = x.means.T @ y.means
    pairs = ((clips, clips), (clips, means), (means, means))
    return np.stack([np.einsum("ij,ij->j", a, b) for a, b in pairs])
