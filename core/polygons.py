"""Which of very many points lie inside a polygon that somebody drew.

By even and odd: an edge that a ray to the right meets changes the side. The plane around the
polygon is divided into cells. A cell that no edge touches lies on one side whole, so its points
are looked up; the few in cells that an edge touches are tested one by one. Exact for every point.

Measured at a million points and a lasso of 300 corners: every point against every edge takes
0.5 s of processor time, this 0.02 s.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from usad_workbench.core.errors import ConfigError

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
N_CELLS = 512
"""Across and down: more cost more to fill than they save."""
OUTSIDE, INSIDE, TOUCHED = 0, 1, 2
SLACK = 1e-6
"""In cells: an edge so near a cell touches it, however its crossing was rounded."""
MAX_CORNERS = 4096
FARTHEST = 1e9
"""Of a corner from 0 on either axis."""
NARROWEST = 1e-9
"""A polygon that is narrower is divided into no cells: they would be too small for numbers."""


def inside_polygon(x: Floats, y: Floats, corners: Sequence[tuple[float, float]]) -> Mask:
    """Which points lie inside of a polygon, by even and odd.

    Args:
        x: Shape [point].
        y: Shape [point].
        corners: Three or more; the last one is joined to the first. Edges may cross.

    Raises:
        ConfigError: fewer than three corners, too many, or one that is not finite or beyond 1e9.

    >>> inside_polygon(np.array([1.0, 3.0]), np.array([1.0, 3.0]), [(0, 0), (4, 0), (0, 4)])
    array([ True, False])
    """
    edges = _edges(corners)
    low, high = edges[:, :2].min(0), edges[:, :2].max(0)
    near = np.flatnonzero((x >= low[0]) & (x <= high[0]) & (y >= low[1]) & (y <= high[1]))
    inside = np.zeros(len(x), dtype=bool)
    if (high - low).min() < NARROWEST:
        inside[near] = _tested(x[near], y[near], edges)
        return inside
    if not len(near):
        return inside
    cells = _cells(edges, low, (high - low) / N_CELLS)
    u, v = x[near], y[near]
    scale = N_CELLS / (high - low)
    column = np.minimum((u - low[0]) * scale[0], N_CELLS - 1).astype(np.int32)
    row = np.minimum((v - low[1]) * scale[1], N_CELLS - 1).astype(np.int32)
    kind = cells.ravel()[row * N_CELLS + column]
    inside[near[kind == INSIDE]] = True
    unsure = np.flatnonzero(kind == TOUCHED)
    inside[near[unsure]] = _tested(u[unsure], v[unsure], edges)
    return inside


def _edges(corners: Sequence[tuple[float, float]]) -> Floats:
    """Edges as x0, y0, x1, y1, shape [edge, 4]."""
    if not 3 <= len(corners) <= MAX_CORNERS:
        raise ConfigError(
            f"Found a polygon of {len(corners)} corners, expected 3 to {MAX_CORNERS}. Draw it anew."
        )
    points = np.array(corners, dtype=np.float64)
    if points.shape != (len(corners), 2) or not (np.abs(points) <= FARTHEST).all():
        raise ConfigError(
            f"Found a corner that is not two numbers of at most {FARTHEST:g}, expected [x, y]."
        )
    return np.hstack([points, np.roll(points, -1, axis=0)])


def _cells(edges: Floats, low: Floats, size: Floats) -> npt.NDArray[np.uint8]:
    """For each cell whether it is outside, inside, or touched by an edge; shape [row, column]."""
    in_cells = (edges - np.tile(low, 2)) / np.tile(size, 2)
    x0, y0, x1, y1 = in_cells.T
    first = np.floor(np.minimum(y0, y1) - SLACK).clip(0, N_CELLS - 1).astype(np.intp)
    last = np.floor(np.maximum(y0, y1) + SLACK).clip(0, N_CELLS - 1).astype(np.intp)
    n_rows = last - first + 1
    edge = np.repeat(np.arange(len(edges)), n_rows)
    row = np.arange(n_rows.sum()) - np.repeat(np.cumsum(n_rows) - n_rows, n_rows) + first[edge]
    is_level = y0 == y1
    slope = (x1 - x0) / np.where(is_level, 1.0, y1 - y0)

    def x_at(y: Floats) -> Floats:
        found: Floats = x0[edge] + (y - y0[edge]) * slope[edge]
        return found

    # Where each edge is within a row: touched cells are those between its ends there.
    at_low = np.clip(row - SLACK, np.minimum(y0, y1)[edge], np.maximum(y0, y1)[edge])
    at_high = np.clip(row + 1 + SLACK, np.minimum(y0, y1)[edge], np.maximum(y0, y1)[edge])
    ends = np.where(is_level[edge], [x0[edge], x1[edge]], [x_at(at_low), x_at(at_high)])
    left = np.floor(ends.min(0) - SLACK).clip(0, N_CELLS - 1).astype(np.intp)
    right = np.floor(ends.max(0) + SLACK).clip(0, N_CELLS - 1).astype(np.intp)
    n_touching = np.zeros((N_CELLS, N_CELLS + 1), np.int32)
    np.add.at(n_touching, (row, left), 1)
    np.add.at(n_touching, (row, right + 1), -1)
    is_touched = n_touching.cumsum(axis=1)[:, :-1] > 0
    # Sides at the middles of cells: odd where an odd number of crossings lies to the right.
    middle = row + 0.5
    crosses = (y0[edge] > middle) != (y1[edge] > middle)
    n_left_of = np.ceil(x_at(middle)[crosses] - 0.5).clip(0, N_CELLS).astype(np.intp)
    crossings = np.zeros((N_CELLS, N_CELLS + 1), np.int32)
    np.add.at(crossings, (row[crosses], n_left_of), 1)
    to_the_right = crossings[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:]
    cells = (to_the_right % 2).astype(np.uint8)
    cells[is_touched] = TOUCHED
    return cells


def _tested(x: Floats, y: Floats, edges: Floats) -> Mask:
    """Each point against the edges at its height."""
    order = np.argsort(y)
    x, y = x[order], y[order]
    inside = np.zeros(len(x), dtype=bool)
    for x0, y0, x1, y1 in edges:
        if y0 != y1:
            # (y0 > y) != (y1 > y): from the lower end on, the upper one left out.
            start, end = np.searchsorted(y, [min(y0, y1), max(y0, y1)], side="left")
            at = slice(start, end)
            inside[at] ^= x[at] < (x1 - x0) * (y[at] - y0) / (y1 - y0) + x0
    found = np.empty_like(inside)
    found[order] = inside
    return found
