"""Nulls and intervals that respect clusters (the speaker, track or recording of a clip).

Clip-level resampling of clustered clips gives intervals that are too short and nulls that
reject too often. Permutations exchange rows within a cluster, bootstraps and jackknives
draw whole clusters. The ordinary bootstrap is wrong for CKA and neighbours (a clip drawn
twice is its own neighbour): these take the jackknife.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtrit

from usad_workbench.core.arrays import Ids, Indices, Matrix, cluster_codes
from usad_workbench.core.errors import DegenerateError, ShapeError

MIN_CLUSTERS = 8
"""With fewer clusters no interval is given: its own error would be of its own size."""
MAX_JACKKNIFE_GROUPS = 100
"""Above this many clusters they are dealt into this many groups: the interval hardly gains."""

MAX_COUNTS = 8_000_000
"""Counts of clusters, or rows of permutations, that are in memory at once: 64 MB."""
MAX_KEPT_COUNTS = 48_000_000
"""Draws of at most this size are kept for the next statistic: 96 MB each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A value with its confidence interval, NaN limits where none can be given."""

    value: float
    ci_low: float
    ci_high: float
    n_clusters: int
    reason: str = ""
    """Why there is no interval; empty where there is one."""


def too_few_clusters(n_clusters: int) -> str:
    """The reason that is said where there is no interval; empty where there can be one.

    >>> too_few_clusters(3)
    'no interval: 3 clusters, at least 8 are needed'
    """
    if n_clusters >= MIN_CLUSTERS:
        return ""
    return f"no interval: {n_clusters} clusters, at least {MIN_CLUSTERS} are needed"


def strata(clusters: Ids | None, n_clips: int) -> Indices:
    """The stratum of each clip `[clip]`: its cluster; clusters of one clip form one stratum.

    Exchanging the clips of one cluster leaves the cluster's own effect in place. Clusters
    of one clip have no effect that could be told from the clip: they exchange freely.

    Raises:
        ShapeError: another number of ids than clips.

    >>> strata(["a", "b", "a", "c"], 4).tolist()
    [1, 0, 1, 0]
    """
    codes = cluster_codes(clusters, n_clips)
    sizes = np.bincount(codes)
    merged = np.where(sizes[codes] == 1, -1, codes)
    return np.unique(merged, return_inverse=True)[1].astype(np.intp)


def permutations_within(stratum: Indices, n_permutations: int, seed: int = 0) -> Indices:
    """Random orders of the rows that exchange only rows of one stratum.

    Args:
        stratum: The stratum of each row `[clip]`.
        n_permutations: How many.
        seed: The same seed gives the same permutations.

    Returns:
        `[permutation, clip]`: row i of the permuted data is row ``order[i]`` of the data.

    >>> permutations_within(np.array([0, 1, 0]), 2)[:, 1].tolist()
    [1, 1]
    """
    blocks = list(permutation_blocks(stratum, n_permutations, seed))
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def permutation_blocks(stratum: Indices, n_permutations: int, seed: int = 0) -> Iterator[Indices]:
    """The orders of ``permutations_within``, a few at a time where there are many clips.

    Args:
        stratum: The stratum of each row `[clip]`.
        n_permutations: How many.
        seed: The same seed gives the same permutations.
    """
    stratum = np.asarray(stratum, dtype=np.intp)
    rng = np.random.default_rng(seed)
    places = np.argsort(stratum, kind="stable")
    step = max(1, MAX_COUNTS // max(1, len(stratum)))
    for start in range(0, max(1, n_permutations), step):
        n = min(step, n_permutations - start)
        keys = rng.random((n, len(stratum))) + stratum
        orders = np.empty((n, len(stratum)), dtype=np.intp)
        orders[:, places] = np.argsort(keys, axis=1)
        yield orders


def exchange_warning(stratum: Indices, n_permutations: int) -> str:
    """What weakens a permutation null: too little to exchange; empty where nothing does.

    A random order of a stratum leaves one row in place on average, whatever its size.

    >>> exchange_warning(np.repeat(np.arange(30), 2), 200)
    'weak null: 50% of the rows stay in place in a permutation (30 strata of 60 clips)'
    """
    sizes = np.bincount(np.asarray(stratum, dtype=np.intp))
    sizes = sizes[sizes > 0]
    n_clips, n_strata = int(sizes.sum()), len(sizes)
    log_orders = float(sum(math.lgamma(size + 1) for size in sizes))
    if log_orders < math.log(n_permutations + 1):
        orders = round(math.exp(log_orders))
        return f"weak null: only {orders} different permutations, so p is at least {1 / orders:.2g}"
    if n_strata / n_clips >= 0.45:
        return (
            f"weak null: {n_strata / n_clips:.0%} of the rows stay in place in a permutation "
            f"({n_strata} strata of {n_clips} clips)"
        )
    return ""


def permutation_p_value(value: float, null: Matrix) -> float:
    """Share of the null that is at least the value, the value itself counted in.

    Source: Phipson and Smyth 2010.

    >>> permutation_p_value(2.0, np.array([0.0, 1.0, 3.0]))
    0.5
    """
    null = np.asarray(null, dtype=np.float64)
    return float((1 + np.sum(null >= value)) / (1 + null.size))


def jackknife_groups(clusters: Ids | None, n_clips: int) -> Indices:
    """Which delete-group each clip belongs to `[clip]`: its cluster, up to 100 groups.

    Above that, clusters are dealt by falling size to groups of about equal size, the same
    on every call.

    Raises:
        ShapeError: another number of ids than clips.
    """
    codes = cluster_codes(clusters, n_clips)
    sizes = np.bincount(codes)
    if len(sizes) <= MAX_JACKKNIFE_GROUPS:
        return codes
    rank = np.arange(len(sizes))
    lap, step = rank // MAX_JACKKNIFE_GROUPS, rank % MAX_JACKKNIFE_GROUPS
    group = np.empty(len(sizes), dtype=np.intp)
    # Back and forth, so that the largest cluster shares a group with the smallest.
    group[np.argsort(-sizes, kind="stable")] = np.where(
        lap % 2 == 0, step, MAX_JACKKNIFE_GROUPS - 1 - step
    )
    return group[codes]


def jackknife_limits(
    value: NDArray[Any],
    replicates: NDArray[Any],
    confidence: float = 0.95,
    largest: float = math.inf,
    of_pairs: NDArray[Any] | float = 0.0,
) -> tuple[Matrix, Matrix]:
    """Lower and upper limit from leave-one-group-out values: value ± t × standard error.

    Leaving out one group after the other counts twice what pairs of groups add to the variance by
    themselves. Where that is known, it is taken out once. It is then never more than half of the
    variance, so that an estimate of it that is too large does no harm.

    Args:
        value: Values of the whole sample, any shape.
        replicates: The same without each group in turn `[group, ...]`.
        confidence: Two-sided.
        largest: The quantity lies within plus and minus this: so do its limits.
        of_pairs: The variance that pairs of groups add, from ``pair_variance``.

    Returns:
        Two arrays of the shape of ``value``; t has groups - 1 degrees of freedom.

    Raises:
        ShapeError: fewer than 2 groups.

    Source: Efron and Tibshirani 1993, ch. 11, with clusters as the units; Efron and Stein 1981
    (Annals of Statistics 9:586) for pairs.

    >>> low, high = jackknife_limits(np.array(2.0), np.array([1.5, 2.0, 2.5]))
    >>> round(float(low), 3), round(float(high), 3)
    (-0.484, 4.484)
    """
    n_groups = len(replicates)
    if n_groups < 2:
        raise ShapeError(
            f"There are {n_groups} leave-one-out values, expected at least 2. Add clusters."
        )
    error = jackknife_error(replicates, of_pairs)
    half = float(stdtrit(n_groups - 1, 0.5 + confidence / 2)) * error
    return np.asarray(np.maximum(value - half, -largest)), np.asarray(
        np.minimum(value + half, largest)
    )


def jackknife_error(replicates: NDArray[Any], of_pairs: NDArray[Any] | float = 0.0) -> Matrix:
    """The standard error that ``jackknife_limits`` takes, pairs of groups counted once.

    Args:
        replicates: Values without each group in turn `[group, ...]`.
        of_pairs: The variance that pairs of groups add, from ``pair_variance``.

    >>> round(float(jackknife_error(np.array([1.5, 2.0, 2.5]))), 3)
    0.577
    """
    n_groups = len(replicates)
    squares = np.sum((replicates - replicates.mean(axis=0)) ** 2, axis=0)
    variance = (n_groups - 1) / n_groups * squares
    return np.asarray(np.sqrt(np.maximum(variance - of_pairs, variance / 2)))


def pair_variance(parts: NDArray[Any]) -> Matrix:
    """What pairs of groups add to the variance of a sum over pairs, beside what each group adds.

    Args:
        parts: What each pair of groups adds to the value `[group, group, ...]`, symmetric; the
            diagonal is not read.

    Returns:
        Variances of the shape of the value.

    Raises:
        ShapeError: fewer than 4 groups.

    Source: Hoeffding's decomposition; what is left of the parts after U-centring (Székely and
    Rizzo 2014) is the pairs' own, and G (G - 3) / 2 of its values are free.

    >>> parts = np.random.default_rng(0).normal(size=(200, 200)) / (200 * 199)
    >>> variance = pair_variance((parts + parts.T) / 2)
    >>> round(float(variance * 200 * 199), 1)
    1.0
    """
    n = len(parts)
    if n < 4:
        raise ShapeError(f"There are {n} groups, expected at least 4. Add clusters.")
    hollow = parts * (1 - np.eye(n)).reshape(n, n, *(1 for _ in parts.shape[2:]))
    rows = hollow.sum(axis=1)
    own = np.sum(hollow**2, axis=(0, 1)) - 2 * np.sum(rows**2, axis=0) / (n - 2)
    own += rows.sum(axis=0) ** 2 / ((n - 1) * (n - 2))
    return np.asarray(2 * (n - 1) / (n - 3) * own)


def jackknife_interval(
    statistic: Callable[[Indices], float],
    clusters: Ids,
    *,
    n_clips: int,
    confidence: float = 0.95,
) -> Interval:
    """The interval of any smooth statistic by leaving out one cluster after the other.

    Args:
        statistic: Takes the row numbers to use, gives the value.
        clusters: Cluster id of each clip.
        n_clips: Number of clips.
        confidence: Two-sided.

    Raises:
        ShapeError: another number of ids than clips.

    >>> x = np.arange(20.0)
    >>> jackknife_interval(lambda rows: x[rows].mean(), x // 2, n_clips=20).value
    9.5
    """
    rows = np.arange(n_clips)
    value = float(statistic(rows))
    n_clusters = int(cluster_codes(clusters, n_clips).max()) + 1
    reason = too_few_clusters(n_clusters)
    if reason:
        return Interval(
            value=value, ci_low=math.nan, ci_high=math.nan, n_clusters=n_clusters, reason=reason
        )
    groups = jackknife_groups(clusters, n_clips)
    left_out = [float(statistic(rows[groups != group])) for group in range(groups.max() + 1)]
    low, high = jackknife_limits(np.asarray(value), np.asarray(left_out), confidence)
    return Interval(value=value, ci_low=float(low), ci_high=float(high), n_clusters=n_clusters)


def bootstrap_samples(
    statistic: Callable[[Matrix], Matrix], n_clusters: int, n_resamples: int, seed: int = 0
) -> Matrix:
    """A statistic of every resample of clusters `[resample, ...]`.

    For means over clips (accuracy, kappa, gaps), never for CKA or neighbours. Resamples are drawn
    once for equal numbers and seed, and handed over a few at a time where there are many clusters.

    Args:
        statistic: Takes how often each cluster is drawn `[resample, cluster]`, gives one value
            (or row of values) for each resample.
        n_clusters: That are drawn from.
        n_resamples: How many.
        seed: The same seed gives the same resamples.

    Raises:
        DegenerateError: no clusters.

    >>> bootstrap_samples(lambda counts: counts.sum(axis=1), 5, 3).tolist()
    [5.0, 5.0, 5.0]
    """
    if n_clusters < 1:
        raise DegenerateError("There are no clusters to draw from, expected at least 1. Add clips.")
    step = max(1, MAX_COUNTS // n_clusters)
    if n_clusters * n_resamples <= MAX_KEPT_COUNTS:
        counts = _kept_counts(n_clusters, n_resamples, seed)
        blocks: Iterator[NDArray[Any]] = (
            counts[start : start + step] for start in range(0, n_resamples, step)
        )
    else:
        blocks = _drawn_counts(n_clusters, n_resamples, seed, step)
    return np.concatenate([statistic(block.astype(np.float64)) for block in blocks])


@lru_cache(maxsize=4)
def _kept_counts(n_clusters: int, n_resamples: int, seed: int) -> NDArray[np.uint16]:
    (counts,) = _drawn_counts(n_clusters, n_resamples, seed, n_resamples)
    return counts.astype(np.uint16) if n_clusters <= np.iinfo(np.uint16).max else counts


def _drawn_counts(
    n_clusters: int, n_resamples: int, seed: int, step: int
) -> Iterator[NDArray[Any]]:
    """How often each cluster is drawn `[resample, cluster]`, some resamples at a time."""
    rng = np.random.default_rng(seed)
    even = np.full(n_clusters, 1 / n_clusters)
    for start in range(0, n_resamples, step):
        yield rng.multinomial(n_clusters, even, size=min(step, n_resamples - start))


def bootstrap_limits(
    samples: Matrix, n_clusters: int, confidence: float = 0.95
) -> tuple[float, float]:
    """Percentile limits, widened for few clusters so that they cover as promised.

    The plain percentile interval is short by sqrt((G - 1) / G) and takes the normal for
    the t quantile.

    Args:
        samples: Bootstrap values `[resample]`; those that are NaN are left out.
        n_clusters: G, the number of clusters that were drawn from.
        confidence: Two-sided.

    Source: Hesterberg 2015, sec. 3.5 ("expanded percentile").

    >>> low, high = bootstrap_limits(np.linspace(0, 1, 1001), 1000)
    >>> round(low, 2), round(high, 2)
    (0.02, 0.98)
    """
    samples = samples[np.isfinite(samples)]
    if n_clusters < 2 or len(samples) == 0:
        return math.nan, math.nan
    t = float(stdtrit(n_clusters - 1, (1 - confidence) / 2))
    tail = float(ndtr(math.sqrt(n_clusters / (n_clusters - 1)) * t))
    low, high = np.quantile(samples, [tail, 1 - tail])
    return float(low), float(high)
