"""A panel's rows as the marks of its figure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import pandas as pd

from usad_workbench.workbench.presenters.colours import ROLES
from usad_workbench.workbench.presenters.diagnosis import rows as panel_rows
from usad_workbench.workbench.presenters.diagnosis.rows import Row
from usad_workbench.workbench.presenters.diagnosis.views import PanelView
from usad_workbench.workbench.presenters.numbers import as_number, is_missing, is_number

WEAK_FIT = 0.5
"""Below this fit R² the shares of an attribution say little (measured on planted mixtures)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """One row of a panel as a mark of its figure."""

    facet: str
    name: str
    role: str
    layer: int | None
    value: float
    ci_low: float
    ci_high: float
    reference: float
    """The level of no effect; NaN where there is none."""
    lines: list[str]
    """What the pointer shows."""
    is_out: bool
    row: int
    """Of the panel: the index of its table."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """One share of a row of a panel, drawn as a part of a bar."""

    facet: str
    layer: int | None
    part: str
    share: float
    is_weak: bool
    """The row fits badly: its shares say little."""
    row: int
    """Of the panel: the index of its table."""


def marks(frame: pd.DataFrame, view: PanelView, roles: Mapping[str, str]) -> pd.DataFrame:
    """The rows of a panel as a table of ``Mark``; rows without a number are left out."""
    keys = panel_rows.key_columns(frame, view)
    facets = [name for name in view.facets if name in frame]
    return _table(
        Mark,
        [
            _mark(row, i, view, roles, keys, facets)
            for i, row in _records(frame)
            if math.isfinite(panel_rows.number_in(row, view.value))
        ],
    )


def _mark(
    row: Row,
    i: int,
    view: PanelView,
    roles: Mapping[str, str],
    keys: Sequence[str],
    facets: Sequence[str],
) -> Mark:
    name = _name(row, view)
    return Mark(
        facet=panel_rows.facet_title(row, facets),
        name=name,
        role=roles.get(name) or mark_role(row.get("role")),
        layer=panel_rows.layer_of(row),
        value=panel_rows.number_in(row, view.value),
        ci_low=panel_rows.number_in(row, view.low),
        ci_high=panel_rows.number_in(row, view.high),
        reference=panel_rows.reference_of(row, view),
        lines=panel_rows.row_lines(row, view, keys),
        is_out=view.reference is None or panel_rows.stands_out(row, view),
        row=i,
    )


def _records(frame: pd.DataFrame) -> list[tuple[int, Row]]:
    """The rows of a table with their index."""
    return list(zip(frame.index.tolist(), frame.to_dict("records"), strict=True))


def _table(row_type: type[Mark | Share], rows: Sequence[Mark | Share]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=[field.name for field in fields(row_type)])


def mark_role(role: object) -> str:
    """A role that marks are drawn for: what is no single encoder is ``encoder``.

    >>> mark_role("teacher"), mark_role("router")
    ('teacher', 'encoder')
    """
    return str(role) if role in ROLES else "encoder"


def _name(row: Row, view: PanelView) -> str:
    values = [row.get(view.series), *(row.get(name) for name in view.series_more)]
    words = [f"{v:g}" if isinstance(v, float) else str(v) for v in values if _is_value(v)]
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
    """The shares of a panel's rows as a table of ``Share``, parts in one order."""
    facets = [name for name in view.facets if name in frame]
    return _table(
        Share,
        [
            Share(
                facet=panel_rows.facet_title(row, facets),
                layer=panel_rows.layer_of(row),
                part=name,
                share=share,
                is_weak=_is_weak(row),
                row=i,
            )
            for i, row in _records(frame)
            for name, share in shares_of(row, view.parts)
        ],
    )


def _is_weak(row: Row) -> bool:
    return panel_rows.number_in(row, "fit_r2") < WEAK_FIT or not row.get("is_reliable", True)


def shares_of(row: Row, columns: Sequence[str]) -> list[tuple[str, float]]:
    """The shares of one row by name, those without a number left out.

    >>> shares_of({"shares": {"a": .5, "b": None}, "novel": .2}, ("shares", "novel"))
    [('a', 0.5), ('novel', 0.2)]
    """
    cells = [(column, row.get(column)) for column in columns]
    named = [
        item
        for column, cell in cells
        for item in (cell.items() if isinstance(cell, Mapping) else [(column, cell)])
    ]
    return [(str(name), as_number(share)) for name, share in named if is_number(share)]


def part_order(names: Sequence[str], colours: Mapping[str, object] | None = None) -> list[str]:
    """Encoders in the order of their colours, then what several share, then what is new.

    >>> part_order(["residual", "b", "shared", "a"])
    ['a', 'b', 'shared', 'residual']
    """
    rank = {"shared": 1, "novel": 2, "residual": 2}
    position = {name: i for i, name in enumerate(colours or ())}
    return sorted(
        set(names), key=lambda name: (rank.get(name, 0), position.get(name, len(position)), name)
    )
