"""Lists of nearest neighbours of every vector of a space, and the share of them that is true.

Up to 10,000 vectors the lists are exact. Above they are found by NN-descent (Dong, Charikar & Li
2011, as pynndescent has it), and their recall is measured: for a sample of vectors against the
exact lists over all. Where it is too low, those within whitened clusters are added.

Processor seconds for 15 neighbours of 100,000 vectors of 384 values, and recall, where clusters
are low-dimensional / where they are balls: NN-descent that follows 15 neighbours 8 at 0.977 / 10
at 0.933, 30 neighbours 14 at 0.993 / 14 at 0.998. Dropped: FAISS's inverted lists (632), queries
in the order of the lists, 19 at 0.954 / as many lists read one by one (its big batch search) 21
at 0.954 and 33 at 0.966 / 18 at 1.000; clusters compared with their nearest clusters as blocks
15 at 0.907 / 14 at 1.000. The index of search, an eighth of its lists read, took 164.

Recall falls as collections grow: 30 neighbours of the vectors of ``usad bench``, whose clusters
share the directions that vary most, took 16 at 0.996 for 100,000 and 64 at 0.925 for 300,000.
There neighbours within whitened clusters are added (``whitened_lists``). Dropped: a second run
that follows 60, over 14 processor minutes for a million; 192 principal components of 384, 13 to
15 at 0.98 for 100,000; rows in the order of clusters, no faster. For a million exact lists are
7.7e14 operations, 2.5 hours at the 87 Gflop/s of one core; inverted lists that compare 6 % of
all pairs find 0.80.
"""

import io
import re
import sys
from contextlib import nullcontext, redirect_stdout
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from usad_workbench.core.metrics import Metric
from usad_workbench.core.progress import Progress, no_progress, part_of
from usad_workbench.core.storage.workspace import FloatArray

Rows = npt.NDArray[np.int32]
MapMetric = Literal["cosine", "euclidean"]
"""Distances that a map can be made of."""

EXACT_UP_TO = 10_000
"""Vectors whose exact lists take a few seconds."""
TARGET_RECALL = 0.95
N_CHECKED = 1000
"""Vectors whose lists are compared with exact ones; recall is known to about 0.005 then."""
FOLLOWED = 2
"""How many times as many neighbours as are asked for NN-descent follows."""
DELTA = 0.01
"""NN-descent ends with the pass that changes a smaller share of the lists."""
DESCENT = "neighbours by NN-descent"
PASS = re.compile(r"\s*(\d+)\s+/\s+(\d+)\s*")
SAID = re.compile("RP forest|NN descent|Stopping threshold")
BLOCK_VALUES = 1 << 25
"""Values of neighbours that are compared at once: 134 MB."""
TIE = 1e-6
"""Scores that differ by less are equal in float32: either vector is a true neighbour."""
SEED = 0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class NeighbourLists:
    """The nearest rows of each row, itself first."""

    rows: Rows
    """Shape [row, k]."""
    distances: FloatArray
    """Distances by the metric, shape [row, k], ascending."""
    method: str
    """``exact`` or ``nn-descent``."""
    recall: float
    """Share of true neighbours among those listed, itself not counted; 1 where exact."""
    n_checked: int
    """Rows that recall was measured on, against all rows."""


def find_neighbours(
    unit: FloatArray,
    k: int,
    *,
    metric: MapMetric = "cosine",
    exact_up_to: int = EXACT_UP_TO,
    target_recall: float = TARGET_RECALL,
    progress: Progress = no_progress,
) -> NeighbourLists:
    """Lists the k nearest rows of each row, itself first.

    The same vectors give the same lists with the same number of threads; with another number
    NN-descent finds other ones in a few rows of a thousand.

    Args:
        unit: Vectors, shape [row, dim]: at length one for ``cosine`` (zeros stay zeros).
        k: Length of the lists with the row itself; all rows where there are fewer.
        metric: Euclidean lists are not improved: what NN-descent finds is what there is.
        exact_up_to: Rows up to which every pair is compared.
        target_recall: What approximate lists are improved for; what was reached is stated.
        progress: Called after each block of rows that is compared, and each pass of NN-descent.

    Returns:
        Rows and distances, each [row, k], with their recall.

    >>> find_neighbours(np.eye(3, dtype=np.float32), 2).rows.tolist()
    [[0, 1], [1, 0], [2, 0]]
    """
    k = min(k, len(unit))
    if k < 2:
        rows = np.arange(len(unit), dtype=np.int32)[:, None][:, :k]
        return _lists(unit, rows, metric, "exact", 1.0, len(unit))
    if len(unit) <= exact_up_to:
        rows = _exact(unit, k - 1, np.arange(len(unit)), metric, progress)
        return _lists(unit, _itself_first(rows, k), metric, "exact", 1.0, len(unit))
    checked = np.sort(np.random.default_rng(SEED).permutation(len(unit))[:N_CHECKED])
    true = _exact(unit, k - 1, checked, metric, part_of(progress, 0, 3))
    rows = _itself_first(_descent(unit, k * FOLLOWED, part_of(progress, 1, 3)), k, unit)
    recall = recall_of(unit, checked, rows[checked, 1:], true, metric)
    if recall < target_recall and metric == "cosine":
        rows = _joined(unit, rows, part_of(progress, 2, 3))
        recall = recall_of(unit, checked, rows[checked, 1:], true)
    progress(1, 1, f"neighbours of recall {recall:.3f}")
    return _lists(unit, rows, metric, "nn-descent", recall, len(checked))


