"""How much the neighbourhood of each segment differs between two spaces: in the spaces, not on maps."""

import numpy as np
import numpy.typing as npt

from usad_workbench.core.errors import ConfigError
from usad_workbench.core.storage.segment_table import NO_ROW
from usad_workbench.core.storage.space_names import SpaceName
from usad_workbench.core.storage.workspace import FloatArray
from usad_workbench.indexes import neighbour_lists
from usad_workbench.workbench.instrument.collection import View

NOT_JUDGED = 255
MOST = 254
"""What stands for: no neighbour in common."""
BUDGET = 1e12
"""Multiplications that somebody waits for: all of 20,000 segments, or a fair sample of more."""
Shares = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]


def moved(view: View, first: SpaceName, second: SpaceName, k: int) -> Bytes:
    """The share of neighbours that change, 0 to 254 for 0 to 1; 255 where it was not judged.

    Judged are as many rows as can be waited for, from the first on: rows are in a random order,
    so that these are a fair sample.

    Args:
        view: Of the collection.
        first: The one space.
        second: The other.
        k: Neighbours of each segment, itself left out.

    Returns:
        Shape [row].

    Raises:
        UnknownNameError: no such space.
        ConfigError: fewer segments in common than neighbours are asked for.
    """
    ids = [view.workspace.space(one.encoder, one.layer, one.pooling) for one in (first, second)]
    key = ("moved", *((space.space_id, space.digest) for space in ids), k)
    return view.kept(key, lambda: _moved(view, first, second, k), lambda shares: shares.nbytes)


def _moved(view: View, first: SpaceName, second: SpaceName, k: int) -> Bytes:
    one, other = (
        view.workspace.embeddings(space.encoder, space.layer, space.pooling)
        for space in (first, second)
    )
    common, in_one, in_other = np.intersect1d(
        one.segment_ids, other.segment_ids, assume_unique=True, return_indices=True
    )
    rows = view.rows_of(common)
    order = np.argsort(rows)
    order = order[rows[order] != NO_ROW]
    if len(order) <= k:
        raise ConfigError(
            f"{first} and {second} have {len(order)} segments in common, expected more than the "
            f"{k} neighbours that are compared."
        )
    x, y = one.vectors[in_one[order]], other.vectors[in_other[order]]
    n = int(min(len(order), max(BUDGET / (len(order) * (x.shape[1] + y.shape[1])), 1)))
    shares = np.full(len(view), NOT_JUDGED, dtype=np.uint8)
    shares[rows[order[:n]]] = np.rint(changed(x, y, n, k) * MOST)
    return shares


def changed(x: FloatArray, y: FloatArray, n: int, k: int) -> Shares:
    """The share of the k nearest by cosine that are others in y, for the first n rows.

    Args:
        x: Shape [row, dim].
        y: Shape [row, dim]; the same rows, of any width.
        n: How many rows are judged, among all of them.
        k: Neighbours, the row itself left out.

    >>> line = np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1]], np.float32)
    >>> changed(line, line, 4, 1).tolist(), changed(line, line[[0, 2, 1, 3]], 4, 1).tolist()
    ([0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0])
    """
    rows = np.arange(n)
    near_x, near_y = (neighbour_lists(side, k, rows=rows).ids for side in (x, y))
    kept: Shares = (near_x[:, :, None] == near_y[:, None, :]).any(axis=2).mean(axis=1)
    return 1 - kept
