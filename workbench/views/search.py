"""Search: the instrument with what was found in the middle, and the map beside it."""

import json

import streamlit as st

from usad_workbench.workbench import state
from usad_workbench.workbench.presenters.clips import segments
from usad_workbench.workbench.presenters.text import escape_markdown
from usad_workbench.workbench.widgets import page
from usad_workbench.workbench.widgets.instrument import mount


def view() -> None:
    asked = state.asked_query()
    if asked is not None:
        st.query_params["for"] = json.dumps([asked])
    if page.is_embedded():
        mount("search", waiting=None if asked is None else describe(asked))


def describe(segment_id: int) -> str:
    """What is looked for, in a line that stands there until the instrument has come."""
    found = segments(state.sql, [segment_id])
    if found.empty:
        return "The segment that was asked for is not in the collection any more."
    return f"Similar to {escape_markdown(found.clip_id.iloc[0])}"


if __name__ == "__main__":
    view()
