"""Shortcuts: do clips lie together for how they were recorded rather than for what they hold?

Neighbours of other clusters are looked at. A corpus that has only some of the labels makes
same-corpus neighbours by content alone; so the null exchanges the attribute between clusters of
the same label (or between clips of a cluster, where it varies there), which leaves that much in
place. What is above the null is not content as far as labels tell.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from usad_workbench.core.arrays import Ids, Indices, Matrix
from usad_workbench.core.bias.factors import (
    VARYING_SHARE,
    Factor,
    cluster_orders,
    varying_share,
)
from usad_workbench.core.bias.neighbourhoods import neighbour_interval
from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.probes.folds import Codes, codes_of
from usad_workbench.core.similarity.resampling import (
    exchange_warning,
    permutation_p_value,
    permutations_within,
)

N_PERMUTATIONS = 199


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ShortcutResult:
    """How much neighbours share one attribute."""

    value: float
    """Share of neighbours with the clip's class; of values, Moran's I of their ranks: the
    mean product of a clip's rank and the mean rank of its neighbours, about 1 where equal."""
    null: float
    """Mean agreement with the attribute exchanged among clips of the same label."""
    excess: float
    """Value minus null."""
    ci_low: float
    ci_high: float
    """95% interval of the excess over clusters (``neighbour_interval``), its null as it is."""
    p_value: float
    """One-sided, permutation of whole clusters, or within clusters where it varies there."""
    n_clips: int
    n_clusters: int
    influence: Matrix
    """What each clip adds to the excess `[clip]`."""
    reason: str


def neighbour_attribute(
    neighbours: Indices,
    attribute: Factor,
    clusters: Ids,
    labels: Ids | None = None,
    *,
    queries: Indices | None = None,
    n_permutations: int = N_PERMUTATIONS,
    seed: int = 0,
) -> ShortcutResult:
    """How much more neighbours share an attribute than their labels explain.

    Args:
        neighbours: `[query, k]`, clips of the own cluster excluded.
        attribute: Classes, or values, of which ranks are compared.
        clusters: Cluster id of each clip.
        labels: Content label of each clip; one label for all where none.
        queries: Row numbers of the clips whose neighbours these are; every clip's where none. The
            null exchanges the attribute among all clips, value and interval are those of the queries.
        n_permutations: Size of the null.
        seed: Of the permutations.

    Raises:
        ShapeError: other numbers of clips.
        DegenerateError: nothing can be exchanged: each label lies in one cluster.

    >>> near = np.array([[1], [0], [3], [2]] * 3) + 4 * np.repeat(np.arange(3), 4)[:, None]
    >>> from usad_workbench.core.bias.factors import categorical
    >>> found = neighbour_attribute(near, categorical(list("aabb") * 3), np.arange(12))
    >>> found.value, found.null < 0.7, found.p_value < 0.05
    (1.0, True, True)
    """
    n = len(clusters)
    asked = np.arange(n) if queries is None else queries
    units = codes_of(clusters, "cluster")
    content = np.zeros(n, dtype=np.intp) if labels is None else codes_of(labels, "label")
    if not len(attribute) == len(content) == n or len(neighbours) != len(asked):
        raise ShapeError(
            f"There are neighbours of {len(neighbours)} clips, {len(attribute)} attributes, {n} "
            f"clusters and {len(content)} labels, expected one of each for each clip."
        )
    values = _ranks(attribute.values) if attribute.is_continuous else attribute.values
    orders, weak = _orders(values, units, content, n_permutations, seed)
    is_continuous = attribute.is_continuous
    agreement = _agreement(values, neighbours, asked, is_continuous)
    null = np.array(
        [_agreement(values[order], neighbours, asked, is_continuous).mean() for order in orders]
    )
    middle = float(null.mean())
    bounds = (-math.inf, math.inf) if is_continuous else (0.0, 1.0)
    found = neighbour_interval(agreement, neighbours, units, asked, bounds=bounds)
    return ShortcutResult(
        value=found.value,
        null=middle,
        excess=found.value - middle,
        ci_low=found.ci_low - middle,
        ci_high=found.ci_high - middle,
        p_value=permutation_p_value(found.value - 1e-12, null),
        n_clips=len(asked),
        n_clusters=found.n_clusters,
        influence=agreement.mean(axis=1) - middle,
        reason="; ".join(one for one in (found.reason, weak) if one),
    )


def _agreement(
    values: Matrix, neighbours: Indices, queries: Indices, is_continuous: bool
) -> Matrix:
    """Whether each neighbour is of the same class, or own rank times its rank `[query, k]`."""
    near, own = values[neighbours], values[queries][:, None]
    return np.asarray(own * near if is_continuous else near == own, dtype=np.float64)


def _ranks(values: Matrix) -> Matrix:
    """Ranks, ties in the middle, mean 0 and variance 1."""
    ranks = rankdata(values)
    return np.asarray((ranks - ranks.mean()) / ranks.std())


def _orders(
    values: Matrix, units: Codes, content: Codes, n_permutations: int, seed: int
) -> tuple[Indices, str]:
    """Rows that the attribute is taken from `[permutation, clip]`, and what weakens the null."""
    if varying_share(values, units) >= VARYING_SHARE:
        pairs = np.unique(np.stack([content, units]), axis=1, return_inverse=True)[1].ravel()
        alone = np.bincount(pairs)[pairs] == 1
        # Single clips exchange with the single clips of their label.
        stratum = np.unique(np.where(alone, content, len(pairs) + pairs), return_inverse=True)[
            1
        ].astype(np.intp)
        orders = permutations_within(stratum, n_permutations, seed)
    else:
        stratum = _majority(content, units)
        orders = cluster_orders(units, stratum, n_permutations, seed)
    if len(np.unique(stratum)) == len(stratum):
        raise DegenerateError(
            f"Each of {len(stratum)} labels lies in one cluster, expected labels with several: "
            "attribute and content cannot be told apart. Choose another label column."
        )
    return orders, exchange_warning(stratum, n_permutations)


def _majority(content: Codes, units: Codes) -> Codes:
    """The most frequent label of each cluster `[cluster]`."""
    counts = np.zeros((int(units.max()) + 1, int(content.max()) + 1))
    np.add.at(counts, (units, content), 1.0)
    return np.unique(counts.argmax(axis=1), return_inverse=True)[1].astype(np.intp)