def recall_of(
    unit: FloatArray,
    queries: npt.NDArray[np.int64],
    found: Rows,
    true: Rows,
    metric: MapMetric = "cosine",
) -> float:
    """Share of found neighbours that are as near as the farthest true one.

    Equal scores count as equal: of more copies than ``k`` any are true.

    Args:
        unit: Vectors, shape [row, dim]: at length one for ``cosine``.
        queries: Whose neighbours, shape [query].
        found: Rows, without the query itself, shape [query, k].
        true: The k nearest, shape [query, k].
        metric: Nearest by what.
    """
    found = np.sort(found, axis=1)
    is_other = np.diff(found, axis=1, prepend=-1) != 0  # listed twice is found once
    farthest = _distances(unit, queries, true, metric).max(axis=1, keepdims=True)
    near = _distances(unit, queries, found, metric) <= farthest + TIE
    return float((is_other & near).mean())


def _exact(
    unit: FloatArray,
    k: int,
    of: npt.NDArray[np.int64],
    metric: MapMetric = "cosine",
    progress: Progress = no_progress,
) -> Rows:
    """The k nearest other rows of some rows, compared with all."""
    from usad_workbench.indexes.torch_search import neighbour_lists  # imports torch

    exact: Metric = "cosine" if metric == "cosine" else "l2"
    found = neighbour_lists(unit, k, metric=exact, rows=of, progress=progress)
    return found.ids.astype(np.int32)


def _joined(unit: FloatArray, rows: Rows, progress: Progress) -> Rows:
    from usad_workbench.indexes.whitened_lists import join_within_lists  # imports torch

    return join_within_lists(unit, rows, progress)


def _descent(unit: FloatArray, k: int, progress: Progress = no_progress) -> Rows:
    """What NN-descent finds; fewer than k where -1 fills up, itself most often the first."""
    progress(0, 1, DESCENT)
    from pynndescent import NNDescent  # slow to import: it compiles

    is_shown = progress is not no_progress
    with redirect_stdout(_Passes(progress)) if is_shown else nullcontext():
        # On unit vectors Euclidean distance has the order of the cosine, zeros have a place in it.
        descent = NNDescent(
            unit,
            metric="euclidean",
            n_neighbors=min(k, len(unit) - 1),
            delta=DELTA,
            random_state=SEED,
            verbose=is_shown,
        )
    rows: Rows = descent.neighbor_graph[0]
    progress(1, 1, DESCENT)
    return rows


class _Passes(io.TextIOBase):
    """What NN-descent prints of its passes, as progress: it offers no other way to count them."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._others = sys.stdout
        self._line = ""

    def write(self, text: str) -> int:
        """Reports lines such as ``1 / 20``; what others print in the meantime is passed on."""
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            if found := PASS.fullmatch(line):
                self._progress(int(found[1]) - 1, int(found[2]), DESCENT)
            elif not SAID.search(line):
                self._others.write(f"{line}\n")
        return len(text)


def _itself_first(rows: Rows, k: int, unit: FloatArray | None = None) -> Rows:
    """Each row's own number before its k - 1 others; with vectors, those nearest first."""
    own = np.arange(len(rows), dtype=np.int32)[:, None]
    if unit is None:
        return np.hstack([own, rows])
    # A row that is listed itself, or not filled, comes last; what is too short gets any others.
    spare = (own + 1 + np.arange(rows.shape[1], dtype=np.int32)) % len(rows)
    rows = np.where(rows < 0, spare, rows).astype(np.int32)
    order = np.argsort(rows == own, axis=1, kind="stable")[:, : k - 1]
    return np.hstack([own, np.take_along_axis(rows, order, axis=1)])


def _lists(
    unit: FloatArray, rows: Rows, metric: MapMetric, method: str, recall: float, n_checked: int
) -> NeighbourLists:
    """The lists with their distances, others than the row itself sorted by them."""
    distances = np.zeros(rows.shape, np.float32)
    distances[:, 1:] = _distances(unit, np.arange(len(unit)), rows[:, 1:], metric)
    order = np.argsort(distances[:, 1:], axis=1, kind="stable") + 1
    rows[:, 1:] = np.take_along_axis(rows, order, axis=1)
    distances[:, 1:] = np.take_along_axis(distances, order, axis=1)
    return NeighbourLists(
        rows=rows, distances=distances, method=method, recall=recall, n_checked=n_checked
    )


def _distances(
    unit: FloatArray,
    queries: npt.NDArray[np.int64],
    rows: Rows,
    metric: MapMetric = "cosine",
) -> FloatArray:
    """Distances [query, k] of rows and their neighbours, block by block."""
    distances = np.empty(rows.shape, np.float32)
    step = max(1, BLOCK_VALUES // max(1, rows.shape[1] * unit.shape[1]))
    for start in range(0, len(rows), step):
        block = slice(start, start + step)
        near, own = unit[rows[block]], unit[queries[block]]
        if metric == "cosine":
            scores = np.einsum("ijd,id->ij", near, own)
            distances[block] = np.clip(1.0 - scores, 0.0, 2.0)
        else:
            distances[block] = np.linalg.norm(near - own[:, None], axis=2)
    return distances
