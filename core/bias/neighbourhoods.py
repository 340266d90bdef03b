"""Neighbourhood health: hubs, label purity, and neighbours from other domains.

Embeddings are centred on the clips that are searched, then compared by cosine. Without centring a
common offset makes hubs of its own: skewness 8.6 where it is 0.3 (Gaussian, 768 dims, 2000
clips). Skewness grows with dims, n and falls with k: compare encoders on the same clips, with the
same k and metric, as one call per encoder on one selection does.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit
from scipy.stats import skew

from usad_workbench.core.arrays import (
    Ids,
    Indices,
    Matrix,
    Vectors,
    as_vectors,
    centred_unit,
    cluster_codes,
    finite_vectors,
)
from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.probes.folds import Codes, codes_of
from usad_workbench.core.similarity.neighbours import DEFAULT_K, nearest_neighbours
from usad_workbench.core.similarity.resampling import (
    Interval,
    jackknife_groups,
    jackknife_limits,
    too_few_clusters,
)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Hubness:
    """How unevenly clips are chosen as neighbours."""

    occurrences: Indices
    """How many clips have this one among their k neighbours `[clip]`."""
    skewness: float
    """Third standardised moment of the occurrences; 0 for even."""
    antihub_share: float
    """Clips that are nobody's neighbour."""
    robin_hood: float
    """Share of all occurrences that would have to move for all clips to be equal, [0, 1)."""
    max_occurrence: int
    interval: Interval
    """Interval of the skewness, delete-one-cluster jackknife."""


def centred_neighbours(
    x: Vectors,
    k: int = DEFAULT_K,
    clusters: Ids | None = None,
    queries: Indices | None = None,
) -> Indices:
    """The k nearest clips by cosine after centring, nearest first, `[clip, k]`.

    Args:
        x: Embeddings `[clip, dim]`; all of them are searched, and centred on.
        k: Neighbours per clip.
        clusters: Cluster id of each clip; clips of one cluster are no neighbours.
        queries: Rising row numbers of the clips whose neighbours are wanted `[query, k]`; every
            clip where none.

    Raises:
        ShapeError: a clip with fewer than k possible neighbours.
        DegenerateError: values that are not finite, or all rows equal.

    >>> centred_neighbours(np.array([[9.0, 1], [9, 1.1], [9, -1], [9, -1.2]]), 1)[:, 0].tolist()
    [1, 0, 3, 2]
    """
    if queries is None or len(queries) == len(x):
        return nearest_neighbours(centred_unit(as_vectors(x, "x", 2), "x"), k, clusters)
    # A collection that is searched for a part of it may be large: no copy of it is made.
    array = finite_vectors(x, "x", 2)
    return nearest_neighbours(
        array, k, clusters, queries=queries, origin=array.mean(axis=0, dtype=np.float64)
    )


def occurrence_skewness(occurrences: Vectors) -> float:
    """Skewness of k-occurrences; 0 where all are equal.

    Source: Radovanovic et al. 2010 (JMLR 11), equation for S_Nk; population moments.

    >>> occurrence_skewness(np.array([3, 3, 3]))
    0.0
    >>> round(occurrence_skewness(np.array([0, 0, 3])), 3)
    0.707
    """
    counts = np.asarray(occurrences, dtype=np.float64)
    return 0.0 if np.ptp(counts) == 0 else float(skew(counts))


def hubness(x: Vectors, k: int = DEFAULT_K, clusters: Ids | None = None) -> Hubness:
    """Hubs among the clips: the literal definition, where only the clip itself is excluded.

    Args:
        x: Embeddings `[clip, dim]` of one domain; centred here.
        k: Neighbours per clip.
        clusters: What the jackknife leaves out; clips of one cluster may be neighbours.

    Raises:
        ShapeError: too few clips for k neighbours.
        DegenerateError: values that are not finite, or all rows equal.

    Source: Radovanovic et al. 2010; Robin Hood index: Feldbauer et al. 2018.

    >>> found = hubness(np.random.default_rng(0).normal(size=(50, 3)), k=5)
    >>> int(found.occurrences.sum())
    250
    """
    array = centred_unit(as_vectors(x, "x", 2), "x")
    n = len(array)
    longest, groups, reason = _jackknife(clusters, n, k)
    lists = nearest_neighbours(array, longest)
    occurrences = _occurrences(lists[:, :k], n)
    share = occurrences / occurrences.sum()
    return Hubness(
        occurrences=occurrences,
        skewness=occurrence_skewness(occurrences),
        antihub_share=float(np.mean(occurrences == 0)),
        robin_hood=float(np.abs(share - 1 / n).sum() / 2),
        max_occurrence=int(occurrences.max()),
        interval=_skewness_interval(lists, k, groups, clusters, reason),
    )


