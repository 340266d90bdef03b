"""Tables of the report: readable numbers that keep their full value."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from usad_workbench.workbench.presenters.diagnosis import rows as panel_rows
from usad_workbench.workbench.presenters.diagnosis.views import PanelView
from usad_workbench.workbench.presenters.headings import heading
from usad_workbench.workbench.presenters.numbers import MISSING, is_known, is_missing, parameters
from usad_workbench.workbench.report.markup import Html, tag

MAX_ROWS = 300
"""Longer tables make a report slow to open; all rows are in the workspace."""
MAX_PARTS = 6
"""Cells with more values than this are folded."""
Row = Mapping[Any, Any]


def panel_table(frame: pd.DataFrame, view: PanelView) -> Html:
    """All columns that say something, what is most certain first, at most ``MAX_ROWS``."""
    shown = panel_rows.visible(frame)
    order = _order(frame, view)[:MAX_ROWS]
    columns = [str(name) for name in shown]
    records = shown.to_dict("records")
    head = tag("tr", *[tag("th", heading(name), scope="col") for name in columns])
    body = [
        tag(
            "tr",
            *[cell(records[i][name], name) for name in columns],
            class_="out" if panel_rows.stands_out(records[i], view) else None,
            data_row=int(i),
        )
        for i in order
    ]
    return tag("table", tag("thead", head), tag("tbody", *body), class_="wide")


def _order(frame: pd.DataFrame, view: PanelView) -> list[int]:
    """Rows as the panel has them; the surest first only where not all are shown."""
    if len(frame) <= MAX_ROWS:
        return list(range(len(frame)))
    values = pd.to_numeric(frame[view.value], errors="coerce").abs().fillna(-1.0).to_numpy()
    if "q_value" not in frame:
        return [int(i) for i in np.argsort(-values, kind="stable")]
    q = pd.to_numeric(frame["q_value"], errors="coerce").fillna(2.0).to_numpy()
    return [int(i) for i in np.lexsort((-values, q))]


def cell(value: Any, column: str) -> Html:
    """One value: numbers rounded for the eye, the full value beside it for programs."""
    if isinstance(value, Mapping):
        parts = [
            tag("span", f"{name} ", _number(one, ""), class_="share") for name, one in value.items()
        ]
        if len(parts) > MAX_PARTS:
            return tag("td", tag("details", tag("summary", f"{len(parts)} values"), *parts))
        return tag("td", *parts)
    if isinstance(value, (list, tuple, np.ndarray)):
        return tag("td", ", ".join(str(one) for one in value))
    if isinstance(value, (bool, np.bool_)):
        return tag("td", "yes" if value else "no")
    if is_missing(value) or value == "":
        return tag("td", MISSING, class_="none")
    if isinstance(value, (int, float, np.integer, np.floating)):
        return tag("td", _number(value, column), class_="number")
    return tag("td", str(value), class_="word" if column != "reason" else "reason")


def _number(value: Any, column: str) -> Html:
    if not is_known(value):
        return tag("span", MISSING)
    return tag("data", number_words(float(value), column), value=repr(float(value)))


def number_words(value: float, column: str = "") -> str:
    """A number for the eye: whole where it counts, small ones as a limit.

    >>> number_words(0.12345), number_words(0.0001, "p_value"), number_words(12.0, "n_clips")
    ('0.123', '< 0.001', '12')
    >>> number_words(7_633_152, "n_params"), number_words(-0.5)
    ('7.6 M', '−0.500')
    """
    if column.startswith("n_params"):
        return parameters(value)
    if column in ("p_value", "q_value") and 0 <= value < 0.001:
        return "< 0.001"
    if column.startswith("n_") or column == "layer" or column.endswith("_layer"):
        return f"{value:,.0f}"
    digits = 3 if abs(value) < 100 else 0
    return f"{value:,.{digits}f}".replace("-", "−")


def matrix(values: Mapping[str, Mapping[str, Any]]) -> Html:
    """A table of names by names, such as teachers by domains."""
    columns = list(dict.fromkeys(name for row in values.values() for name in row))
    head = tag("tr", tag("th"), *[tag("th", name, scope="col") for name in columns])
    rows = [
        tag("tr", tag("th", name, scope="row"), *[_answer(row.get(c, MISSING)) for c in columns])
        for name, row in values.items()
    ]
    return tag("table", tag("thead", head), tag("tbody", *rows), class_="matrix")


def pairs(values: Sequence[tuple[str, Any]]) -> Html:
    """Names with their values, one below the other."""
    rows = [tag("tr", tag("th", name, scope="row"), tag("td", value)) for name, value in values]
    return tag("table", tag("tbody", *rows), class_="pairs")


def _answer(value: Any) -> Html:
    answer = str(value).split(":")[0]
    kind = {"yes": "yes", "no": "no", "not testable": "open", "undecided": "open"}.get(answer)
    return tag("td", value, class_=kind)
