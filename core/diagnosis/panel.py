"""What a panel gives: typed rows for its table, and the clips that move each of its cells.

The dataclass of a panel's rows declares the columns of its table: names, order, SQL types. NaN and
None say that a number was not measured, and ``reason`` says why.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TypeVar

import numpy as np

from usad_workbench.core.arrays import Matrix
from usad_workbench.core.diagnosis.data import DiagnosisData
from usad_workbench.core.progress import Progress
from usad_workbench.core.similarity import benjamini_hochberg
from usad_workbench.core.storage.row_types import columns_of

N_INFLUENTIAL = 100
"""Clips that are kept at each end of a cell; the others are computed on click."""
Shares = Mapping[str, float]
"""Numbers by name of an encoder, a domain or a task."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PanelRow:
    """A row of some panel; each panel declares its own, as a frozen dataclass."""

    def document(self) -> dict[str, object]:
        """The row in the JSON document of ``usad diagnose``."""
        return asdict(self)


RowT = TypeVar("RowT", bound=PanelRow)


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
    row_type: type[PanelRow]
    """Declares the columns."""
    rows: Sequence[PanelRow]
    influential: Sequence[InfluentialClips] = ()
    warnings: Sequence[str] = ()

    @property
    def columns(self) -> dict[str, str]:
        """SQL type of each column, in order; ``MAP(VARCHAR, DOUBLE)`` for shares by name."""
        return {column.name: column.sql_type for column in columns_of(self.row_type)}

    def documents(self) -> list[dict[str, object]]:
        """The rows in the JSON document of ``usad diagnose``."""
        return [row.document() for row in self.rows]

    def rows_of(self, row_type: type[RowT]) -> list[RowT]:
        """The rows that are of a type: all where it is the panel's own."""
        return [row for row in self.rows if isinstance(row, row_type)]


@dataclass(frozen=True, kw_only=True, slots=True)
class PanelKind:
    """A panel that ``usad diagnose`` offers."""

    name: str
    question: str
    """What it answers, in one sentence: the head of its section in report and app."""
    row_type: type[PanelRow]
    compute: Callable[[DiagnosisData, Progress], Panel]
    uses_processes: bool = False
    """Whether it spreads itself over the cores."""


def cell_name(**names: object) -> str:
    """The name of a cell: what a row is about, the same in table, drill-down and app.

    >>> cell_name(teacher="whisper", domain="speech", layer=3)
    'teacher=whisper|domain=speech|layer=3'
    """
    return "|".join(f"{name}={value}" for name, value in names.items())


def most_influential(
    cell: str, clip_ids: Sequence[str], influence: Matrix, kind: str
) -> InfluentialClips:
    """The ``N_INFLUENTIAL`` clips at each end, largest influence first; those without it left out.

    >>> clips = most_influential("c", ["a", "b", "c"], np.array([0.1, np.nan, 0.4]), "jackknife")
    >>> list(clips.clip_ids)
    ['c', 'a']
    """
    influence = np.asarray(influence, dtype=np.float64)
    finite = np.flatnonzero(np.isfinite(influence))
    order = finite[np.argsort(-influence[finite], kind="stable")]
    if len(order) > 2 * N_INFLUENTIAL:
        order = np.concatenate([order[:N_INFLUENTIAL], order[-N_INFLUENTIAL:]])
    return InfluentialClips(
        cell=cell, clip_ids=[clip_ids[i] for i in order], influence=influence[order], kind=kind
    )


def q_values(p_values: Iterable[float]) -> list[float]:
    """Benjamini-Hochberg over a panel; NaN where nothing was tested.

    >>> q_values([0.01, float("nan"), 0.04])
    [0.02, nan, 0.04]
    """
    q: list[float] = benjamini_hochberg(np.array(list(p_values), dtype=np.float64)).tolist()
    return q


def join_reasons(*reasons: str) -> str:
    """Reasons in one text, each once; empty ones left out.

    >>> join_reasons("few clips", "", "few clips", "one class")
    'few clips; one class'
    """
    return "; ".join(dict.fromkeys(filter(None, reasons)))


def cells_of_domains_and_layers(
    data: DiagnosisData,
    name: str,
    compute_cell: Callable[[DiagnosisData, str, int], tuple[RowT, list[InfluentialClips]]],
    progress: Progress,
) -> tuple[list[RowT], list[InfluentialClips]]:
    """One row for each domain and each of the few student layers, with its clips.

    Args:
        data: Of one student.
        name: Of the panel, for the progress.
        compute_cell: Makes the row of a domain and a layer.
        progress: Called after each row.
    """
    rows: list[RowT] = []
    clips: list[InfluentialClips] = []
    jobs = [(domain, layer) for domain in data.domains for layer in data.student_layers]
    for done, (domain, layer) in enumerate(jobs, start=1):
        row, clips_of_row = compute_cell(data, domain, layer)
        rows.append(row)
        clips += clips_of_row
        progress(done, len(jobs), name)
    return rows, clips
