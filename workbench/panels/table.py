"""Tables of clips whose rows lead to the sound."""

from typing import Any, Literal

import pandas as pd
import streamlit as st

from usad_workbench.workbench.presenters.clips import column_order
from usad_workbench.workbench.presenters.headings import NUMBERS, WORDS

Height = int | Literal["auto"]
WIDTHS: dict[str, Literal["small", "medium", "large"]] = {
    "licence": "medium",
    "source": "medium",
    "reason": "large",
}


def show(frame: pd.DataFrame, *, key: str | None = None, height: Height = "auto") -> None:
    """A table to look at."""
    st.dataframe(
        frame, hide_index=True, key=key, column_config=columns(frame),
        height=height,
    )  # fmt: skip


def pick_row(frame: pd.DataFrame, *, key: str, height: Height = "auto") -> int | None:
    """A table of clips; the position of the row that was clicked, if any."""
    event: Any = st.dataframe(
        frame, hide_index=True, key=key, column_order=column_order(frame),
        column_config=columns(frame), on_select="rerun", selection_mode="single-row",
        height=height,
    )  # fmt: skip
    rows = event.selection.rows if event else []
    return int(rows[0]) if rows and rows[0] < len(frame) else None


def columns(frame: pd.DataFrame) -> dict[str, Any]:
    """Headings and formats for the columns that are there."""
    config: dict[str, Any] = {}
    for name in frame:
        if name in NUMBERS:
            title, form = NUMBERS[name]
            config[name] = st.column_config.NumberColumn(title, format=form)
        elif name in WIDTHS:
            config[name] = st.column_config.Column(width=WIDTHS[name])
        elif name in WORDS:
            config[name] = st.column_config.Column(WORDS[name])
    return config
