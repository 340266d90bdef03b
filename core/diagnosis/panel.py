"""What a panel gives: rows for its table, and for each of its cells the clips that drive it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from usad_workbench.core.arrays import Matrix
from usad_workbench.core.diagnosis.data import DiagnosisData
from usad_workbench.core.progress import Progress

N_INFLUENTIAL = 100
"""Clips that are kept at each end of a cell; the others are computed on click."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class InfluentialClips:
    """The clips that move one cell of a panel most, upwards and downwards."""

    cell: str
    """``cell_name`` of the row that the clips belong to."""
    clip_ids: Sequence[str]
    influence: Matrix
    """What each clip adds to the cell's value `[clip]`."""
    kind: str
    """What influence means here: ``jackknife``, ``overlap``, ``attribution`` or ``error``."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Panel:
    """One panel of the diagnosis as it stands in its table and in the JSON document."""

    name: str
    columns: Mapping[str, str]
    """SQL type of each column, in order; ``MAP(VARCHAR, DOUBLE)`` for shares by name."""
    rows: Sequence[Mapping[str, Any]]
    drivers: Sequence[InfluentialClips] = ()
    warnings: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class PanelKind:
    """A panel that ``usad diagnose`` knows."""

    name: str
    question: str
    """What it answers, in one sentence: the head of its section in report and app."""
    columns: Mapping[str, str]
    compute: Callable[[DiagnosisData, Progress], Panel]
    uses_processes: bool = False
    """Whether it spreads itself over the cores."""


def cell_name(**parts: object) -> str:
    """The name of a cell: what a row is about, the same in table, drill-down and app.

    >>> cell_name(teacher="whisper", domain="speech", layer=3)
    'teacher=whisper|domain=speech|layer=3'
    """
    return "|".join(f"{name}={value}" for name, value in parts.items())


def most_influential(
    cell: str, clip_ids: Sequence[str], influence: Matrix, kind: str
) -> InfluentialClips:
    """The ``N_INFLUENTIAL`` clips at each end, largest influence first; clips without one left out.

    >>> found = most_influential("c", ["a", "b", "c"], np.array([0.1, np.nan, 0.4]), "jackknife")
    >>> list(found.clip_ids)
    ['c', 'a']
    """
    influence = np.asarray(influence, dtype=np.float64)
    known = np.flatnonzero(np.isfinite(influence))
    order = known[np.argsort(-influence[known], kind="stable")]
    if len(order) > 2 * N_INFLUENTIAL:
        order = np.concatenate([order[:N_INFLUENTIAL], order[-N_INFLUENTIAL:]])
    return InfluentialClips(
        cell=cell, clip_ids=[clip_ids[i] for i in order], influence=influence[order], kind=kind
    )
