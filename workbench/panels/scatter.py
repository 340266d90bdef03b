"""The map as a chart that tells which points were selected."""

from typing import Any

import plotly.graph_objects as go
import streamlit as st

# A click selects a point only while the pointer pans: Streamlit turns clicks off in box and
# lasso mode. So panning is the default, and the bar with the other tools always shows.
MAP_CHART = {
    "displayModeBar": True,
    "displaylogo": False,
    "scrollZoom": True,
    "modeBarButtonsToRemove": ["zoom2d", "autoScale2d", "zoomIn2d", "zoomOut2d", "toImage"],
}


def pick_points(figure: go.Figure, key: str) -> list[int]:
    """Draws a map; the segment ids of the points that are selected on it.

    Ids travel with the points (``customdata``): positions are wrong as soon as a chart
    has several traces.
    """
    event: Any = st.plotly_chart(
        figure, key=key, on_select="rerun", selection_mode=("points", "box", "lasso"),
        config=MAP_CHART, theme=None, alt="Map of segments: near points sound alike to the encoder.",
    )  # fmt: skip
    return [int(data[0]) for data in custom_data(event)]


def custom_data(event: Any) -> list[list[Any]]:
    """What the selected points of a chart carry, in the order of selection, none twice."""
    points = event.selection.points if event else []
    found = [tuple(p["customdata"]) for p in points if p.get("customdata") is not None]
    return [list(data) for data in dict.fromkeys(found)]
