"""Encoders compared in their places: the tables of similarities that an excess is read from.

Every reading follows from the products of the encoders' Gram matrices: plain or partial, of the
dimensions as they are or standardised. What they are tested for is in ``placebo_excess``.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from usad_workbench.core.arrays import Ids, Indices, Matrix, Vectors, as_vectors, cluster_codes
from usad_workbench.core.errors import ShapeError
from usad_workbench.core.similarity._cka_layers import dual, encoder_products, prepare_gram
from usad_workbench.core.similarity._cluster_hsic import check_cluster_number
from usad_workbench.core.similarity.cka import MIN_CLIPS, standardised
from usad_workbench.core.similarity.placebo_excess import (
    SPREAD_FLOOR,
    PlaceboExcess,
    Places,
    Stacked,
    family_weights,
    gains_of,
    placebo_excess,
)
from usad_workbench.core.similarity.resampling import jackknife_groups


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ComparedEncoders:
    """Gram matrices of encoders on the same clips, and the products of all pairs."""

    codes: Indices
    """Cluster of each clip."""
    grams: Matrix
    """`[encoder, clip, clip]`, each of HSIC 1 with itself."""
    products: Stacked
    """`[1 + group, encoder, encoder]`: the whole first, then without each group of clusters."""

    def similarities(self, order: Sequence[int]) -> Matrix:
        """Debiased CKA of some of the encoders with each other `[encoder, encoder]`."""
        chosen = np.asarray(order, dtype=np.intp)
        products = self.products[0][np.ix_(chosen, chosen)]
        lengths = np.sqrt(np.diag(products))
        return np.asarray(products / np.outer(lengths, lengths))

    def placed(self, order: Sequence[int], places: Places, *, is_partial: bool) -> "PlacedEncoders":
        """Some of the encoders in their places.

        Args:
            order: Which: students, peers, teacher, placebos.
            places: How many of each.
            is_partial: Whether each is freed of the others in its place.
        """
        chosen = np.asarray(order, dtype=np.intp)
        products = self.products[:, chosen[:, None], chosen]
        lengths = np.sqrt(np.einsum("...ii->...i", products))
        cosines = products / lengths[..., :, None] / lengths[..., None, :]
        left, right = _coefficients(cosines, places, is_partial)
        return PlacedEncoders(
            places=places,
            is_partial=is_partial,
            table=np.asarray(left @ cosines @ right.swapaxes(-1, -2)),
            left=left[0],
            right=right[0],
            codes=self.codes,
            grams=self.grams[chosen],
        )


def nearness_of_placebos(cosines: Matrix, families: Sequence[int]) -> float:
    """How much nearer placebos are to each other than to the teacher, as a share of the former.

    A double difference: what sets the teacher or a placebo apart from everybody cancels, as it
    shows in the similarity to outsiders too; of several, the one that speaks least for it counts. 0
    where all are drawn alike; well above where the placebos are one family, whose spread is no
    yardstick, or where the teacher and every outsider have something in common. NaN without
    outsiders, or with one family.

    Args:
        cosines: Similarities of teacher, placebos and outsiders `[encoder, encoder]`.
        families: Number of the family of each placebo; pairs of one are left out.

    >>> alike = np.full((5, 5), .4)
    >>> near = alike.copy()
    >>> near[1:4, 1:4] = .6
    >>> [abs(round(nearness_of_placebos(one, [0, 1, 2]), 2)) for one in (alike, near)]
    [0.0, 0.33]
    """
    of = np.asarray(families)
    placebos = np.arange(1, 1 + len(of))
    apart = of[:, None] != of[None, :]
    if len(cosines) == 1 + len(of) or not apart.any():
        return math.nan
    among = float(cosines[np.ix_(placebos, placebos)][apart].mean())
    outsiders = cosines[1 + len(of) :]
    gaps = (
        among - cosines[placebos, 0].mean() - outsiders[:, placebos].mean(axis=1) + outsiders[:, 0]
    )
    return float(gaps.min() / among) if among > 0 else math.nan


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PlacedEncoders:
    """One reading of the similarities of students and peers with teacher and placebos."""

    places: Places
    is_partial: bool
    table: Stacked
    """`[1 + group, row, column]`"""
    left: Matrix
    """What each row is made of `[row, encoder]`."""
    right: Matrix
    """What each column is made of `[column, encoder]`."""
    codes: Indices
    grams: Matrix

    def excess(self) -> PlaceboExcess:
        """The double difference with its tests.

        Raises:
            DegenerateError: an encoder without geometry.
        """
        return placebo_excess(
            self.table,
            self.places,
            n_clips=len(self.codes),
            n_clusters=int(self.codes.max()) + 1,
            has_scale=not self.is_partial,
        )

    def placebo_gains(self) -> Matrix:
        """What the students gained over their peers with each placebo `[placebo]`."""
        return gains_of(self.table[0], self.places)[1:]

    def influence(self) -> Matrix:
        """What each clip adds to the excess `[clip]`; the mean over clips is the excess."""
        p = self.places
        rows = np.full(p.n_rows, 1.0 / p.n_students)
        rows[p.n_students :] = -1.0 / p.n_peers if p.has_peers else 0.0
        columns = np.array([1.0, *(-weight for weight in family_weights(p))])
        a = np.tensordot(rows @ self.left, self.grams, 1)
        b = np.tensordot(columns @ self.right, self.grams, 1)
        shares = np.sum(dual(a, self.codes) * b, axis=1)
        return np.asarray(len(shares) * shares)


def compare_encoders(
    encoders: Sequence[Vectors],
    clusters: Ids,
    *,
    is_standardised: bool = False,
    is_whole: bool = False,
) -> ComparedEncoders:
    """The products of encoders, which every reading of their similarities follows from.

    Args:
        encoders: Embeddings `[clip, dim]`, the same clips of each.
        clusters: Cluster id of each clip; clips of different clusters are compared alone.
        is_standardised: Every dimension scaled to a variance of 1.
        is_whole: Without leaving out groups of clusters, which intervals over clips need.

    Raises:
        ShapeError: other numbers of clips.
        DegenerateError: fewer than 4 clusters, values that are not finite, or an encoder without
            geometry.
    """
    if len({len(x) for x in encoders}) != 1:
        raise ShapeError(
            f"The encoders have {sorted({len(x) for x in encoders})} clips, expected the same "
            "clips in all. Select the clips that all have."
        )
    codes = cluster_codes(clusters, len(encoders[0]))
    check_cluster_number(codes)
    groups = jackknife_groups(codes, len(codes))
    arrays = [as_vectors(x, f"encoder {i}", MIN_CLIPS) for i, x in enumerate(encoders)]
    if is_standardised:
        arrays = [standardised(x, f"encoder {i}", codes) for i, x in enumerate(arrays)]
    grams = [prepare_gram(x, f"encoder {i}", codes) for i, x in enumerate(arrays)]
    if is_whole:
        # Nothing is left without the one group of everyone, and nobody asks for it.
        groups = np.zeros(len(codes), dtype=np.intp)
    with np.errstate(divide="ignore", invalid="ignore"):
        whole, left_out = encoder_products(grams, codes, groups)
    products = whole[None] if is_whole else np.concatenate([whole[None], left_out])
    return ComparedEncoders(codes=codes, grams=np.stack(grams), products=products)


def _coefficients(cosines: Stacked, places: Places, is_partial: bool) -> tuple[Stacked, Stacked]:
    """What rows and columns are made of `[..., row, encoder]`, `[..., column, encoder]`.

    As a partial reading a student is freed of the peers; a peer of the other peers and of the
    students' mean; the teacher of the placebos; a placebo of the teacher and of placebos of other
    families.
    """
    n, size = places.n_students, places.n_encoders
    rows, columns = np.arange(places.n_rows), np.arange(places.n_rows, size)
    unit = np.eye(size)
    if not is_partial:
        shape = cosines.shape[:-2]
        return (
            np.broadcast_to(unit[rows], (*shape, len(rows), size)),
            np.broadcast_to(unit[columns], (*shape, len(columns), size)),
        )
    group = np.concatenate([np.full(n, 1.0 / n), np.zeros(size - n)])
    family = np.array([-1, *places.families])
    left, right = [], []
    for row in rows:
        peers = [unit[i] for i in rows[n:] if i != row]
        others = ([] if row < n else [group]) + peers if places.has_peers else []
        left.append(_freed(cosines, unit[row], others))
    for place, column in enumerate(columns):
        others = [unit[c] for c, of in zip(columns, family, strict=True) if of != family[place]]
        right.append(_freed(cosines, unit[column], others))
    return np.stack(left, axis=-2), np.stack(right, axis=-2)


def _freed(cosines: Stacked, one: Matrix, others: Sequence[Matrix]) -> Stacked:
    """Coefficients of what is left of an element without its part in the span of others.

    Of length 1 `[..., encoder]`.
    """
    left = np.broadcast_to(one, cosines.shape[:-1])
    if others:
        basis = np.stack(others)
        inner = basis @ cosines @ basis.T
        across = basis @ cosines @ one
        inverse = np.linalg.pinv(inner, rcond=1e-10, hermitian=True)
        left = one - np.einsum("...ij,...j->...i", inverse, across) @ basis
    length = np.einsum("...i,...ij,...j->...", left, cosines, left)
    return np.asarray(left / np.sqrt(np.maximum(length, SPREAD_FLOOR))[..., None])
