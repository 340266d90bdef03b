"""What a click on a chart says."""

from typing import Any


def custom_data(event: Any) -> list[list[Any]]:
    """What the selected points of a chart carry, in the order of selection, none twice."""
    points = event.selection.points if event else []
    clicked = [tuple(p["customdata"]) for p in points if p.get("customdata") is not None]
    return [list(data) for data in dict.fromkeys(clicked)]
