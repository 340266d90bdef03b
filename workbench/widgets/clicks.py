"""What a click on a chart says."""

from collections.abc import Callable
from typing import Any

import streamlit as st


def custom_data(event: Any) -> list[list[Any]]:
    """What the selected points of a chart carry, in the order of selection, none twice."""
    points = event.selection.points if event else []
    clicked = [tuple(p["customdata"]) for p in points if p.get("customdata") is not None]
    return [list(data) for data in dict.fromkeys(clicked)]


def kept(chart: str, key: str, read: Callable[[list[Any]], object]) -> Callable[[], None]:
    """What a chart calls on a click, which keeps what was clicked for the session.

    Args:
        chart: The key of the chart.
        key: Where it is kept; a list with this key shows it, and changes it by keyboard.
        read: Makes what is kept of what the clicked point carries.
    """

    def clicked() -> None:
        picked = custom_data(st.session_state[chart])
        if picked:
            st.session_state[key] = read(picked[-1])

    return clicked
