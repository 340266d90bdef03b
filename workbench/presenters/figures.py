"""What all figures share, so that they look like one program."""

from typing import Any

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
