"""Tables of the report: readable numbers that keep their full value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from usad_workbench.workbench.presenters.diagnosis import rows as panel_rows
from usad_workbench.workbench.presenters.diagnosis.views import PanelView
from usad_workbench.workbench.presenters.headings import heading
from usad_workbench.workbench.presenters.numbers import (
    MISSING,
    column_number,
    is_missing,
    is_number,
)

MAX_ROWS = 300
"""Longer tables make a report slow to open; all rows are in the workspace."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One value of a table."""

    text: str = ""
    css: str | None = None
    full: str | None = None
    """The number to its last digit, for programs."""
    shares: tuple[tuple[str, "Cell"], ...] = ()
    """Numbers by name, where a cell holds several."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One row of a panel."""

    number: int
    """Its place in the panel."""
    is_out: bool
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """The rows of a panel."""

    headings: tuple[str, ...]
    rows: tuple[Row, ...]


def panel_table(frame: pd.DataFrame, view: PanelView) -> Table:
    """All columns that say something, what is most certain first, at most ``MAX_ROWS``."""
    shown = panel_rows.visible(frame)
    columns = [str(name) for name in shown]
    records = shown.to_dict("records")
    return Table(
        headings=tuple(heading(name) for name in columns),
        rows=tuple(
            Row(
                number=i,
                is_out=panel_rows.stands_out(records[i], view),
                cells=tuple(cell(records[i][name], name) for name in columns),
            )
            for i in _order(frame, view)[:MAX_ROWS]
        ),
    )


def _order(frame: pd.DataFrame, view: PanelView) -> list[int]:
    """Rows as the panel has them; the surest first only where not all are shown."""
    if len(frame) <= MAX_ROWS:
        return list(range(len(frame)))
    values = pd.to_numeric(frame[view.value], errors="coerce").abs().fillna(-1.0).to_numpy()
    if "q_value" not in frame:
        return [int(i) for i in np.argsort(-values, kind="stable")]
    q = pd.to_numeric(frame["q_value"], errors="coerce").fillna(2.0).to_numpy()
    return [int(i) for i in np.lexsort((-values, q))]


def cell(value: object, column: str) -> Cell:
    """One value: numbers rounded for the eye, the full value beside it for programs.

    >>> cell(0.123456, "value")
    Cell(text='0.123', css='number', full='0.123456', shares=())
    """
    if isinstance(value, Mapping):
        return Cell(shares=tuple((str(name), _number(item, "")) for name, item in value.items()))
    if isinstance(value, (list, tuple, np.ndarray)):
        return Cell(text=", ".join(str(item) for item in value))
    if isinstance(value, (bool, np.bool_)):
        return Cell(text="yes" if value else "no")
    if is_missing(value) or value == "":
        return Cell(text=MISSING, css="none")
    if isinstance(value, (int, float, np.integer, np.floating)):
        return _number(value, column)
    return Cell(text=str(value), css="word" if column != "reason" else "reason")


def _number(value: object, column: str) -> Cell:
    if not is_number(value):
        return Cell(text=MISSING, css="number")
    number = float(str(value))
    return Cell(text=column_number(number, column), css="number", full=repr(number))


@dataclass(frozen=True, kw_only=True, slots=True)
class Matrix:
    """Values of names by names, such as teachers by domains."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]


def matrix(values: Mapping[str, Mapping[str, object]]) -> Matrix:
    """A table of names by names; a dash where a name has no value."""
    columns = tuple(dict.fromkeys(str(name) for row in values.values() for name in row))
    return Matrix(
        columns=columns,
        rows=tuple(
            (str(name), tuple(_answer(row.get(column, MISSING)) for column in columns))
            for name, row in values.items()
        ),
    )


def _answer(value: object) -> Cell:
    answer = str(value).split(":")[0]
    kind = {"yes": "yes", "no": "no", "not testable": "open", "undecided": "open"}.get(answer)
    return Cell(text="" if value is None else str(value), css=kind)


Pairs = Sequence[tuple[str, object]]
"""Names with their values, one below the other."""
