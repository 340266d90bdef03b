"""HSIC over clips of different clusters, of all layer pairs, from features.

The estimator is in ``cka``. Its sums over two, three and four clusters follow from sums over all
clips minus those within clusters. With x of weight 1 / (clips of its cluster), means S of clusters
that are centred on 0, and rows i of cluster a, for two layers X and Y with means S and T:

- pairs: |X'WY|² - Σ_a |X_a'Y_a|² / m_a²
- triples: 2 Σ_i w_i (x_i·s_a) (y_i·t_a) - <X'WY, S'T>
- quadruples: |S|² |T|² + 2 |S'T|² - 6 Σ_a |s_a|² |t_a|²
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from usad_workbench.core.arrays import Indices, Matrix
from usad_workbench.core.errors import DegenerateError
from usad_workbench.core.similarity._cross_products import (
    CrossProducts,
    Rows,
    cross_products,
)

Sums = TypeVar("Sums", float, NDArray[np.float64])
MIN_CLUSTERS = 4
"""The estimator asks for clips of four different clusters."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LayerHsic:
    """HSIC of layers. Of a layer with itself it is a square: 0 or above."""

    pairs: Matrix
    """`[student_layer, teacher_layer]`"""
    students: Matrix
    """Each student layer with itself `[student_layer]`."""
    teachers: Matrix
    """`[teacher_layer]`"""
    student_floors: Matrix
    """What the same would be without debiasing `[student_layer]`: the scale of rounding."""
    teacher_floors: Matrix


def check_cluster_number(codes: Indices) -> None:
    """Refuses clips of fewer than four clusters.

    Raises:
        DegenerateError: fewer than 4.
    """
    n_clusters = int(codes.max()) + 1
    if n_clusters < MIN_CLUSTERS:
        raise DegenerateError(
            f"The clips belong to {n_clusters} clusters, expected at least {MIN_CLUSTERS}: only "
            "clips of different clusters are compared. Add clips of others."
        )


def from_sums(pairs: Sums, triples: Sums, quadruples: Sums, n_clusters: int) -> Sums:
    """HSIC from its sums over ordered pairs, triples and quadruples of different clusters.

    >>> round(from_sums(12.0, 24.0, 24.0, 4), 9)
    0.0
    """
    two = n_clusters * (n_clusters - 1)
    three = two * (n_clusters - 2)
    return pairs / two - 2 * triples / three + quadruples / (three * (n_clusters - 3))


def cluster_weights(codes: Indices) -> Matrix:
    """1 / (clips of the clip's cluster) `[clip]`: every cluster counts the same."""
    return np.asarray(1.0 / np.bincount(codes)[codes])


def cluster_means(x: Matrix, codes: Indices) -> Matrix:
    """The mean clip of each cluster `[cluster, dim]`."""
    sizes = np.bincount(codes)
    if len(sizes) == len(codes):
        return np.asarray(x[np.argsort(codes)])
    order = np.argsort(codes, kind="stable")
    starts = np.cumsum(sizes) - sizes
    return np.asarray(np.add.reduceat(x[order], starts, axis=0) / sizes[:, None])


def hsic_of_layers(
    students: Sequence[Matrix], teachers: Sequence[Matrix], codes: Indices
) -> LayerHsic:
    """HSIC over clips of different clusters, of every pair of layers and of each with itself.

    Args:
        students: Layers `[clip, dim]` of a mean square about 1, at least one.
        teachers: The same of another encoder, same clips.
        codes: Cluster of each clip, 0, 1, ... `[clip]`.

    Raises:
        DegenerateError: fewer than 4 clusters.
    """
    check_cluster_number(codes)
    sides = [_Side.of(layers, codes) for layers in (students, teachers)]
    s, t = sides
    products = cross_products(s.rows, t.rows)
    within = _within(s.rows, t.rows, codes)
    n_clusters = int(codes.max()) + 1
    pairs = from_sums(
        products.pairs[0] - within.pairs[0],
        2 * (s.overlaps @ t.overlaps.T) - products.pairs[1],
        np.outer(s.squares.sum(axis=1), t.squares.sum(axis=1))
        + 2 * products.pairs[2]
        - 6 * (s.squares @ t.squares.T),
        n_clusters,
    )
    own = [
        from_sums(
            sums[0] - inside[0],
            2 * np.sum(side.overlaps**2, axis=1) - sums[1],
            side.squares.sum(axis=1) ** 2 + 2 * sums[2] - 6 * np.sum(side.squares**2, axis=1),
            n_clusters,
        )
        for side, sums, inside in (
            (s, products.students, within.students),
            (t, products.teachers, within.teachers),
        )
    ]
    scale = n_clusters * (n_clusters - 1)
    return LayerHsic(
        pairs=np.asarray(pairs),
        students=np.asarray(own[0]),
        teachers=np.asarray(own[1]),
        student_floors=products.students[0] / scale,
        teacher_floors=products.teachers[0] / scale,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Side:
    """The layers of one encoder, centred so that the means of clusters have mean 0."""

    rows: list[Rows]
    """Clips weighted by the roots of their weights, and the means of clusters."""
    squares: Matrix
    """Squared norms of means `[layer, cluster]`."""
    overlaps: Matrix
    """Inner product of each weighted clip with the mean of its cluster `[layer, clip]`."""

    @classmethod
    def of(cls, layers: Sequence[Matrix], codes: Indices) -> "_Side":
        roots = np.sqrt(cluster_weights(codes))
        is_single = int(codes.max()) + 1 == len(codes)
        rows, squares, overlaps = [], [], []
        for x in layers:
            means = cluster_means(x, codes)
            middle = means.mean(axis=0)
            clips = (x - middle) * roots[:, None]
            means = clips if is_single else means - middle
            rows.append(Rows(clips=clips, means=means))
            of_clip = means if is_single else means[codes]
            squares.append(np.einsum("ij,ij->i", means, means))
            overlaps.append(np.einsum("ij,ij->i", clips, of_clip))
        return cls(rows, np.stack(squares), np.stack(overlaps))


def _within(students: list[Rows], teachers: list[Rows], codes: Indices) -> CrossProducts:
    """What pairs of clips of one cluster, a clip with itself among them, add to products of clips.

    Only ``[0]`` of its arrays is used.
    """
    sizes = np.bincount(codes)
    order = np.argsort(codes, kind="stable")
    singles = order[sizes[codes[order]] == 1]
    norms_s, norms_t = (
        np.stack([np.einsum("ij,ij->i", x.clips[singles], x.clips[singles]) for x in side])
        for side in (students, teachers)
    )
    pairs = norms_s @ norms_t.T
    own_s, own_t = np.sum(norms_s**2, axis=1), np.sum(norms_t**2, axis=1)
    ends = np.cumsum(sizes)
    for cluster in np.flatnonzero(sizes > 1):
        rows = order[ends[cluster] - sizes[cluster] : ends[cluster]]
        inside = cross_products(_selected(students, rows), _selected(teachers, rows))
        pairs += inside.pairs[0]
        own_s += inside.students[0]
        own_t += inside.teachers[0]
    return CrossProducts(pairs=pairs[None], students=own_s[None], teachers=own_t[None])


def _selected(side: list[Rows], rows: Indices) -> list[Rows]:
    taken = [x.clips[rows] for x in side]
    return [Rows(clips=one, means=one) for one in taken]
