"""What all figures share, so that they look like one program."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from usad_workbench.workbench.presenters.colours import GRID

CLEAR = "rgba(0,0,0,0)"
FONT = {"size": 14}
"""Family and colour are those of the page, light or dark: the browser puts them in."""
QUIET: dict[str, Any] = {"displayModeBar": False, "displaylogo": False}
"""A chart without the tool bar."""


def layout(**more: Any) -> dict[str, Any]:
    """Layout of a figure."""
    common: dict[str, Any] = {
        "font": FONT,
        "plot_bgcolor": CLEAR,
        "paper_bgcolor": CLEAR,
        "dragmode": False,
        "hoverlabel": {"align": "left", "font": {"size": 13}},
        "margin": {"l": 8, "r": 8, "t": 8, "b": 48},
    }
    return {**common, **more}


def axis(**more: Any) -> dict[str, Any]:
    """An axis: quiet lines, nothing to drag by accident."""
    common: dict[str, Any] = {
        "title_font": {"size": 14},
        "gridcolor": GRID,
        "zeroline": False,
        "fixedrange": True,
    }
    return {**common, **more}


CELL_PX = 20
FRAME = ("#17202B", "#E8EDF3")
"""Of the cell that is open, on a light and on a dark page."""


def click_marks(
    x: Sequence[Any],
    y: Sequence[Any],
    carried: Sequence[Sequence[Any]],
    texts: Sequence[str],
    marker: Mapping[str, Any] | None = None,
) -> go.Scatter:
    """Marks on the cells of a heat map, which takes no clicks in Streamlit; invisible by themselves.

    Args:
        x: Of each cell, as the heat map has it.
        y: Likewise.
        carried: What a click on the cell says.
        texts: What the pointer shows over it, as plotly's HTML.
        marker: What is to be seen of the marks.
    """
    unseen = {"symbol": "square", "size": CELL_PX, "color": CLEAR}
    return go.Scatter(
        x=x,
        y=y,
        mode="markers",
        customdata=[list(one) for one in carried],
        text=texts,
        hovertemplate="%{text}<extra></extra>",
        marker={**unseen, **(marker or {})},
        selected={"marker": {"opacity": 1}},
        unselected={"marker": {"opacity": 1}},
    )


def frame_cell(figure: go.Figure, x: float, y: float, is_dark: bool, **at: int) -> None:
    """Frames a cell of a heat map; ``at`` says of which subplot, by ``row`` and ``col``."""
    sides = {"x0": x - 0.5, "x1": x + 0.5, "y0": y - 0.5, "y1": y + 0.5}
    figure.add_shape(type="rect", line={"width": 3, "color": FRAME[is_dark]}, **sides, **at)
