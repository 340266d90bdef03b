"""What every measure asks of its arrays, checked in one place.

Embeddings come as float16 or float32 from storage; every measure computes in float64.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from usad_workbench.core.errors import DegenerateError, ShapeError

Matrix = NDArray[np.float64]
Indices = NDArray[np.intp]
Vectors = NDArray[Any]
"""Embeddings `[clip, dim]` of any real type."""
Ids = Sequence[Any] | NDArray[Any]
"""One cluster, group or label id for each clip."""

SPREAD_FLOOR = 1e-13
"""A spread below this share of the largest value is the rounding of a mean, not geometry."""


def as_vectors(x: Vectors, name: str, min_clips: int = 1) -> Matrix:
    """The embeddings as float64 `[clip, dim]`.

    Raises:
        ShapeError: not two axes, no dims, or fewer clips than the measure needs.
        DegenerateError: a value that is not finite.
    """
    return finite_vectors(x, name, min_clips).astype(np.float64)


def finite_vectors(x: Vectors, name: str, min_clips: int = 1) -> Vectors:
    """The embeddings `[clip, dim]` as they came, floats of any width: no copy is made.

    Raises:
        ShapeError: not two axes, no dims, or fewer clips than the measure needs.
        DegenerateError: a value that is not finite.
    """
    array = np.asarray(x)
    if array.ndim != 2 or array.shape[1] == 0 or array.dtype.kind not in "fiub":
        raise ShapeError(
            f"{name} has shape {array.shape} and type {array.dtype}, expected real numbers "
            "[clip, dim]. Give one vector for each clip."
        )
    if len(array) < min_clips:
        raise ShapeError(
            f"{name} has {len(array)} clips, the measure needs at least {min_clips}. "
            "Choose a larger domain or fewer filters."
        )
    if array.dtype.kind != "f":
        array = array.astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if len(bad):
        raise DegenerateError(
            f"{name} has {len(bad)} clips with values that are not finite (first: row {bad[0]}), "
            "expected finite numbers. Embed these clips again or leave them out."
        )
    return array


def check_aligned(x: Vectors, y: Vectors, min_clips: int = 1) -> tuple[Matrix, Matrix]:
    """Both embeddings as float64, if they hold equally many clips.

    Raises:
        ShapeError: other numbers of clips, or an array that is no `[clip, dim]`.
        DegenerateError: a value that is not finite.
    """
    a, b = as_vectors(x, "x", min_clips), as_vectors(y, "y", min_clips)
    if len(a) != len(b):
        raise ShapeError(
            f"x has {len(a)} clips and y has {len(b)}, expected the same clips in the same "
            "order. Select the clips that both encoders have."
        )
    return a, b


def cluster_codes(clusters: Ids | None, n_clips: int) -> Indices:
    """Clusters as numbers 0, 1, ... `[clip]`; without clusters every clip is its own.

    Numbered by rising id, ids that are no integers as text.

    Raises:
        ShapeError: another number of ids than clips.
    """
    if clusters is None:
        return np.arange(n_clips)
    ids = id_array(clusters)
    if ids.shape != (n_clips,):
        raise ShapeError(
            f"There are {ids.shape} cluster ids for {n_clips} clips, expected one for each clip. "
            "Pass the cluster_id column in the order of the rows."
        )
    return np.unique(ids, return_inverse=True)[1].astype(np.intp)


def id_array(ids: Ids) -> NDArray[Any]:
    """Ids that sort: whole numbers as they are, anything else as text.

    As text, a column of mixed types is grouped by what it shows.
    """
    if isinstance(ids, np.ndarray) and ids.dtype.kind in "iu":
        return ids
    return np.asarray([str(item) for item in ids], dtype=np.str_)


def centred_unit(x: Matrix, name: str) -> Matrix:
    """Embeddings minus their mean, scaled to a mean square of 1.

    The scale goes first: squares of very large or very small values would leave the
    range of float64.

    Raises:
        DegenerateError: all rows are equal.
    """
    largest = float(np.abs(x).max(initial=0.0))
    scaled = x / largest if largest > 0 else x
    centred = scaled - scaled.mean(axis=0)
    spread = float(np.sqrt(np.mean(centred**2)))
    if spread <= SPREAD_FLOOR:
        raise DegenerateError(
            f"All {len(x)} rows of {name} are equal, expected embeddings that differ. "
            "Leave this layer out, or check how it was embedded."
        )
    return np.asarray(centred / spread)
