"""What carries an excess: is it still there once everybody forgets the loudness, or the label?

Student and teacher may be near each other because both hear how loud a clip is, or because both
tell its classes apart; neither was taken from the other then. So a column is erased (LEACE) from
all encoders of a comparison, and the excess computed anew. Erasure takes whole directions with it,
whatever the labels: the yardstick is the excess after erasing the same column with the values of
other clusters. What is left of that is the share that the column does not carry.

A column of many classes takes so many directions that little is left of any excess. It is asked
within its classes then: their means are taken from all encoders, which costs clips and no
directions. Erasure is asked first, as a class that is misheard stays within classes. Of a better
teacher and a label of 40 classes .0 of the excess was left that way (64 dimensions), of half-copies
all; by erasure neither could be asked, and the better teacher was "inherited" in 4 of 4 worlds.

All columns are asked: classes, numbers and the labels of tasks. Of a number its square is erased
too, as level and loudness are seldom read linearly. LEACE guards linear readers alone: what an
encoder holds of a column in other ways stays. Planted shortcuts left -.04 to .08 of an excess,
half-copies .9 to 1.1 (1.4 where the label was erased, which all encoders share).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from usad_workbench.core.arrays import Ids, Matrix, Vectors, cluster_codes
from usad_workbench.core.bias.erasure import RANK_TOLERANCE
from usad_workbench.core.bias.factors import Factor
from usad_workbench.core.bias.nuisance_share import ErasedPair
from usad_workbench.core.diagnosis.clip_factors import ClipFactor, clip_factors, content_factors
from usad_workbench.core.diagnosis.controls import Design
from usad_workbench.core.diagnosis.data import DiagnosisData
from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.similarity.compared_encoders import compare_encoders
from usad_workbench.core.similarity.layers import thin_clusters

MAX_ERASED_CLIPS = 500
"""Of a domain, in whole clusters: an erasure is a decomposition of every encoder."""
N_LABELLINGS = 3
"""For what any labels take: a mean, not a null."""
TAKEN_BY_CHANCE = 0.5
"""A column of so many classes that any labels take more of the excess says nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Carrier:
    """One column and what is left of an excess without it."""

    column: str
    before: float
    after: float
    by_chance: float
    """With the values of other clusters in its place."""

    @property
    def left(self) -> float:
        """Share of the excess that the column does not carry; NaN where it cannot be asked.

        Any labels may take most of the excess, or an encoder be nothing but the column.

        >>> round(Carrier(column="loudness_db", before=.5, after=.04, by_chance=.4).left, 2)
        0.1
        """
        if not self.before > 0 or self.by_chance < TAKEN_BY_CHANCE * self.before:
            return math.nan
        return self.after / self.by_chance


def carriers_of(
    data: DiagnosisData,
    design: Design,
    domain: str,
    layer: int,
    *,
    is_standardised: bool,
    is_partial: bool,
) -> list[Carrier]:
    """Every column of the clips with what is left of one excess without it; NaN if unknown.

    Args:
        data: Of one student.
        design: Who is compared with whom.
        domain: Of the clips.
        layer: Of the student.
        is_standardised: Of the reading.
        is_partial: Of the reading.
    """
    rows = data.thinned_rows(domain)
    chosen = thin_clusters(data.clusters(rows), MAX_ERASED_CLIPS, data.config.seed)
    found = []
    columns = [
        *clip_factors(data, domain, rows[chosen]),
        *content_factors(data, domain, rows[chosen]),
    ]
    for column in columns:
        if column.factor is None:
            continue
        erasing = _Erasing(
            design=design,
            vectors=[
                data.vectors(name, data.matching_layer(name, layer), column.rows)
                for name in design.order
            ],
            clusters=data.clusters(column.rows),
            is_standardised=is_standardised,
            is_partial=is_partial,
        )
        try:
            found.append(erasing.carrier(column, column.factor, data.config.seed))
        except (ShapeError, DegenerateError):
            # An encoder that is nothing but this column has no geometry without it.
            found.append(_unknown(column.name))
    return found


def _unknown(column: str) -> Carrier:
    return Carrier(column=column, before=math.nan, after=math.nan, by_chance=math.nan)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Erasing:
    """One excess on the clips that have a column."""

    design: Design
    vectors: Sequence[Vectors]
    clusters: Ids
    is_standardised: bool
    is_partial: bool

    def carrier(self, column: ClipFactor, factor: Factor, seed: int) -> Carrier:
        others = [concept_of(one) for one in _labellings(factor, self.clusters, seed)]
        before, own = self._excess(self.vectors), concept_of(factor)
        try:
            sides = [ErasedPair(x) for x in self.vectors]
            erased = Carrier(
                column=column.name,
                before=before,
                after=self._without(sides, own),
                by_chance=float(np.mean([self._without(sides, concept) for concept in others])),
            )
        except DegenerateError:
            erased = _unknown(column.name)
        if factor.is_continuous or math.isfinite(erased.left):
            return erased
        return Carrier(
            column=column.name,
            before=before,
            after=self._within(own),
            by_chance=float(np.mean([self._within(concept) for concept in others])),
        )

    def _within(self, concept: Matrix) -> float:
        """The excess within classes, their means taken from every encoder."""
        left, lengths, _ = np.linalg.svd(concept - concept.mean(axis=0), full_matrices=False)
        means = left[:, lengths > RANK_TOLERANCE * lengths[0]]
        centred = [x - x.mean(axis=0, dtype=np.float64) for x in self.vectors]
        return self._excess([x - means @ (means.T @ x) for x in centred])

    def _without(self, sides: Sequence[ErasedPair], concept: Matrix) -> float:
        return self._excess([side.in_dims(side.without(concept)) for side in sides])

    def _excess(self, vectors: Sequence[Vectors]) -> float:
        compared = compare_encoders(
            vectors, self.clusters, is_standardised=self.is_standardised, is_whole=True
        )
        places = self.design.places
        return (
            compared.placed(range(places.n_encoders), places, is_partial=self.is_partial)
            .excess()
            .value
        )


def _labellings(factor: Factor, clusters: Ids, seed: int) -> list[Factor]:
    """The factor with the values of other clusters: each takes those of one other cluster.

    Within clusters only the values of numbers could be exchanged, and what a cluster has in common
    would stay.
    """
    codes = cluster_codes(clusters, len(factor))
    members = [np.flatnonzero(codes == code) for code in range(int(codes.max()) + 1)]
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(N_LABELLINGS):
        circle = rng.permutation(len(members))
        values = np.empty_like(factor.values)
        for one, other in zip(circle, np.roll(circle, 1), strict=True):
            values[members[one]] = factor.values[rng.choice(members[other], len(members[one]))]
        found.append(factor.with_values(values))
    return found


def concept_of(factor: Factor) -> Matrix:
    """What is erased of a factor: classes, or a number and its square `[clip, column]`."""
    columns = factor.columns(np.arange(len(factor)))
    return np.hstack([columns, columns**2]) if factor.is_continuous else columns
