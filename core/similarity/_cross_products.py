"""Sums of products of Gram matrices for all layer pairs, without a Gram matrix.

For centred layers X and Y the sum over all pairs of clips of (X X')(Y Y') equals the squared norm
of X'Y. The left side costs clips × clips × dim for each *layer*, the right side clips × dim × dim
for each *pair* of layers; with many layers and few clips the left side is cheaper.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from usad_workbench.core.arrays import Matrix

BLOCK_CLIPS = 512
"""A block of every layer's Gram matrix stays small beside the layers themselves."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CrossProducts:
    """Inner products of the Gram matrices of centred layers."""

    pairs: Matrix
    """`[student_layer, teacher_layer]`"""
    students: Matrix
    """Inner product of each student layer with itself `[student_layer]`."""
    teachers: Matrix
    """`[teacher_layer]`"""


def cross_products(students: Sequence[Matrix], teachers: Sequence[Matrix]) -> CrossProducts:
    """Inner products of all pairs, by the form with fewer operations.

    Args:
        students: Centred layers `[clip, dim]`, at least one.
        teachers: The same of another encoder, same clips.

    >>> x = np.array([[1.0], [-1.0]])
    >>> cross_products([x], [2 * x]).pairs
    array([[16.]])
    """
    dims_s, dims_t = (np.array([x.shape[1] for x in side]) for side in (students, teachers))
    n_clips = len(students[0])
    by_blocks = n_clips**2 * (dims_s.sum() + dims_t.sum())
    by_features = n_clips * (
        2 * dims_s.sum() * dims_t.sum() + np.sum(dims_s**2) + np.sum(dims_t**2)
    )
    chosen = from_gram_blocks if by_blocks < by_features else from_features
    return chosen(students, teachers)


def from_features(students: Sequence[Matrix], teachers: Sequence[Matrix]) -> CrossProducts:
    """One student layer times all teacher layers side by side at a time."""
    wide = np.hstack(teachers)
    starts = np.cumsum([0, *(y.shape[1] for y in teachers[:-1])])
    rows = []
    for x in students:
        product = x.T @ wide
        rows.append(np.add.reduceat(np.einsum("ij,ij->j", product, product), starts))
    return CrossProducts(
        pairs=np.stack(rows),
        students=np.array([_self_product(x) for x in students]),
        teachers=np.array([_self_product(y) for y in teachers]),
    )


def from_gram_blocks(
    students: Sequence[Matrix], teachers: Sequence[Matrix], block_clips: int = BLOCK_CLIPS
) -> CrossProducts:
    """Every layer's Gram matrix, one block of clips × clips at a time; half, for symmetry."""
    layers = [*students, *teachers]
    n_clips, n_students = len(layers[0]), len(students)
    pairs = np.zeros((n_students, len(teachers)))
    own = np.zeros(len(layers))
    for start in range(0, n_clips, block_clips):
        rows = slice(start, start + block_clips)
        for other in range(start, n_clips, block_clips):
            columns = slice(other, other + block_clips)
            blocks = _blocks(layers, rows, columns)
            weight = 1.0 if other == start else 2.0
            pairs += weight * (blocks[:n_students] @ blocks[n_students:].T)
            own += weight * np.einsum("ij,ij->i", blocks, blocks)
    return CrossProducts(pairs=pairs, students=own[:n_students], teachers=own[n_students:])


def _blocks(layers: Sequence[Matrix], rows: slice, columns: slice) -> Matrix:
    """A block of the Gram matrix of each layer, flat `[layer, clip × clip]`."""
    shape = (len(layers[0][rows]), len(layers[0][columns]))
    blocks = np.empty((len(layers), *shape))
    for block, x in zip(blocks, layers, strict=True):
        np.matmul(x[rows], x[columns].T, out=block)
    return blocks.reshape(len(layers), -1)


def _self_product(x: Matrix) -> float:
    # The product of a matrix with itself costs half.
    product = x.T @ x
    return float(np.einsum("ij,ij->", product, product))
