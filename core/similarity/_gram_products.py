"""Inner products of U-centred Gram matrices, whole and without each group of clips.

All that attribution and partial similarity need are the products of every pair of encoders.
Leaving out a group changes sums of rows alone, so the products without each group in turn cost as
much as one more pass over the matrices.

Only pairs of clips of different clusters count: two encoders that have nothing but their clusters
in common agree that clips of a cluster are near each other (``docs/statistics.md``,
"Attribution", has the numbers). Centring is adapted: what is taken out is the best-fitting sum of
an effect of each clip of the pair, over the pairs that count. With clusters of one clip this is
U-centring.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from usad_workbench.core.arrays import (
    Indices,
    Matrix,
    Vectors,
    as_vectors,
    centred_unit,
)
from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.similarity.cka import MIN_CLIPS

MIN_PAIRED_CLUSTERS = 3
"""With two, effects of clips explain every sum of a row whatever the geometry."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class GramProducts:
    """Inner products of centred Gram matrices of trace 1 `[..., encoder, encoder]`."""

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
    for number, x in enumerate(encoders):
        name = f"encoder {number}"
        centred = centred_unit(as_vectors(x, name, MIN_CLIPS), name)
        gram = centred @ centred.T
        grams.append(np.asarray(gram / np.trace(gram)))
    return grams


def centred_grams(grams: Sequence[Matrix], clusters: Indices) -> NDArray[np.float64]:
    """Copies without the effects of clips, 0 within clusters `[encoder, clip, clip]`.

    Args:
        grams: From ``unit_grams``.
        clusters: Cluster of each clip, 0, 1, ... `[clip]`.

    Raises:
        DegenerateError: fewer than 3 clusters.
    """
    _check_clusters(clusters)
    counts = clusters[:, None] != clusters[None, :]
    everyone = np.ones((len(clusters), 1))
    centred = []
    for gram in grams:
        sums = (gram * counts).sum(axis=1, keepdims=True)
        effects = _clip_effects(sums, everyone, clusters)
        centred.append((gram - effects - effects.T) * counts)
    return np.stack(centred)


def gram_products(grams: Sequence[Matrix], clusters: Indices, groups: Indices) -> GramProducts:
    """Products of all pairs of encoders, whole and without each group.

    Args:
        grams: From ``unit_grams``.
        clusters: Cluster of each clip, 0, 1, ... `[clip]`.
        groups: Group of each clip, whole clusters, 0, 1, ... `[clip]`.

    Raises:
        DegenerateError: fewer than 3 clusters.
    """
    _check_clusters(clusters)
    # The first column is the whole, each other one lacks a group.
    member = np.zeros((len(groups), int(groups.max()) + 1))
    member[np.arange(len(groups)), groups] = 1.0
    kept = np.hstack([np.ones((len(groups), 1)), 1.0 - member])
    sides = [_side(gram, member, kept, clusters) for gram in grams]
    products = np.empty((kept.shape[1], len(grams), len(grams)))
    for i, a in enumerate(sides):
        for j, b in enumerate(sides[i:], start=i):
            product = a.gram * b.gram
            rows = product.sum(axis=1)
            inside = np.einsum("cg,cg->g", product @ member, member)
            without = rows.sum() - 2 * (member.T @ rows) + inside
            raw = np.append(rows.sum(), without)
            value = raw - 2 * np.einsum("cg,cg->g", a.effects, b.sums)
            products[:, i, j] = products[:, j, i] = value / (a.traces * b.traces)
    return GramProducts(whole=products[0], left_out=products[1:])


def _check_clusters(clusters: Indices) -> None:
    n_clusters = int(clusters.max()) + 1
    if n_clusters < MIN_PAIRED_CLUSTERS:
        raise DegenerateError(
            f"The clips belong to {n_clusters} clusters, expected at least {MIN_PAIRED_CLUSTERS}: "
            "only clips of different clusters are compared. Add clips of others."
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Side:
    """One Gram matrix, 0 within clusters, and what is taken out of it."""

    gram: Matrix
    sums: Matrix
    """Sums of rows over the clips that are kept `[clip, 1 + group]`."""
    effects: Matrix
    """Effects of clips `[clip, 1 + group]`."""
    traces: Matrix
    """Trace of the whole matrix centred anew on the clips that are kept `[1 + group]`."""


def _side(gram: Matrix, member: Matrix, kept: Matrix, clusters: Indices) -> _Side:
    bare = gram * (clusters[:, None] != clusters[None, :])
    whole = bare.sum(axis=1, keepdims=True)
    sums = np.hstack([whole, whole - bare @ member]) * kept
    every = gram.sum(axis=1, keepdims=True)
    totals = np.einsum("cg,cg->g", np.hstack([every, every - gram @ member]), kept)
    traces = kept.T @ np.diag(gram) - totals / kept.sum(axis=0)
    return _Side(bare, sums, _clip_effects(sums, kept, clusters), traces)


def _clip_effects(sums: Matrix, kept: Matrix, clusters: Indices) -> Matrix:
    """Effects whose sums over the pairs that count are the sums of rows `[clip, selection]`.

    Clip i of cluster c meets the n - m_c clips of other clusters, so its row asks for
    (n - m_c) r_i + S - R_c = k_i, with R_c the sum of r in its cluster and S that of all.
    Summing over the cluster gives R_c, summing over clusters gives S.

    Args:
        sums: Of rows, 0 where a clip is not kept.
        kept: 1 where a clip is kept.
        clusters: Cluster of each clip.

    Returns:
        NaN where fewer than 3 clusters are kept.
    """
    of_cluster = np.zeros((int(clusters.max()) + 1, len(clusters)))
    of_cluster[clusters, np.arange(len(clusters))] = 1.0
    sizes, cluster_sums = of_cluster @ kept, of_cluster @ sums
    n = kept.sum(axis=0)
    # A cluster of half of the clips has a limit but no quotient.
    margin = n - 2 * sizes
    margin = np.where(margin == 0, 1e-7 * n, margin)
    has_pairs = np.sum(sizes > 0, axis=0) >= MIN_PAIRED_CLUSTERS
    scale = np.where(has_pairs, 1 + np.sum(sizes / margin, axis=0), np.nan)
    total = np.sum(cluster_sums / margin, axis=0) / scale
    in_cluster = (cluster_sums - sizes * total) / margin
    others = np.maximum(n - sizes[clusters], 1.0)
    return np.asarray(kept * (sums - total + in_cluster[clusters]) / others)
