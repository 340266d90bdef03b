"""Words on the map: where the points of a value lie densest, as far as words do not collide."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from usad_workbench.core.storage.segment_table import NOT_ON_MAP, SPAN, Categories, MapPoints
from usad_workbench.core.storage.selection import Mask

N_CELLS = 48
"""Across and down."""
MAX_VALUES = 120
"""That are tried, the most frequent first."""
MAX_LABELS = 28
CHARACTER, LINE = 0.0105, 0.034
"""Size of a letter as a share of the map at its usual size on a screen."""
LONGEST = 24
MIN_SHARE = 0.25
"""Of the points around: fewer, and the place is not of this value."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Label:
    """A value of a column, and where its points are."""

    text: str
    x: float
    """In the square around the map, from 0 to 1."""
    y: float
    n: int
    """Points of this value, over the whole map."""


def labels(points: MapPoints, column: Categories, mask: Mask) -> list[Label]:
    """The labels of a map, those of most points first.

    Each stands where the smoothed count of its points, weighted by their share of all points
    there, is largest. A value whose points are nowhere a quarter of those around gets none.

    Args:
        points: Of the map.
        column: Whose values become labels.
        mask: Which rows count.
    """
    is_there = mask & (points.x != NOT_ON_MAP)
    codes = column.codes[is_there]
    cell = _cells(points.y[is_there]) * N_CELLS + _cells(points.x[is_there])
    counts = np.bincount(codes[codes >= 0], minlength=len(column.values))
    tried = np.argsort(-counts, kind="stable")[:MAX_VALUES]
    tried = tried[counts[tried] > 0]
    if not len(tried):
        return []
    place = np.full(len(column.values) + 1, -1, dtype=np.int64)
    place[tried] = np.arange(len(tried))
    of_tried = place[codes]
    is_tried = of_tried >= 0
    every = _smoothed(np.bincount(cell, minlength=N_CELLS**2).reshape(1, N_CELLS, N_CELLS))
    each = np.bincount(
        of_tried[is_tried] * N_CELLS**2 + cell[is_tried], minlength=len(tried) * N_CELLS**2
    )
    density = _smoothed(each.reshape(len(tried), N_CELLS, N_CELLS))
    share = density / np.maximum(every, 1e-9)
    weight = (density * share).reshape(len(tried), -1)
    placed: list[Label] = []
    for i, code in enumerate(tried):
        best = int(np.argmax(weight[i]))
        if share[i].flat[best] < MIN_SHARE:
            continue
        label = Label(
            text=column.values[code],
            x=(best % N_CELLS + 0.5) / N_CELLS,
            y=(best // N_CELLS + 0.5) / N_CELLS,
            n=int(counts[code]),
        )
        if not any(_collide(label, other) for other in placed):
            placed.append(label)
        if len(placed) == MAX_LABELS:
            break
    return placed


def _cells(quantised: npt.NDArray[np.uint16]) -> npt.NDArray[np.int64]:
    return quantised.astype(np.int64) * N_CELLS // (SPAN + 1)


def _smoothed(counts: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    """Each cell with its neighbours by 1-2-1 across and down; shape [.., row, column]."""
    smooth = counts.astype(np.float64)
    for axis in (1, 2):
        padded = np.pad(smooth, [(1, 1) if i == axis else (0, 0) for i in range(3)])
        low, high = (np.take(padded, range(s, s + N_CELLS), axis=axis) for s in (0, 2))
        smooth = (low + 2 * smooth + high) / 4
    return smooth


def _collide(one: Label, other: Label) -> bool:
    width = CHARACTER * (min(len(one.text), LONGEST) + min(len(other.text), LONGEST)) / 2
    return abs(one.x - other.x) < width and abs(one.y - other.y) < LINE
