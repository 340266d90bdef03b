"""How faithful a map is: judged against all points, for all of them or a random sample.

For each judged point the true ranks of its neighbours on the map, among all points of the space
(trustworthiness), and the ranks on the map of its true neighbours (continuity), as Venna &
Kaski (2001, *Neighborhood preservation in nonlinear projection methods*) define them; and the
share of the true neighbours that are neighbours on the map. A sample leaves the mean over
points to chance, not the ranks. Judging 2,000 of 100,000 points among themselves was dropped:
their neighbours in such a sample are not their neighbours.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from usad_workbench.core.progress import Progress, no_progress, part_of
from usad_workbench.core.storage.workspace import FloatArray

K = 10
"""Neighbours whose ranks are compared."""
MIN_JUDGED = 22
"""Fewer points have no ranks to speak of."""
MAX_JUDGED = 2000
"""More points are judged by a sample of so many."""
BLOCK_VALUES = 1 << 25
"""Scores of queries with all points that are held at once: 134 MB."""
SEED = 0
Z95 = 1.959964


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """A mean over points, 0 to 1, with its 95 % interval; no width where all were judged."""

    value: float
    ci_low: float
    ci_high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Faithfulness:
    """How far neighbours on a map are neighbours in the space, and the other way."""

    trustworthiness: Share
    """1 where every neighbour on the map is one in the space."""
    continuity: Share
    """1 where every neighbour in the space is one on the map."""
    neighbours_kept: Share
    """Share of the neighbours in the space that are neighbours on the map."""
    n_judged: int
    """Points that were asked for their neighbours among all."""
    k: int
    """How many neighbours."""


def judge_map(
    unit: FloatArray,
    points: FloatArray,
    *,
    k: int = K,
    n_judged: int = MAX_JUDGED,
    progress: Progress = no_progress,
) -> Faithfulness | None:
    """How faithful a map is to the cosines of the vectors; none of too few points.

    Where all points are judged, trustworthiness is that of scikit-learn. Among equal distances
    the rank is the best that it can be.

    Args:
        unit: Vectors at length one, shape [point, dim].
        points: The map, shape [point, 2].
        k: How many neighbours of each point.
        n_judged: Points that are judged at most, a random sample of this size.
        progress: Called after each block of vectors, and after each block of judged points.

    Raises:
        ShapeError: a map of other points than there are vectors.

    >>> line = np.linspace(0, 1.5, 40)
    >>> unit = np.stack([np.cos(line), np.sin(line)], axis=1).astype(np.float32)
    >>> judge_map(unit, unit).trustworthiness.value
    1.0
    """
    n = len(unit)
    if n < max(MIN_JUDGED, 2 * k + 2):
        return None
    judged = np.sort(np.random.default_rng(SEED).permutation(n)[:n_judged])
    on_map = _nearest_on_map(points, judged, k)
    in_space = _nearest_in_space(unit, judged, k, part_of(progress, 0, 2))
    of_ranks = part_of(progress, 1, 2)
    kept = np.empty(len(judged))
    intruded = np.empty(len(judged))
    lost = np.empty(len(judged))
    # Where they are few, vectors that all but tie are told apart.
    wide: npt.NDArray[np.floating] = unit
    if unit.size < BLOCK_VALUES // 8:
        wide = unit.astype(np.float64)
    step = max(1, BLOCK_VALUES // n)
    for start in range(0, len(judged), step):
        block = range(start, min(start + step, len(judged)))
        scores = wide[judged[block.start : block.stop]] @ wide.T
        for row, i in enumerate(block):
            ranks = _ranks(-scores[row], judged[i], on_map[i])
            kept[i] = (ranks <= k).mean()
            intruded[i] = np.maximum(ranks - k, 0).sum()
            squares = ((points - points[judged[i]]) ** 2).sum(axis=1)
            lost[i] = np.maximum(_ranks(squares, judged[i], in_space[i]) - k, 0).sum()
        of_ranks(block.stop, len(judged), "faithfulness")
    worst = k * (2 * n - 3 * k - 1) / 2
    return Faithfulness(
        trustworthiness=_share(1 - intruded / worst, n),
        continuity=_share(1 - lost / worst, n),
        neighbours_kept=_share(kept, n),
        n_judged=len(judged),
        k=k,
    )


def _ranks(
    distances: npt.NDArray[np.floating], own: int, neighbours: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """The ranks of some points by their distance from one of them, 1 is the nearest."""
    limits = distances[neighbours]
    ranks = 1 + np.array([np.count_nonzero(distances < limit) for limit in limits])
    ranks -= distances[own] < limits  # a point is no neighbour of itself
    return ranks


def _nearest_on_map(
    points: FloatArray, judged: npt.NDArray[np.int64], k: int
) -> npt.NDArray[np.int64]:
    """The k nearest other points on the map, shape [judged, k]."""
    from scipy.spatial import KDTree

    found = KDTree(points).query(points[judged], k + 1)[1]
    # Itself is among them but where it has more copies than k: then the last goes.
    order = np.argsort(found == judged[:, None], axis=1, kind="stable")[:, :k]
    return np.take_along_axis(found, order, axis=1)


def _nearest_in_space(
    unit: FloatArray, judged: npt.NDArray[np.int64], k: int, progress: Progress
) -> npt.NDArray[np.int64]:
    from usad_workbench.indexes.torch_search import neighbour_lists  # imports torch

    return neighbour_lists(unit, k, rows=judged, progress=progress).ids


def _share(values: npt.NDArray[np.float64], n: int) -> Share:
    """The mean over judged points, which stand for all n of them."""
    value, m = float(values.mean()), len(values)
    half = 0.0
    if m < n:
        half = Z95 * float(values.std(ddof=1)) * math.sqrt((1 - m / n) / m)
    return Share(value=value, ci_low=max(0.0, value - half), ci_high=min(1.0, value + half))
