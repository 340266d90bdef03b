"""How much of a similarity a nuisance carries: what is lost when both sides forget it.

The factor is erased from both encoders (LEACE), and they are compared again on the same clips.
Nothing is read from what is left, so the eraser is fitted on the clips themselves; one
decomposition of an encoder serves every factor. LEACE takes whole directions, also for labels
that hardly lean on any, and more for more levels: ``by_chance`` is the same with the labels of
other clusters, and what counts is the share above it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from usad_workbench.core.arrays import Ids, Matrix, Vectors
from usad_workbench.core.bias._linear import checked_vectors
from usad_workbench.core.bias.erasure import RANK_TOLERANCE
from usad_workbench.core.bias.factors import (
    VARYING_SHARE,
    Factor,
    cluster_orders,
    varying_share,
)
from usad_workbench.core.errors import ShapeError
from usad_workbench.core.probes.folds import codes_of
from usad_workbench.core.similarity import debiased_linear_cka, layer_similarity, strata
from usad_workbench.core.similarity.resampling import jackknife_limits, permutations_within

N_LABELLINGS = 5
"""For the level by chance: a mean, not a null."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NuisanceShare:
    """Debiased CKA of two encoders with and without a factor."""

    similarity: float
    after: float
    """Debiased CKA with the factor erased from both."""
    share: float
    """1 - after / similarity; NaN where ``reason`` says why."""
    ci_low: float
    ci_high: float
    """95%, delete-one-cluster jackknife with the erasure as it is."""
    by_chance: float
    """Mean share of the labels of other clusters."""
    reason: str


class ErasedPair:
    """One encoder on some clips, decomposed once, to be freed of any factor."""

    def __init__(self, x: Vectors) -> None:
        """Takes embeddings `[clip, dim]`.

        Raises:
            DegenerateError: values that are not finite, or embeddings that are all equal.
        """
        array = checked_vectors(x, len(x))
        left, sizes, axes = np.linalg.svd(array - array.mean(axis=0), full_matrices=False)
        kept = sizes > RANK_TOLERANCE * float(sizes[0])
        self._left, self._sizes, self._axes = left[:, kept], sizes[kept], axes[kept]

    def __len__(self) -> int:
        """Number of clips."""
        return len(self._left)

    @property
    def rows(self) -> Matrix:
        """The embeddings in their own axes, centred `[clip, axis]`."""
        return np.asarray(self._left * self._sizes)

    def in_dims(self, rows: Matrix) -> Matrix:
        """Rows in the encoder's dimensions `[clip, dim]`: what scales dimensions must see these.

        Args:
            rows: In their own axes, such as ``without`` gives them `[clip, axis]`.
        """
        return np.asarray(rows @ self._axes)

    def without(self, concept: Matrix) -> Matrix:
        """The rows after LEACE fitted on these clips `[clip, axis]`.

        With x = U S V', W = (cov x)^(-1/2) turns x into U, and the projector of LEACE is that
        on the columns of U'z: what is left is U (1 - Q Q') S.

        Args:
            concept: `[clip, column]`.

        Source: Belrose et al. 2023 (arXiv:2306.03819), theorem 4.3.
        """
        inside = self._left.T @ (concept - concept.mean(axis=0))
        sides, lengths, _ = np.linalg.svd(inside, full_matrices=False)
        floor = RANK_TOLERANCE * max(float(lengths[0]), np.finfo(float).tiny)
        q = sides[:, lengths > floor]
        return np.asarray((self._left - (self._left @ q) @ q.T) * self._sizes)


def carried_share(
    student: ErasedPair, other: ErasedPair, factor: Factor, clusters: Ids, *, seed: int = 0
) -> NuisanceShare:
    """Which share of the similarity of two encoders goes with a factor.

    Args:
        student: One encoder.
        other: Another, on the same clips.
        factor: From ``categorical`` or ``continuous``.
        clusters: Cluster id of each clip.
        seed: Of the labellings that give the level by chance.

    Raises:
        ShapeError: other numbers of clips.
        DegenerateError: nothing left after erasure to compare.

    >>> from usad_workbench.core.bias.factors import categorical
    >>> rng = np.random.default_rng(0)
    >>> sex = np.repeat(np.arange(20) % 2, 5)
    >>> x, y = (ErasedPair(rng.normal(size=(100, 4)) + 4 * sex[:, None]) for _ in range(2))
    >>> found = carried_share(x, y, categorical(sex), np.repeat(np.arange(20), 5))
    >>> found.share > 0.9
    True
    """
    if not len(student) == len(other) == len(factor):
        raise ShapeError(
            f"There are {len(student)} and {len(other)} clips and {len(factor)} values of the "
            "factor, expected the same clips in all."
        )
    everyone = np.arange(len(factor))
    concept = factor.columns(everyone)
    matrix = layer_similarity(
        [student.rows, student.without(concept)],
        [other.rows, other.without(concept)],
        clusters,
        n_permutations=0,
        max_clips=len(factor),
    )
    before, after = float(matrix.values[0, 0]), float(matrix.values[1, 1])
    low = high = share = by_chance = math.nan
    reason = matrix.reason
    if not matrix.ci_low[0, 0] > 0 and not reason:
        reason = "no share: the similarity is not above 0"
    if not reason and matrix.jackknife_values is not None:
        share = 1 - after / before
        left_out = matrix.jackknife_values
        limits = jackknife_limits(np.asarray(share), 1 - left_out[:, 1, 1] / left_out[:, 0, 0])
        low, high = (float(one) for one in limits)
        others = [
            debiased_linear_cka(student.without(columns), other.without(columns), clusters)
            for columns in _labellings(factor, clusters, seed)
        ]
        by_chance = 1 - float(np.mean(others)) / before
    return NuisanceShare(
        similarity=before,
        after=after,
        share=share,
        ci_low=low,
        ci_high=high,
        by_chance=by_chance,
        reason=reason,
    )


def _labellings(factor: Factor, clusters: Ids, seed: int) -> Sequence[Matrix]:
    """Columns of the factor with the labels of other clusters, or of clips where it varies."""
    units = codes_of(clusters, "cluster")
    if varying_share(factor.values, units) >= VARYING_SHARE:
        orders = permutations_within(strata(clusters, len(units)), N_LABELLINGS, seed)
    else:
        free = np.zeros(int(units.max()) + 1, dtype=np.intp)
        orders = cluster_orders(units, free, N_LABELLINGS, seed)
    everyone = np.arange(len(factor))
    return [factor.with_values(factor.values[order]).columns(everyone) for order in orders]
