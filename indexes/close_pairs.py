"""All pairs of rows whose cosine reaches a threshold, exactly, most of them never compared.

Rows at length one are turned to the principal directions of a part of them. The first few
coordinates, and the length of what the others hold, make a point that has length one itself. The
product of two points is no less than the cosine of their rows (Cauchy-Schwarz): where it misses the
threshold the rows need not be looked at. Points lie in the leaves of a k-d tree (Bentley 1975,
doi:10.1145/361002.361007). |u - v|² = 2 - 2 cos, so a leaf's box keeps all rows out that lie further
from it than the threshold allows; what is left of two leaves is multiplied as two matrices.

How many coordinates is chosen by what they leave of the pairs of a part. Embeddings need few: 8 to
32 of 384. Where no number of them helps, all products are made, as they would be without.

Memory grows by some 4 bytes a coordinate and row, twice while leaves are filled, and with the pairs
found; rows are read from their memory map.

Processor seconds of one core for 100,000 x 384 at the thresholds 0.995 and 0.9: 1.1 and 2.7 of
vectors that vary in few directions, 1.9 and 16 of round clusters, 2.8 and 13 of noise; a million at
0.995 took 10. Dropped: rows in the order of their first principal component, each block compared with
a band of the others. It found the same pairs in 7.4 and 27 s, 47 s of noise, and did not end at a
million. Boxes alone, of which in that many directions nearly all are near each other; and to count
the pairs that points leave on the sample of the directions itself, where noise seems to have some.
"""

import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from usad_workbench.core.cosine import normalise
from usad_workbench.core.errors import ConfigError
from usad_workbench.core.parallel import ahead_in_threads
from usad_workbench.core.progress import Progress, no_progress

Rows = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]
_Pairs: TypeAlias = tuple[Rows, Rows, FloatArray]
"""First row, second row and cosine of each pair."""

LEAF_ROWS = 1024
"""At most: products of two leaves take 4 MB and stay in the processor's cache."""
BLOCK_ROWS = 8192
"""Rows that are projected at once."""
PAIRS = 16_384
"""Whose rows are laid side by side at once: 25 MB for each end of 384 values."""
MAX_PAIRS = 10_000_000
"""Of segments, 240 MB; more are no duplicates but a space in which all is near."""
SAMPLE_ROWS = 10_000
"""Principal directions are those of a part of the rows."""
SURVEY_ROWS = 2048
"""All pairs of so many others tell how many coordinates are worth it."""
SURVEY_LEAF_ROWS = 16
WIDTHS = (8, 12, 16, 24, 32, 48, 64, 96)
"""Numbers of coordinates to choose from."""
PAIR_COST = 110_000
"""What it costs to look at the rows of a pair, in coordinates of a product of two leaves: 2 µs."""
SLACK = 1e-4
"""Of products in float32, which are computed again where they come near the threshold."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ClosePairs:
    """Pairs of rows whose cosine reaches a threshold."""

    first: Rows
    second: Rows
    """Shape [pair] each."""
    scores: FloatArray
    """Cosines [pair]."""


@dataclass(frozen=True, slots=True, eq=False)
class _Leaf:
    """Rows that lie together."""

    rows: Rows
    """Shape [row]."""
    points: FloatArray
    """Shape [coordinate, row]."""

    @property
    def box(self) -> tuple[FloatArray, FloatArray]:
        """The least and the largest of each coordinate."""
        return self.points.min(axis=1), self.points.max(axis=1)


def close_pairs(
    vectors: FloatArray, groups: Rows, threshold: float, progress: Progress = no_progress
) -> ClosePairs:
    """All pairs of rows of different groups whose cosine reaches a threshold, exactly.

    Args:
        vectors: Shape [row, dim]; a memory map is read in blocks. A row of zeros is near nothing,
            nor is one that is not finite.
        groups: Shape [row]; rows of a negative one are left out.
        threshold: The least cosine.
        progress: Called after each leaf, with pairs of leaves.

    Raises:
        ConfigError: more pairs than can be kept.

    >>> pairs = close_pairs(np.array([[1, 0], [0, 1], [2, 0]], np.float32), np.arange(3), 0.9)
    >>> pairs.first, pairs.second, pairs.scores
    (array([0]), array([2]), array([1.], dtype=float32))
    """
    found: list[_Pairs] = []
    leaves = _leaves(vectors, np.flatnonzero(groups >= 0), threshold)
    search = _Search(vectors=vectors, groups=groups, threshold=threshold, leaves=leaves)
    total = len(leaves) * (len(leaves) + 1) // 2
    with (
        threadpool_limits(1, user_api="blas"),  # threads of ours wait for each other less
        closing(ahead_in_threads(search.of_leaf, range(len(leaves)))) as done,
    ):
        for number, job in done:
            found.append(job.result())
            left = len(leaves) - number - 1
            progress(total - left * (left + 1) // 2, total, "compare")
    first, second, scores = _together(found)
    return ClosePairs(first=first, second=second, scores=scores)


@dataclass(kw_only=True, eq=False)
class _Search:
    """The comparison of all leaves with each other; threads share it."""

    vectors: FloatArray
    groups: Rows
    threshold: float
    leaves: list[_Leaf]
    n_pairs: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @cached_property
    def boxes(self) -> FloatArray:
        """Of the leaves: shape [leaf, 2, coordinate]."""
        return np.array([leaf.box for leaf in self.leaves])

    def of_leaf(self, number: int) -> _Pairs:
        """Close pairs of a leaf's rows with those of itself and of later leaves."""
        found: list[_Pairs] = []
        candidates = _candidates(self.vectors, self.leaves, self.boxes, number, self.threshold)
        for first, second in _batches(candidates):
            asked = np.flatnonzero(self.groups[first] != self.groups[second])
            first, second = first[asked], second[asked]
            scores = _cosines(self.vectors, first, second)
            close = np.flatnonzero(scores >= np.float32(self.threshold))
            ends = np.sort(np.stack([first[close], second[close]]), axis=0)
            found.append((ends[0], ends[1], np.minimum(scores[close], np.float32(1))))
            self._count(len(close))
        return _together(found)

    def _count(self, n_more: int) -> None:
        with self.lock:
            self.n_pairs += n_more
        if self.n_pairs > MAX_PAIRS:
            raise ConfigError(
                f"More than {MAX_PAIRS:,} pairs of segments have a cosine of {self.threshold} or "
                "more: in this space nearly all are near. Raise the threshold, or take another "
                "layer."
            )