def label_matches(
    neighbours: Indices, labels: Ids, queries: Indices | None = None
) -> NDArray[np.bool_]:
    """Whether each neighbour has the clip's label `[query, k]`.

    Args:
        neighbours: From ``centred_neighbours``.
        labels: Label of each clip that was searched.
        queries: Whose neighbours these are; every clip's where none.

    Raises:
        ShapeError: other numbers of clips, or a clip without label.

    >>> label_matches(np.array([[1], [0], [0]]), ["a", "a", "b"]).tolist()
    [[True], [True], [False]]
    """
    codes = _labels(labels, len(neighbours) if queries is None else len(labels))
    own = codes if queries is None else codes[queries]
    return np.asarray(codes[neighbours] == own[:, None])


def bad_occurrences(neighbours: Indices, labels: Ids) -> Indices:
    """How often each clip is a neighbour of clips with another label, `[clip]`.

    Source: Radovanovic et al. 2010, sec. 4 ("bad" k-occurrences).

    >>> bad_occurrences(np.array([[1], [0], [0]]), ["a", "a", "b"]).tolist()
    [1, 0, 0]
    """
    codes = _labels(labels, len(neighbours))
    wrong = codes[neighbours] != codes[:, None]
    return np.bincount(neighbours[wrong], minlength=len(neighbours)).astype(np.intp)


def expected_purity(labels: Ids, clusters: Ids | None = None) -> float:
    """Purity of neighbours drawn at random from other clusters.

    >>> expected_purity(["a", "a", "b"])
    0.3333333333333333
    """
    codes = _labels(labels, len(labels))
    units = cluster_codes(clusters, len(codes))
    pairs = np.unique(np.stack([units, codes]), axis=1, return_inverse=True)[1].ravel()
    same = np.bincount(codes)[codes] - np.bincount(pairs)[pairs]
    others = len(codes) - np.bincount(units)[units]
    if (others == 0).any():
        raise DegenerateError("All clips are of one cluster, expected at least 2 clusters.")
    return float(np.mean(same / others))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Leakage:
    """Where the neighbours of one domain's clips lie."""

    shares: Mapping[str, Interval]
    """Share of neighbours in each other domain; they and the own domain's sum to 1."""
    expected: Mapping[str, float]
    """n_b / (n - own cluster): what no domain structure at all would give."""
    leaking: Matrix
    """Share of each own clip's neighbours that lie in other domains `[own clip]`."""


def leakage(
    neighbours: Indices,
    domains: Ids,
    clusters: Ids,
    domain: str,
    queries: Indices | None = None,
) -> Leakage:
    """How many neighbours of a domain's clips lie in each other domain.

    Args:
        neighbours: From ``centred_neighbours`` on the clips of all domains, whose own
            clusters were excluded if ``clusters`` are to be here.
        domains: Domain of each clip.
        clusters: Cluster id of each clip.
        domain: Whose clips are looked at.
        queries: Row numbers of the clips whose neighbours these are; every clip's where none.

    Raises:
        ShapeError: other numbers of clips.
        DegenerateError: no clips of the domain.

    >>> near = np.array([[1], [0], [0]])
    >>> found = leakage(near, ["a", "a", "b"], [0, 1, 2], "b")
    >>> found.shares["a"].value, found.expected["a"]
    (1.0, 1.0)
    """
    names = np.asarray([str(one) for one in domains], dtype=np.str_)
    units = cluster_codes(clusters, len(names))
    asked = np.arange(len(names)) if queries is None else queries
    members = np.flatnonzero(names[asked] == domain)
    if len(asked) != len(neighbours) or len(members) == 0:
        raise DegenerateError(
            f"{len(members)} of {len(names)} clips are of domain {domain!r}, expected some of the "
            f"{len(neighbours)} with neighbours."
        )
    neighbours = neighbours[members]
    near = names[neighbours]
    others = [str(name) for name in np.unique(names) if name != domain]
    candidates = len(names) - np.bincount(units)[units[names == domain]]
    return Leakage(
        shares={
            name: neighbour_interval(near == name, neighbours, units, asked[members])
            for name in others
        },
        expected={name: float(np.mean(np.sum(names == name) / candidates)) for name in others},
        leaking=np.asarray((near != domain).mean(axis=1)),
    )


