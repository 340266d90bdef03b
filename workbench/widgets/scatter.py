"""The map as a chart that tells which points were selected."""

from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from usad_workbench.workbench.presenters.maps import MAX_POINTS, Outline, inside

# A click selects a point only while the pointer pans: Streamlit turns clicks off in box and
# lasso mode. So panning is the default, and the bar with the other tools always shows.
MAP_CHART = {
    "displayModeBar": True,
    "displaylogo": False,
    "scrollZoom": True,
    "modeBarButtonsToRemove": ["zoom2d", "autoScale2d", "zoomIn2d", "zoomOut2d", "toImage"],
}


@dataclass(frozen=True, slots=True)
class Picked:
    """What was selected on a map."""

    ids: list[int]
    """Segments of the selected points that are drawn."""
    outlines: list[Outline]
    """The boxes and lassos that were drawn around points; empty after a click."""

    def of(self, points: pd.DataFrame) -> pd.DataFrame:
        """The selected ones among all points, those included that are not drawn."""
        if self.outlines and len(points) > MAX_POINTS:
            return points[inside(points, self.outlines)]
        return points[points["segment_id"].isin(self.ids)]


def pick_points(figure: go.Figure, key: str) -> Picked:
    """Draws a map; what was selected on it.

    Ids travel with the points (``customdata``): positions are wrong as soon as a chart
    has several traces.
    """
    event: Any = st.plotly_chart(
        figure,
        key=key,
        on_select="rerun",
        selection_mode=("points", "box", "lasso"),
        config=MAP_CHART,
        theme=None,
        alt="Map of segments: near points sound alike to the encoder.",
    )
    return Picked([int(data[0]) for data in custom_data(event)], outlines(event))


def outlines(event: Any) -> list[Outline]:
    """The boxes and lassos of a selection."""
    if not event:
        return []
    return [
        Outline(x=one["x"], y=one["y"], is_box=kind == "box")
        for kind in ("box", "lasso")
        for one in event.selection.get(kind, [])
    ]


def custom_data(event: Any) -> list[list[Any]]:
    """What the selected points of a chart carry, in the order of selection, none twice."""
    points = event.selection.points if event else []
    clicked = [tuple(p["customdata"]) for p in points if p.get("customdata") is not None]
    return [list(data) for data in dict.fromkeys(clicked)]
