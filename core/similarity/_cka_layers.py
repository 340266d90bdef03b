"""Debiased CKA of all layer pairs at once: values, leave-one-group-out, permutation null.

Everything comes from the layers' Gram matrices. HSIC_1 of a selection of rows needs only
sums over them (closed update, no matrix is centred anew); a permuted U-centred Gram matrix
is the same matrix indexed, so that one permutation of all pairs is one matrix product.
"""

import math

import numpy as np
from numpy.typing import NDArray

from usad_workbench.core.arrays import Indices, Matrix, centred_unit
from usad_workbench.core.similarity.cka import NORM_FLOOR, equidistant, u_centre

Grams = NDArray[np.float64]
"""Hollow Gram matrices `[layer, clip, clip]` of centred embeddings."""


def prepare_gram(x: Matrix, name: str) -> Matrix:
    """The hollow Gram matrix `[clip, clip]` of one layer, of norm 1.

    Raises:
        DegenerateError: all clips of the layer equally far from each other.
    """
    gram = _hollow_gram(centred_unit(x, name))
    if np.sum(u_centre(gram) ** 2) <= NORM_FLOOR:
        raise equidistant(len(x), name)
    return gram


class CkaLayers:
    """The layers of two encoders on the same clips, ready for CKA of every pair.

    Memory: 8 bytes × (all layers) × clips².
    """

    def __init__(self, student: list[Matrix], teacher: list[Matrix]) -> None:
        """Takes what ``prepare_gram`` gave for each layer."""
        self._student, self._teacher = np.stack(student), np.stack(teacher)

    def values(self) -> Matrix:
        """`[student_layer, teacher_layer]` in float64."""
        everyone = np.zeros(self._student.shape[1], dtype=np.intp)
        return np.asarray(self.left_out(everyone, drop=[-1])[0])

    def left_out(self, groups: Indices, drop: list[int] | None = None) -> Matrix:
        """Values without each group in turn, `[group, student_layer, teacher_layer]`."""
        ks, kt = self._student, self._teacher
        products = np.matmul(ks.transpose(1, 0, 2), kt.transpose(1, 2, 0))
        squares_s = np.einsum("lij,lij->li", ks, ks)
        squares_t = np.einsum("lij,lij->li", kt, kt)
        sums_s, sums_t = ks.sum(axis=2), kt.sum(axis=2)
        out = []
        for group in range(int(groups.max()) + 1) if drop is None else drop:
            gone, kept = np.flatnonzero(groups == group), np.flatnonzero(groups != group)
            block_s, block_t = _block(ks, gone), _block(kt, gone)
            row_s = sums_s[:, kept] - ks[:, :, gone].sum(axis=2)[:, kept]
            row_t = sums_t[:, kept] - kt[:, :, gone].sum(axis=2)[:, kept]
            trace = products.sum(axis=0) - 2 * products[gone].sum(axis=0) + block_s @ block_t.T
            cross = _hsic(trace, row_s @ row_t.T, row_s, row_t)
            norm_s = _self_hsic(squares_s, block_s, row_s, gone)
            norm_t = _self_hsic(squares_t, block_t, row_t, gone)
            with np.errstate(invalid="ignore", divide="ignore"):
                out.append(cross / np.sqrt(norm_s[:, None] * norm_t[None, :]))
        return np.asarray(out)

    def null(self, orders: Indices) -> NDArray[np.float32]:
        """Values with the student's rows permuted, `[permutation, student_layer, ...]`."""
        n = self._student.shape[1]
        upper = np.triu_indices(n, 1)
        student = _unit_u_centred(self._student)
        teacher = _unit_u_centred(self._teacher)[:, upper[0], upper[1]]
        flat = student.reshape(len(student), n * n)
        out = np.empty((len(orders), len(student), len(teacher)), dtype=np.float32)
        for number, order in enumerate(orders):
            places = order[upper[0]] * n + order[upper[1]]
            out[number] = flat.take(places, axis=1) @ teacher.T
        return 2 * out


def _hollow_gram(x: Matrix) -> Matrix:
    gram = np.asarray(x @ x.T)
    np.fill_diagonal(gram, 0.0)
    return gram / math.sqrt(max(float(np.sum(gram**2)), np.finfo(float).tiny))


def _unit_u_centred(grams: Grams) -> NDArray[np.float32]:
    """U-centred Gram matrices of norm 1 in float32: enough for a null."""
    out = np.empty(grams.shape, dtype=np.float32)
    for layer, gram in enumerate(grams):
        centred = u_centre(gram)
        out[layer] = centred / np.linalg.norm(centred)
    return out


def _block(grams: Grams, rows: Indices) -> Matrix:
    return grams[:, rows[:, None], rows[None, :]].reshape(len(grams), len(rows) ** 2)


def _self_hsic(squares: Matrix, block: Matrix, rows: Matrix, gone: Indices) -> Matrix:
    trace = squares.sum(axis=1) - 2 * squares[:, gone].sum(axis=1) + np.sum(block**2, axis=1)
    n, total = rows.shape[1], rows.sum(axis=1)
    hsic = trace + total**2 / ((n - 1) * (n - 2)) - 2 * np.sum(rows**2, axis=1) / (n - 2)
    # Without this group nothing may be left but rounding: then there is no value.
    return np.where(hsic > NORM_FLOOR * trace, hsic, np.nan)


def _hsic(trace: Matrix, products: Matrix, row_s: Matrix, row_t: Matrix) -> Matrix:
    """n (n - 3) HSIC_1 from sums over hollow Gram matrices (Song et al. 2012 eq. 5)."""
    n = row_s.shape[1]
    totals = np.outer(row_s.sum(axis=1), row_t.sum(axis=1))
    return np.asarray(trace + totals / ((n - 1) * (n - 2)) - 2 * products / (n - 2))