def neighbour_interval(
    values: NDArray[Any],
    neighbours: Indices,
    clusters: Ids,
    queries: Indices | None = None,
    *,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Interval:
    """The mean of a value of clips and their neighbours, with its 95% interval over clusters.

    A cluster counts with its own clips and with those that have it for a neighbour: without it
    they have others, of whom the clip's mean value is expected. The bootstrap of clips with their
    neighbours as they are leaves the second part out and held in 69 to 85% of data sets, this
    holds in 93 to 99% (``docs/statistics.md``, "Neighbourhoods and groups").

    Args:
        values: One for each clip and neighbour `[query, k]`.
        neighbours: Row numbers of the neighbours `[query, k]`.
        clusters: Cluster id of each clip that was searched.
        queries: Row numbers of the clips that were asked for; every clip where none.
        bounds: The least and the largest value that there can be; limits stay within.

    Source: infinitesimal jackknife (Efron and Tibshirani 1993, ch. 21), over clusters.

    >>> near = np.array([[1], [0]] * 8) + 2 * np.repeat(np.arange(8), 2)[:, None]
    >>> found = neighbour_interval(np.tile([[1], [0]], (8, 1)), near, np.arange(16) // 2)
    >>> found.value, found.ci_low, found.ci_high
    (0.5, 0.5, 0.5)
    """
    units = cluster_codes(clusters, len(clusters))
    asked = units if queries is None else units[queries]
    per_clip = values.mean(axis=1)
    value, n_clusters = float(per_clip.mean()), len(np.unique(asked))
    reason = too_few_clusters(n_clusters)
    low = high = math.nan
    if not reason:
        size = int(units.max()) + 1
        as_clip = np.bincount(asked, per_clip - value, size) / len(per_clip)
        beyond = (values - per_clip[:, None]) / values.size
        as_neighbour = np.bincount(units[neighbours].ravel(), beyond.ravel(), size)
        variance = n_clusters / (n_clusters - 1) * float(np.sum((as_clip + as_neighbour) ** 2))
        half = float(stdtrit(n_clusters - 1, 0.975)) * math.sqrt(variance)
        low, high = max(value - half, bounds[0]), min(value + half, bounds[1])
    return Interval(value=value, ci_low=low, ci_high=high, n_clusters=n_clusters, reason=reason)


def _labels(labels: Ids, n: int) -> Codes:
    codes = codes_of(labels, "label")
    if len(codes) != n:
        raise ShapeError(f"There are {len(codes)} labels for {n} clips, expected one for each.")
    return codes


def _occurrences(neighbours: Indices, n: int) -> Indices:
    return np.bincount(neighbours.ravel(), minlength=n).astype(np.intp)


def _jackknife(clusters: Ids | None, n: int, k: int) -> tuple[int, Indices, str]:
    """How long lists of neighbours must be, what is left out in turn, and why it cannot be.

    Long enough that k neighbours are left without any one group.
    """
    groups = jackknife_groups(clusters, n)
    largest = int(np.bincount(groups).max())
    reason = too_few_clusters(int(cluster_codes(clusters, n).max()) + 1)
    if not reason and n - largest <= k:
        reason = f"no interval: without the largest cluster {n - largest} clips are left"
    return (k if reason else min(n - 1, k + largest)), groups, reason


def _skewness_interval(
    lists: Indices, k: int, groups: Indices, clusters: Ids | None, reason: str
) -> Interval:
    value = occurrence_skewness(_occurrences(lists[:, :k], len(lists)))
    n_clusters = int(cluster_codes(clusters, len(lists)).max()) + 1
    low = high = math.nan
    if not reason:
        n_groups = int(groups.max()) + 1
        replicates = [_skewness_without(lists, groups == group, k) for group in range(n_groups)]
        limits = jackknife_limits(np.asarray(value), np.asarray(replicates))
        low, high = float(limits[0]), float(limits[1])
    return Interval(value=value, ci_low=low, ci_high=high, n_clusters=n_clusters, reason=reason)


def _skewness_without(lists: Indices, gone: np.ndarray, k: int) -> float:
    rows = lists[~gone]
    kept = ~gone[rows]
    kept &= np.cumsum(kept, axis=1) <= k
    counts = np.bincount(rows[kept], minlength=len(gone))[~gone]
    return occurrence_skewness(counts)
