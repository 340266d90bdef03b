"""Counts of each column: of all segments, and of those that are selected.

A column's own clauses do not shrink its own bars, or choosing one value would hide the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from usad_workbench.core.storage.segment_table import Categories, Column, Numbers
from usad_workbench.core.storage.selection import Mask, Selection

N_BINS = 24
N_COLOURS = 255
"""Codes of one byte that mean a value; the last one means none."""
N_LISTED = 50
"""Values of a column that are listed; how many others there are is said."""


@dataclass(frozen=True, slots=True, eq=False)
class Binned:
    """A column as one small code for each row, and what its codes are."""

    codes: npt.NDArray[np.integer[Any]]
    """Shape [row]; the last code is of rows without a value."""
    n_codes: int
    """Without the last one."""

    def counts(self, mask: Mask | None) -> npt.NDArray[np.int64]:
        """How many rows there are of each code, shape [code]."""
        codes = self.codes if mask is None else self.codes[mask]
        counted: npt.NDArray[np.int64] = np.bincount(codes, minlength=self.n_codes + 1)
        return counted[: self.n_codes]


def binned(column: Column) -> Binned:
    """A column ready to be counted."""
    if isinstance(column, Categories):
        n = len(column.values)
        kind = np.uint16 if n < 65_535 else np.int32
        return Binned(np.where(column.codes < 0, n, column.codes).astype(kind), n)
    return Binned(_places(column, edges(column)), N_BINS)


def edges(column: Numbers, n_bins: int = N_BINS) -> npt.NDArray[np.float64]:
    """Of bins of equal width over all values, shape [bin + 1]."""
    known = column.values[np.isfinite(column.values)]
    low, high = (known.min(), known.max()) if len(known) else (0.0, 1.0)
    found: npt.NDArray[np.float64] = np.linspace(low, high if high > low else low + 1, n_bins + 1)
    return found


def quantile_edges(column: Numbers, n_bins: int = N_COLOURS) -> npt.NDArray[np.float64]:
    """Of bins of equal count, as far as equal values allow, shape [bin + 1]."""
    known = column.values[np.isfinite(column.values)]
    if not len(known):
        return np.array([0.0, 1.0])
    found: npt.NDArray[np.float64] = np.unique(np.quantile(known, np.linspace(0, 1, n_bins + 1)))
    return found if len(found) > 1 else np.array([found[0], found[0] + 1])


def coloured(column: Numbers, of: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """The bin of each value for colouring, shape [row]; 255 where there is none."""
    places = np.searchsorted(of, column.values, side="right") - 1
    codes = places.clip(0, len(of) - 2).astype(np.uint8)
    codes[~np.isfinite(column.values)] = N_COLOURS
    return codes


def facet(column: Column, bins: Binned, mask: Mask) -> dict[str, Any]:
    """The counts of one column as it travels."""
    every, chosen = bins.counts(None), bins.counts(mask)
    if isinstance(column, Numbers):
        return {
            "edges": edges(column).tolist(),
            "all": every.tolist(),
            "selected": chosen.tolist(),
        }
    # Values come most frequent first; those that weigh most in the selection stand beside them.
    listed = np.arange(min(N_LISTED, len(every)))
    if len(every) > N_LISTED:
        half = N_LISTED // 2
        by_chosen = np.argsort(-chosen, kind="stable")[:half]
        rest = listed[~np.isin(listed, by_chosen)][: N_LISTED - half]
        listed = np.sort(np.concatenate([by_chosen, rest]))
    return {
        "values": [column.values[i] for i in listed],
        "all": every[listed].tolist(),
        "selected": chosen[listed].tolist(),
        "n_others": len(every) - len(listed),
    }


def without_column(selection: Selection, name: str) -> Selection:
    """The clauses that are about something else."""
    return tuple(clause for clause in selection if clause.column != name)


def _places(column: Numbers, of: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    n_bins = len(of) - 1
    scaled = (column.values - of[0]) / (of[-1] - of[0]) * n_bins
    is_known = np.isfinite(column.values)
    codes = np.full(len(scaled), n_bins, np.uint8)
    codes[is_known] = scaled[is_known].clip(0, n_bins - 1)
    return codes


def names_of(columns: Sequence[Column]) -> list[str]:
    """The names of columns."""
    return [column.name for column in columns]
