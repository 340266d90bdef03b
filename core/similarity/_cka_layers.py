"""Debiased CKA of all layer pairs at once: values, leave-one-group-out, permutation null.

Everything comes from the layers' Gram matrices, in three forms: over pairs of clips, with columns
summed within clusters, and with rows summed too. The sums of ``cka`` without a group of clusters
are those of the whole less the group's rows and columns, so no matrix is computed anew. For the
null, HSIC is an inner product of one side's matrix with a linear map of the other's (``dual``).
Clusters stay as they are when rows are exchanged within strata, and so a permuted map is the same
map indexed: one permutation of all pairs is one matrix product.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from usad_workbench.core.arrays import Indices, Matrix, centred_unit
from usad_workbench.core.similarity._cluster_hsic import cluster_weights, from_sums
from usad_workbench.core.similarity.cka import NORM_FLOOR, equidistant

Grams = NDArray[np.float64]
"""Gram matrices `[layer, clip, clip]`: 0 within clusters, rows and columns weighted."""
RowProducts = Callable[[Grams, Grams], NDArray[np.float64]]
"""Products of the rows of two matrices, summed over columns `[row, ...]`."""
Gone = tuple[NDArray[np.bool_], NDArray[np.bool_]]
"""Which rows and which columns are left out."""


def prepare_gram(x: Matrix, name: str, codes: Indices) -> Matrix:
    """The Gram matrix `[clip, clip]` of one layer, of HSIC 1 with itself.

    It is 0 within clusters, and rows and columns are weighted by the roots of ``cluster_weights``.

    Raises:
        DegenerateError: all clips of the layer equally far from each other.
    """
    x = centred_unit(x, name) * np.sqrt(cluster_weights(codes))[:, None]
    gram = np.asarray(x @ x.T)
    gram[codes[:, None] == codes[None, :]] = 0.0
    own = float(_Forms(gram[None], codes).left_out_with_itself([])[0, 0])
    n_clusters = int(codes.max()) + 1
    if not own > NORM_FLOOR * float(np.sum(gram**2)) / (n_clusters * (n_clusters - 1)):
        raise equidistant(len(x), name)
    return np.asarray(gram / np.sqrt(own))


def dual(gram: Matrix, codes: Indices) -> Matrix:
    """The matrix whose inner product with another one of ``prepare_gram`` is their HSIC.

    Where every clip is its own cluster it is the U-centred matrix over n (n - 3).
    """
    forms = _Forms(gram[None], codes)
    roots, n_clusters = np.sqrt(cluster_weights(codes)), int(codes.max()) + 1
    rows, between = forms.rows[0], forms.between[0]
    lines = between.sum(axis=1)
    codes = forms.codes
    of_clip = roots[None, :] * (rows.sum(axis=1)[:, None] - rows[:, codes])
    of_cluster = between.sum() - 2 * (lines[:, None] + lines[None, :]) + 2 * between
    centred = from_sums(
        gram,
        (of_clip + of_clip.T) / 2,
        np.outer(roots, roots) * of_cluster[np.ix_(codes, codes)],
        n_clusters,
    )
    centred[codes[:, None] == codes[None, :]] = 0.0
    return np.asarray(centred)


class CkaLayers:
    """The layers of two encoders on the same clips, ready for CKA of every pair.

    Memory: 8 bytes × (all layers) × clips², up to three times that where clusters are many.
    """

    def __init__(self, student: list[Matrix], teacher: list[Matrix], codes: Indices) -> None:
        """Takes what ``prepare_gram`` gave for each layer, and the cluster of each clip."""
        self._student = _Forms(np.stack(student), codes)
        self._teacher = _Forms(np.stack(teacher), codes)
        self._codes = codes

    def values(self) -> Matrix:
        """`[student_layer, teacher_layer]` in float64."""
        # Every layer has HSIC 1 with itself.
        return np.asarray(_left_out(self._student, self._teacher, [], _row_products)[0])

    def left_out(self, groups: Indices) -> Matrix:
        """Values without each group of clusters in turn, `[group, student_layer, teacher_layer]`.

        Args:
            groups: Group of each clip, whole clusters `[clip]`.
        """
        gone = self._student.without(groups)
        cross = _left_out(self._student, self._teacher, gone, _row_products)[1:]
        norm_s = self._student.left_out_with_itself(gone)[1:]
        norm_t = self._teacher.left_out_with_itself(gone)[1:]
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(cross / np.sqrt(norm_s[:, :, None] * norm_t[:, None, :]))

    def pair_parts(self, groups: Indices) -> NDArray[np.float64]:
        """What each pair of groups adds to the values `[group, group, student_layer, ...]`.

        The values are ratios: parts of the norms are taken off as the derivative says, so that the
        sum is 0 and not the value.

        Args:
            groups: Group of each clip, whole clusters `[clip]`.
        """
        student, teacher = self._student.clips, self._teacher.clips
        own_s, own_t = (self._own_parts(side, groups) for side in (student, teacher))
        values = self.values()
        parts = np.empty((*own_s.shape[1:], *values.shape))
        for i, gram in enumerate(student):
            centred = dual(gram, self._codes)
            for j, other in enumerate(teacher):
                norms = values[i, j] / 2 * (own_s[i] + own_t[j])
                parts[:, :, i, j] = _sums_of_groups(centred * other, groups) - norms
        return parts

    def _own_parts(self, grams: Grams, groups: Indices) -> NDArray[np.float64]:
        """What pairs of groups add to the HSIC of each layer with itself `[layer, group, group]`."""
        return np.stack([_sums_of_groups(dual(one, self._codes) * one, groups) for one in grams])

    def null(self, orders: Indices) -> NDArray[np.float32]:
        """Values with the student's rows permuted, `[permutation, student_layer, ...]`.

        Args:
            orders: Permutations that keep clips in their cluster, or exchange clusters of one
                clip `[permutation, clip]`.
        """
        n = len(self._codes)
        upper = np.triu_indices(n, 1)
        # Enough for a null, and half the memory.
        student = np.stack(
            [dual(one, self._codes).astype(np.float32) for one in self._student.clips]
        )
        teacher = self._teacher.clips[:, upper[0], upper[1]].astype(np.float32)
        flat = student.reshape(len(student), n * n)
        out = np.empty((len(orders), len(student), len(teacher)), dtype=np.float32)
        for number, order in enumerate(orders):
            places = order[upper[0]] * n + order[upper[1]]
            out[number] = flat.take(places, axis=1) @ teacher.T
        return 2 * out


def encoder_products(
    grams: list[Matrix], codes: Indices, groups: Indices
) -> tuple[Matrix, NDArray[np.float64]]:
    """HSIC of every pair of encoders, and the same without each group of clusters.

    Args:
        grams: Of each encoder, from ``prepare_gram``.
        codes: Cluster of each clip, 0, 1, ... `[clip]`.
        groups: Group of each clip, whole clusters `[clip]`.

    Returns:
        `[encoder, encoder]` and `[group, encoder, encoder]`.
    """
    forms = _Forms(np.stack(grams), codes)
    values = _left_out(forms, forms, forms.without(groups), _row_products)
    return np.asarray(values[0]), np.asarray(values[1:])


def encoder_pair_parts(grams: list[Matrix], codes: Indices, groups: Indices) -> NDArray[np.float64]:
    """What each pair of groups adds to HSIC of each pair of encoders `[group, group, ...]`.

    Args:
        grams: Of each encoder, from ``prepare_gram``.
        codes: Cluster of each clip, 0, 1, ... `[clip]`.
        groups: Group of each clip, whole clusters `[clip]`.
    """
    n_groups = int(groups.max()) + 1
    parts = np.empty((n_groups, n_groups, len(grams), len(grams)))
    for i, gram in enumerate(grams):
        centred = dual(gram, codes)
        for j, other in enumerate(grams[i:], start=i):
            parts[:, :, i, j] = parts[:, :, j, i] = _sums_of_groups(centred * other, groups)
    return parts


def _sums_of_groups(products: Matrix, groups: Indices) -> Matrix:
    """Sums over pairs of clips of two groups `[group, group]`."""
    member = np.zeros((len(groups), int(groups.max()) + 1))
    member[np.arange(len(groups)), groups] = 1.0
    sums = member.T @ (products @ member)
    return np.asarray((sums + sums.T) / 2)


class _Forms:
    """Gram matrices over pairs of clips, with columns, and with rows and columns of clusters."""

    def __init__(self, grams: Grams, codes: Indices) -> None:
        self.n_clusters = int(codes.max()) + 1
        self.is_single = self.n_clusters == len(codes)
        """Every clip is its own cluster: the three forms are one."""
        self.codes = np.arange(len(codes)) if self.is_single else codes
        """Clusters of one clip are numbered as the clips are."""
        self.clips = self.rows = self.between = grams
        """Over pairs of clips `[layer, clip, clip]`."""
        if not self.is_single:
            member = np.zeros((len(codes), self.n_clusters))
            member[np.arange(len(codes)), codes] = np.sqrt(cluster_weights(codes))
            self.rows = grams @ member
            """Columns averaged within clusters `[layer, clip, cluster]`."""
            self.between = member.T @ self.rows
            """Means over pairs of clips of two clusters `[layer, cluster, cluster]`."""

    def without(self, groups: Indices) -> list[NDArray[np.bool_]]:
        """Which clusters are in each group `[group][cluster]`."""
        of_cluster = groups[np.unique(self.codes, return_index=True)[1]]
        return [of_cluster == group for group in range(int(groups.max()) + 1)]

    def left_out_with_itself(self, gone: list[NDArray[np.bool_]]) -> Matrix:
        """HSIC of each layer with itself `[1 + group, layer]`; NaN where only rounding is left."""
        values = _left_out(self, self, gone, _own_row_products)
        # 1 for the whole, or what it was before it was scaled to that.
        return np.where(values > NORM_FLOOR * values[0], values, np.nan)


def _left_out(
    a: _Forms, b: _Forms, gone: list[NDArray[np.bool_]], row_products: RowProducts
) -> NDArray[np.float64]:
    """HSIC of the whole and without each group of clusters `[1 + group, ...]`."""
    groups = [np.zeros(a.n_clusters, dtype=np.bool_), *gone]
    both = [(group[a.codes], group) for group in groups]
    clips = _products(a.clips, b.clips, [(g, g) for g, _ in both], row_products)
    sums = lines = [_kept_sums(side.rows, both) for side in (a, b)]
    rows = between = clips
    if not a.is_single:
        rows = _products(a.rows, b.rows, both, row_products, is_symmetric=False)
        between = _products(a.between, b.between, [(g, g) for g in groups], row_products)
        lines = [_kept_sums(side.between, [(g, g) for g in groups]) for side in (a, b)]
    values = []
    for number, group in enumerate(groups):
        of_clusters = [side[number] for side in lines]
        totals = [one.sum(axis=1, keepdims=True) for one in of_clusters]
        values.append(
            from_sums(
                clips[number],
                _dots([side[number] for side in sums], row_products) - rows[number],
                _dots(totals, row_products)
                - 4 * _dots(of_clusters, row_products)
                + 2 * between[number],
                a.n_clusters - int(group.sum()),
            )
        )
    return np.asarray(values)


def _dots(sides: list[Matrix], row_products: RowProducts) -> NDArray[np.float64]:
    """Inner products of vectors `[layer, row]` of two sides."""
    a, b = (side[:, :, None] for side in sides)
    return np.asarray(row_products(a, b).sum(axis=0))


def _kept_sums(matrices: Grams, gone: list[Gone]) -> list[Matrix]:
    """Sums of the kept rows over the kept columns `[layer, row]`, for each selection."""
    whole = matrices.sum(axis=2)
    return [(whole - matrices[:, :, columns].sum(axis=2))[:, ~rows] for rows, columns in gone]


def _products(
    a: Grams, b: Grams, gone: list[Gone], row_products: RowProducts, is_symmetric: bool = True
) -> list[NDArray[np.float64]]:
    """Inner products of all pairs of matrices, without some rows and columns at a time."""
    by_row = by_column = row_products(a, b)
    if not is_symmetric:
        by_column = row_products(a.swapaxes(1, 2), b.swapaxes(1, 2))
    total = by_row.sum(axis=0)
    found = []
    for rows, columns in gone:
        block = row_products(a[:, rows][:, :, columns], b[:, rows][:, :, columns]).sum(axis=0)
        found.append(total - by_row[rows].sum(axis=0) - by_column[columns].sum(axis=0) + block)
    return found


def _row_products(a: Grams, b: Grams) -> NDArray[np.float64]:
    return np.asarray(np.matmul(a.transpose(1, 0, 2), b.transpose(1, 2, 0)))


def _own_row_products(a: Grams, b: Grams) -> NDArray[np.float64]:
    return np.asarray(np.einsum("lij,lij->il", a, b))
