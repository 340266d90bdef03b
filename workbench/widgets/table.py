"""Tables of clips whose rows lead to the sound."""

from typing import Any, Literal

import pandas as pd
import streamlit as st

from usad_workbench.workbench import state
from usad_workbench.workbench.presenters.clips import column_order
from usad_workbench.workbench.presenters.headings import NUMBERS, WORDS, heading
from usad_workbench.workbench.presenters.names import encoder_names, with_short_names
from usad_workbench.workbench.presenters.text import escape_markdown
from usad_workbench.workbench.widgets.page import download

Height = int | Literal["auto"]
ENCODER_WIDTH = 260
"""Pixels for the longest short names."""
WIDTHS: dict[str, int | Literal["small", "medium", "large"]] = {
    "licence": "medium",
    "source": "medium",
    "reason": "large",
    "encoder": ENCODER_WIDTH,
    "student": ENCODER_WIDTH,
    "teacher": ENCODER_WIDTH,
    "system": ENCODER_WIDTH,
    "task": "medium",
}
"""Wider than the first rows ask for: the grid measures no more than those."""


def show(
    frame: pd.DataFrame,
    *,
    key: str | None = None,
    height: Height = "auto",
    is_raw: bool = False,
    file_name: str | None = None,
) -> None:
    """A table to look at, its encoders by their short names unless ``is_raw``.

    With a file name there is a button below that saves it.
    """
    shown = frame if is_raw else with_short_names(frame, encoder_names(state.sql))
    st.dataframe(
        shown,
        hide_index=True,
        key=key,
        column_config=columns(frame),
        height=height,
    )
    if file_name is not None:
        download(frame, file_name)


def show_whole(frame: pd.DataFrame) -> None:
    """A table of text whose cells wrap: nothing of it is cut."""
    st.table(
        frame.rename(columns=heading).map(escape_markdown).set_index(heading(str(frame.columns[0])))
    )


def pick_row(frame: pd.DataFrame, *, key: str, height: Height = "auto") -> int | None:
    """A table of clips; the position of the row that was clicked, if any."""
    event: Any = st.dataframe(
        frame,
        hide_index=True,
        key=key,
        column_order=column_order(frame),
        column_config=columns(frame),
        on_select="rerun",
        selection_mode="single-row",
        height=height,
    )
    rows = event.selection.rows if event else []
    return int(rows[0]) if rows and rows[0] < len(frame) else None


def pick_any(frame: pd.DataFrame, *, key: str, height: Height = "auto") -> int | None:
    """A table of any rows; the position of the one that was clicked, if any."""
    shown = with_short_names(frame, encoder_names(state.sql))
    event: Any = st.dataframe(
        shown,
        hide_index=True,
        key=key,
        column_config=number_columns(frame) | columns(frame),
        on_select="rerun",
        selection_mode="single-row",
        height=height,
    )
    rows = event.selection.rows if event else []
    return int(rows[0]) if rows and rows[0] < len(frame) else None


def number_columns(frame: pd.DataFrame) -> dict[str, Any]:
    """Headings for all columns, three digits for those with fractions."""
    return {
        str(name): st.column_config.NumberColumn(heading(str(name)), format="%.3f")
        if pd.api.types.is_float_dtype(frame[name]) and not str(name).startswith("n_")
        else st.column_config.Column(heading(str(name)))
        for name in frame
    }


def columns(frame: pd.DataFrame) -> dict[str, Any]:
    """Headings and formats for the columns that are there."""
    config: dict[str, Any] = {}
    for name in frame:
        if name in NUMBERS:
            title, form = NUMBERS[name]
            config[name] = st.column_config.NumberColumn(title, format=form)
        elif name in WIDTHS:
            config[name] = st.column_config.Column(heading(str(name)), width=WIDTHS[name])
        elif name in WORDS:
            config[name] = st.column_config.Column(WORDS[name])
    return config
