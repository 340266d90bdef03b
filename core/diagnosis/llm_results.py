"""Results of benchmarks that put an LLM behind a frozen encoder, measured elsewhere.

Such a benchmark needs an accelerator and a language model; its numbers are imported as rows.
They come without clips, hence without intervals, and decide nothing: they stand beside the
other falsifiers as evidence. Names of encoders are those of the workspace, so that a student
stands beside its first stage or its teachers.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from usad_workbench.core.diagnosis.data import DiagnosisData
from usad_workbench.core.diagnosis.panel import Panel, PanelRow
from usad_workbench.core.errors import ConfigError
from usad_workbench.core.storage.diagnosis_tables import (
    LLM_KEYS,
    replace_llm_results,
    stored_llm_results,
)
from usad_workbench.core.storage.table_file import read_table, require_columns
from usad_workbench.core.storage.workspace import Workspace

NAME = "llm"
NO_INTERVAL = "imported without clips: no interval"


@dataclass(frozen=True, kw_only=True, slots=True)
class LlmRow(PanelRow):
    """The student on one task of an LLM benchmark, beside one other encoder."""

    benchmark: str
    task: str
    metric: str
    value: float
    other: str | None
    """None where the student stands alone."""
    other_value: float
    student_minus: float
    reason: str


def import_llm_results(workspace: Workspace, path: str | Path) -> int:
    """Takes the rows of a CSV file into the table ``llm_results``; the same keys are replaced.

    Args:
        workspace: Where they go.
        path: CSV with ``encoder, benchmark, task, metric, value``; larger is better. A
            benchmark of 2026 with such rows is XARES-LLM (arXiv 2603.22728).

    Returns:
        The number of rows.

    Raises:
        ConfigError: no such file, a missing column, a value that is no number, or the same
            row twice.
    """
    rows = _read(Path(path))
    replace_llm_results(workspace, rows)
    return len(rows)


def _read(path: Path) -> pd.DataFrame:
    read = read_table(path)
    require_columns(read, (*LLM_KEYS, "value"))
    faults = [
        f"Row {row.number} of {path} cannot be used. {row.fault}" for row in read.rows if row.fault
    ]
    if faults:
        raise ConfigError(faults[0])
    table = pd.DataFrame([row.cells for row in read.rows], columns=[*LLM_KEYS, "value"])
    value = pd.to_numeric(table["value"], errors="coerce")
    if table.isna().to_numpy().any() or not value.map(math.isfinite).all():
        raise ConfigError(
            f"{path} has a row without a value or a name, expected all of {', '.join(table)}."
        )
    if table.duplicated(list(LLM_KEYS)).any():
        twice = table[table.duplicated(list(LLM_KEYS))].iloc[0]
        raise ConfigError(f"{path} has {'/'.join(twice[list(LLM_KEYS)])} twice, expected it once.")
    return table.assign(value=value)


def llm_panel(data: DiagnosisData) -> Panel | None:
    """The student beside every other encoder with the same rows; none without imported rows."""
    stored = stored_llm_results(data.workspace)
    mine = stored[stored.encoder == data.student]
    others = stored[stored.encoder != data.student]
    pairs = mine.merge(others, on=["benchmark", "task", "metric"], how="left")
    rows = [
        LlmRow(
            benchmark=row.benchmark,
            task=row.task,
            metric=row.metric,
            value=float(row.value_x),
            other=row.encoder_y if isinstance(row.encoder_y, str) else None,
            other_value=float(row.value_y),
            student_minus=float(row.value_x - row.value_y),
            reason=NO_INTERVAL,
        )
        for row in pairs.itertuples()
    ]
    return Panel(name=NAME, row_type=LlmRow, rows=rows) if rows else None
