"""What all figures share, so that they look like one program."""

from typing import Any

from usad_workbench.workbench.presenters.colours import GRID, INK, MUTED

FAMILY = '"Source Sans", "Source Sans 3", "Helvetica Neue", Arial, sans-serif'
"""Streamlit serves Source Sans itself; nothing is fetched from elsewhere."""
FONT = {"family": FAMILY, "color": INK, "size": 14}
QUIET: dict[str, Any] = {"displayModeBar": False, "displaylogo": False}
"""A chart without the tool bar."""


def layout(**more: Any) -> dict[str, Any]:
    """Layout of a figure."""
    common: dict[str, Any] = {
        "font": FONT,
        "plot_bgcolor": "#FFFFFF",
        "paper_bgcolor": "#FFFFFF",
        "dragmode": False,
        "hoverlabel": {"align": "left", "font": {"family": FAMILY, "size": 13}},
        "margin": {"l": 8, "r": 8, "t": 8, "b": 48},
    }
    return {**common, **more}


def axis(**more: Any) -> dict[str, Any]:
    """An axis: quiet lines, nothing to drag by accident."""
    common: dict[str, Any] = {
        "color": MUTED,
        "title_font": {"size": 14},
        "gridcolor": GRID,
        "zeroline": False,
        "fixedrange": True,
    }
    return {**common, **more}
