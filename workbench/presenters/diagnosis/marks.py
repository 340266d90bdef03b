"""A panel's rows as the marks of its figure."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from usad_workbench.workbench.presenters.colours import ROLES
from usad_workbench.workbench.presenters.diagnosis import rows as panel_rows
from usad_workbench.workbench.presenters.diagnosis.views import PanelView
from usad_workbench.workbench.presenters.numbers import is_known, is_missing

WEAK_FIT = 0.5
"""Below this fit R² the shares of an attribution say little (measured on planted mixtures)."""


def marks(frame: pd.DataFrame, view: PanelView, roles: Mapping[str, str]) -> pd.DataFrame:
    """One row per mark: ``facet, name, role, layer, value, ci_low, ci_high, reference, lines,
    is_out, row`` (``row`` is its place in the panel: the index of the table). Rows without a number are left out.
    """
    records = frame.to_dict("records")
    keys = panel_rows.key_columns(frame, view)
    facets = [name for name in view.facets if name in frame]
    found = []
    for i, row in zip(frame.index.tolist(), records, strict=True):
        if not is_known(row.get(view.value)):
            continue
        name = _name(row, view)
        found.append(
            {
                "facet": panel_rows.facet_title(row, facets),
                "name": name,
                "role": roles.get(name) or mark_role(row.get("role")),
                "layer": panel_rows.layer_of(row),
                "value": _float(row[view.value]),
                "ci_low": _float(panel_rows.scalar(row, view.low)),
                "ci_high": _float(panel_rows.scalar(row, view.high)),
                "reference": _float(panel_rows.reference_of(row, view)),
                "lines": panel_rows.row_lines(row, view, keys),
                "is_out": view.reference is None or panel_rows.stands_out(row, view),
                "row": i,
            }
        )
    columns = (
        [
            "facet",
            "name",
            "role",
            "layer",
            "value",
            "ci_low",
            "ci_high",
            "reference",
            "lines",
            "is_out",
            "row",
        ]
        if not found
        else None
    )
    return pd.DataFrame(found, columns=columns)


def mark_role(role: object) -> str:
    """A role that marks are drawn for: what is no single encoder is ``encoder``.

    >>> mark_role("teacher"), mark_role("router")
    ('teacher', 'encoder')
    """
    return str(role) if role in ROLES else "encoder"


def _name(row: Mapping[Any, Any], view: PanelView) -> str:
    parts = [row.get(view.series), *(row.get(name) for name in view.series_more)]
    words = [f"{one:g}" if isinstance(one, float) else str(one) for one in parts if _is_value(one)]
    return " ".join(words) or panel_rows.ALL


def _is_value(value: object) -> bool:
    """Whether a cell has something in it."""
    return not is_missing(value) and value != ""


def facets_without_number(frame: pd.DataFrame, view: PanelView, drawn: pd.DataFrame) -> list[str]:
    """Small figures that a figure would have, had any of their rows a number."""
    facets = [name for name in view.facets if name in frame]
    asked = {panel_rows.facet_title(row, facets) for row in frame.to_dict("records")}
    return sorted(asked - set(drawn["facet"]))


def n_layers_of(drawn: pd.DataFrame) -> int:
    """How many layers the marks have."""
    return int(drawn["layer"].nunique())


def last_layers(drawn: pd.DataFrame) -> pd.DataFrame:
    """One mark per panel and name: that of the last layer, as dots have no axis for layers."""
    if drawn.empty or not drawn["layer"].notna().any():
        return drawn
    order = drawn.assign(_layer=drawn["layer"].fillna(-1)).sort_values("_layer", kind="stable")
    return order.groupby(["facet", "name"], sort=False).tail(1).sort_index().drop(columns="_layer")


def shares(frame: pd.DataFrame, view: PanelView) -> pd.DataFrame:
    """Stacked shares: ``facet, layer, part, share, is_weak, row``, parts in one order."""
    facets = [name for name in view.facets if name in frame]
    found: list[dict[str, Any]] = []
    for i, row in zip(frame.index.tolist(), frame.to_dict("records"), strict=True):
        for part, share in parts_of(row, view.parts):
            found.append(
                {
                    "facet": panel_rows.facet_title(row, facets),
                    "layer": panel_rows.layer_of(row),
                    "part": part,
                    "share": share,
                    "is_weak": _is_weak(row),
                    "row": i,
                }
            )
    return pd.DataFrame(found, columns=["facet", "layer", "part", "share", "is_weak", "row"])


def _is_weak(row: Mapping[Any, Any]) -> bool:
    has_bad_fit = is_known(row.get("fit_r2")) and bool(row["fit_r2"] < WEAK_FIT)
    return has_bad_fit or not row.get("is_reliable", True)


def parts_of(row: Mapping[Any, Any], parts: Sequence[str]) -> list[tuple[str, float]]:
    """The shares of one row by name, those without a number left out.

    >>> parts_of({"shares": {"a": .5, "b": None}, "novel": .2}, ("shares", "novel"))
    [('a', 0.5), ('novel', 0.2)]
    """
    found: list[tuple[str, float]] = []
    for part in parts:
        value = row.get(part)
        given = value.items() if isinstance(value, Mapping) else [(part, value)]
        found += [(str(name), float(str(one))) for name, one in given if is_known(one)]
    return found


def part_order(names: Sequence[str], colours: Mapping[str, object] | None = None) -> list[str]:
    """Encoders in the order of their colours, then what several share, then what is new.

    >>> part_order(["residual", "b", "shared", "a"])
    ['a', 'b', 'shared', 'residual']
    """
    rank = {"shared": 1, "novel": 2, "residual": 2}
    place = {name: i for i, name in enumerate(colours or ())}
    return sorted(
        set(names), key=lambda name: (rank.get(name, 0), place.get(name, len(place)), name)
    )


def _float(value: object) -> float:
    return float(str(value)) if is_known(value) else np.nan