def _leaves(vectors: FloatArray, rows: Rows, threshold: float) -> list[_Leaf]:
    """The rows as points in the leaves of a k-d tree; those that are not finite left out."""
    sample, others = (_spread(vectors, rows[start::2]) for start in (0, 1))
    directions = _directions(sample, others[-SURVEY_ROWS:], threshold)
    points = np.empty((len(rows), directions.shape[1] + 1), np.float32)
    for start in range(0, len(rows), BLOCK_ROWS):
        part = slice(start, start + BLOCK_ROWS)
        with np.errstate(invalid="ignore"):
            points[part] = _points(normalise(vectors[rows[part]]), directions)
    finite = np.flatnonzero(np.isfinite(points).all(axis=1))
    parts = _halves(points, finite, LEAF_ROWS)
    return [_Leaf(rows[part], points[part].T.copy()) for part in parts]


def _spread(vectors: FloatArray, rows: Rows) -> FloatArray:
    """Some of the rows, at length one, in no order."""
    some = rows[:: max(1, len(rows) // SAMPLE_ROWS)]
    sample = vectors[np.random.default_rng(0).permutation(some)]
    return normalise(sample[np.isfinite(sample).all(axis=1)])


def _directions(sample: FloatArray, others: FloatArray, threshold: float) -> FloatArray:
    """The principal directions [dim, coordinate] of a sample that leave the least work.

    Work is counted on other rows: of the sample's own, many directions seem to tell too much. That of
    a pair of leaves is the coordinates of their points, and what it costs to look at the rows that
    these cannot tell apart, but no more than the product of all their rows.
    """
    dim = sample.shape[1]
    wide = sample.astype(np.float64)
    axes = np.linalg.eigh(wide.T @ wide)[1][:, ::-1].astype(np.float32)
    widths = [width for width in WIDTHS if width < dim] or [dim]
    turned = others @ axes
    leaves = list(_halves(turned[:, : widths[-1]], np.arange(len(turned)), SURVEY_LEAF_ROWS))
    if not leaves:
        return axes[:, : widths[0]]
    turned = turned[np.concatenate(leaves)]
    sizes = np.array([len(leaf) for leaf in leaves])
    starts = np.cumsum(sizes) - sizes
    costs: dict[int, float] = {}
    for width in widths:
        points = _points(turned, np.eye(dim, width, dtype=np.float32))
        close = (points @ points.T >= threshold - SLACK).astype(np.int64)
        np.fill_diagonal(close, 0)
        n_close = np.add.reduceat(np.add.reduceat(close, starts, axis=0), starts, axis=1)
        work = np.minimum(PAIR_COST * n_close, dim * np.multiply.outer(sizes, sizes))
        costs[width] = width + float(work.sum()) / len(turned) ** 2
    return np.ascontiguousarray(axes[:, : min(costs, key=costs.__getitem__)])


def _points(unit: FloatArray, directions: FloatArray) -> FloatArray:
    """Coordinates along directions, and the length of the rest: shape [row, coordinate + 1]."""
    points = unit @ directions
    rest = np.vecdot(unit, unit) - np.vecdot(points, points)
    return np.column_stack([points, np.sqrt(np.maximum(rest, 0))])


def _halves(points: FloatArray, rows: Rows, most: int) -> Iterator[Rows]:
    """Rows of each leaf: halved at the median of the coordinate that varies most among them."""
    if len(rows) <= most:
        if len(rows):
            yield rows
        return
    coordinate = points[rows[:: max(1, len(rows) // LEAF_ROWS)]].var(axis=0).argmax()
    middle = len(rows) // 2
    order = np.argpartition(points[rows, coordinate], middle)
    yield from _halves(points, rows[order[:middle]], most)
    yield from _halves(points, rows[order[middle:]], most)


def _candidates(
    vectors: FloatArray, leaves: list[_Leaf], boxes: FloatArray, number: int, threshold: float
) -> Iterator[tuple[Rows, Rows]]:
    """Pairs of a leaf's rows with those of itself and of later leaves that may be close."""
    leaf = leaves[number]
    low, high = boxes[number]
    gaps = np.maximum(np.maximum(boxes[number:, 0] - high, low - boxes[number:, 1]), 0)
    reach = 2 - 2 * (threshold - SLACK)
    for other in number + np.flatnonzero(np.vecdot(gaps, gaps) <= reach):
        ours = _within(leaf.points, boxes[other], reach)
        theirs = _within(leaves[other].points, boxes[number], reach)
        products = leaf.points[:, ours].T @ leaves[other].points[:, theirs]
        close = np.flatnonzero(products >= threshold - SLACK)
        first, second = leaf.rows[ours], leaves[other].rows[theirs]
        if len(close) * PAIR_COST > products.size * vectors.shape[1]:
            products = normalise(vectors[first]) @ normalise(vectors[second]).T
            close = np.flatnonzero(products >= threshold - SLACK)
        if not len(close):
            continue
        left, right = np.divmod(close, len(second))
        if other == number:  # each pair once, and none with itself
            once = np.flatnonzero(left < right)
            left, right = left[once], right[once]
        yield first[left], second[right]


def _within(points: FloatArray, box: FloatArray, reach: float) -> Rows:
    """Which points [coordinate, row] lie so near to a box, by the square of their distance."""
    gaps = points - np.clip(points, box[0][:, None], box[1][:, None])
    gaps *= gaps
    return np.flatnonzero(gaps.sum(axis=0) <= reach)


def _batches(pairs: Iterator[tuple[Rows, Rows]]) -> Iterator[tuple[Rows, Rows]]:
    """The same pairs, enough at once that a look at their rows is worth it."""
    held: list[tuple[Rows, Rows]] = []
    n_held = 0
    for part in pairs:
        held.append(part)
        n_held += len(part[0])
        if n_held >= PAIRS:
            yield _joined(held)
            held, n_held = [], 0
    if held:
        yield _joined(held)


def _joined(parts: list[tuple[Rows, Rows]]) -> tuple[Rows, Rows]:
    first, second = zip(*parts, strict=True)
    return np.concatenate(first), np.concatenate(second)


def _together(parts: list[_Pairs]) -> _Pairs:
    """All pairs; of no part none."""
    nothing = np.empty(0, np.int64)
    all_parts = [(nothing, nothing, np.empty(0, np.float32)), *parts]
    first, second, scores = (np.concatenate(part) for part in zip(*all_parts, strict=True))
    return first, second, scores


def _cosines(vectors: FloatArray, first: Rows, second: Rows) -> FloatArray:
    """The cosine of each pair of rows, shape [pair]."""
    rows, place = np.unique(np.concatenate([first, second]), return_inverse=True)
    unit = normalise(vectors[rows])
    scores = np.empty(len(first), np.float32)
    one, other = place.reshape(2, -1)
    for start in range(0, len(first), PAIRS):
        part = slice(start, start + PAIRS)
        scores[part] = np.einsum(
            "ij,ij->i", unit[one[part]], unit[other[part]], dtype=np.float64, casting="same_kind"
        )
    return scores
