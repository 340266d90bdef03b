"""The figure of a panel: which one, and what stands on it, decided once for app and report.

Both renderers draw a ``FigurePlan`` as it is: the app with plotly (``plotly_figures.py``), the
report in SVG (``report/charts.py``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

import pandas as pd

from usad_workbench.core.diagnosis.rules import percent
from usad_workbench.workbench.presenters.colours import domain_order
from usad_workbench.workbench.presenters.diagnosis import marks as panel_marks
from usad_workbench.workbench.presenters.diagnosis.rows import Row, stands_out
from usad_workbench.workbench.presenters.diagnosis.views import ANSWERS, SHOWN, PanelView
from usad_workbench.workbench.presenters.forest_plots import order_by_role
from usad_workbench.workbench.presenters.names import short_name
from usad_workbench.workbench.presenters.numbers import count, is_number
from usad_workbench.workbench.presenters.text import listing

FigureKind = Literal["table", "maps", "shares", "curves", "dots", "none"]
MAX_FACETS = 12
"""More facets than this are no figure any more; the table has all."""
MAX_CURVES = 8
"""Colours that can be told apart; more series than this are not drawn as curves."""
MAX_NAMED = 4
"""Facets without a number that are named; more are counted."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FigurePlan:
    """A figure that is ready to be drawn."""

    kind: FigureKind
    """``none`` where no row has a number."""
    axis: str
    """What the drawn number is, in words."""
    drawn: pd.DataFrame
    """What is drawn: marks of dots and curves, shares, or rows of maps and tables."""
    facets: tuple[str, ...] = ()
    """The facets of dots, curves and shares, in their order."""
    names: tuple[str, ...] = ()
    """What is drawn within a facet, in its order: encoders, or parts of a whole."""
    colours: Mapping[str, int] = field(default_factory=dict)
    """The number of each encoder's colour, the same in every figure of a diagnosis."""
    notes: tuple[str, ...] = ()
    """What the figure leaves out, a sentence each."""


def plan_figure(
    rows: pd.DataFrame,
    view: PanelView,
    roles: Mapping[str, str],
    names: Mapping[str, str] | None = None,
) -> FigurePlan:
    """Decides how the rows of a panel are drawn.

    Args:
        rows: The rows that the view shows, of one value of each of its choices.
        view: How the panel is shown.
        roles: Role of each encoder of the diagnosis, in the order of their colours.
        names: Short names of encoders; the full ones are drawn where there are none.
    """
    short = names or {}
    colours = colour_numbers({short_name(name, short): role for name, role in roles.items()})
    if view.figure == "table":
        return FigurePlan(kind="table", axis=view.axis, drawn=rows)
    if view.figure == "maps":
        return _plan_maps(rows, view, roles)
    if view.figure == "shares":
        return _plan_shares(rows, view, colours, short)
    marks = panel_marks.marks(rows, view, roles)
    if marks.empty:
        return FigurePlan(kind="none", axis=view.axis, drawn=marks)
    marks = marks.assign(name=[short_name(name, short) for name in marks["name"]])
    notes = _empty_facets(rows, view, marks)
    return _plan_marks(marks, view, colours, notes)


def colour_numbers(roles: Mapping[str, str]) -> dict[str, int]:
    """The number of each encoder's colour; the student, who is in every row, needs none.

    >>> colour_numbers({"s": "student", "t": "teacher", "c": "control"})
    {'t': 0, 'c': 1}
    """
    return {name: i for i, name in enumerate(n for n in roles if roles[n] != "student")}


def facets_of(drawn: pd.DataFrame) -> tuple[str, ...]:
    """The facets that are drawn: the first ``MAX_FACETS``, domains in their order."""
    return tuple(domain_order(drawn["facet"])[:MAX_FACETS])


def _plan_maps(rows: pd.DataFrame, view: PanelView, roles: Mapping[str, str]) -> FigurePlan:
    drawn = rows[rows[view.value].notna()]
    return FigurePlan(
        kind="none" if drawn.empty else "maps",
        axis=view.axis,
        drawn=drawn,
        names=tuple(order_by_role(drawn[view.series].tolist(), roles)),
    )


def _plan_shares(
    rows: pd.DataFrame, view: PanelView, colours: Mapping[str, int], short: Mapping[str, str]
) -> FigurePlan:
    shares = panel_marks.shares(rows, view)
    shares = shares.assign(part=[short_name(name, short) for name in shares["part"]])
    facets = facets_of(shares)
    return FigurePlan(
        kind="none" if shares.empty else "shares",
        axis=view.axis,
        drawn=shares[shares["facet"].isin(facets)],
        facets=facets,
        names=tuple(panel_marks.part_order(shares["part"].tolist(), colours)),
        colours=colours,
    )


def _plan_marks(
    marks: pd.DataFrame, view: PanelView, colours: Mapping[str, int], notes: tuple[str, ...]
) -> FigurePlan:
    """Curves where there are several layers and each series has a colour, else dots."""
    n_facets, facets = marks["facet"].nunique(), facets_of(marks)
    if n_facets > MAX_FACETS:
        notes += (f"The first {MAX_FACETS} of {n_facets} parts are drawn.",)
    series = sorted(set(marks["name"]), key=lambda name: (colours.get(name, -1), name))
    is_curves = (
        view.figure == "curves"
        and marks["layer"].notna().all()
        and panel_marks.n_layers_of(marks) > 1
        and len(series) <= MAX_CURVES
        and set(series) <= set(colours)
    )
    shown = marks if is_curves else panel_marks.last_layers(marks)
    if len(shown) < len(marks):
        notes += ("Drawn is the last layer of each; the table has all.",)
    shown = shown[shown["facet"].isin(facets)]
    roles = dict(zip(shown["name"], shown["role"], strict=True))
    return FigurePlan(
        kind="curves" if is_curves else "dots",
        axis=view.axis,
        drawn=shown,
        facets=facets,
        names=tuple(series if is_curves else order_by_role(list(roles), roles)),
        colours=colours,
        notes=notes,
    )


def _empty_facets(rows: pd.DataFrame, view: PanelView, marks: pd.DataFrame) -> tuple[str, ...]:
    empty = panel_marks.facets_without_number(rows, view, marks)
    if not empty:
        return ()
    named = listing(empty) if len(empty) <= MAX_NAMED else f"{len(empty)} parts"
    return (f"No number for {named}; why is said below.",)


def describe_rows(
    rows: pd.DataFrame, view: PanelView, roles: Mapping[str, str] = MappingProxyType({})
) -> str:
    """How many rows there are, have a number, and stand out by which rule, in a sentence.

    Args:
        rows: That a view shows.
        view: How the panel is shown.
        roles: Of each encoder: what stands out of baselines too is no sign of a teacher.
    """
    records = rows.to_dict("records")
    numbered = [row for row in records if is_number(row.get(view.value))]
    words = f"{count(len(records), 'row')}"
    if len(numbered) < len(records):
        words += f", {len(numbered):,} with a number"
    if view.figure == "shares" or view.reference is None:
        return f"{words}."
    filled = "" if view.figure == "maps" else ", drawn filled"
    out = [stands_out(row, view) for row in numbered]
    told = f"{words}; {sum(out):,} stand out ({describe_rule(rows, view)}){filled}"
    by_role = _by_role(numbered, out, view, roles)
    return f"{told}: {by_role}." if by_role else f"{told}."


def _by_role(
    rows: Sequence[Row], out: Sequence[bool], view: PanelView, roles: Mapping[str, str]
) -> str:
    """How many stand out of those about teachers, controls, baselines; empty for one role."""
    counts: dict[str, list[bool]] = {}
    for row, is_out in zip(rows, out, strict=True):
        role = roles.get(str(row.get(view.series)))
        if role is not None:
            counts.setdefault(role, []).append(is_out)
    if len(counts) < 2:
        return ""
    return listing([f"{sum(of):,} of {len(of):,} of {role}s" for role, of in counts.items()])


def describe_rule(rows: pd.DataFrame, view: PanelView) -> str:
    """By which rule a row of these stands out."""
    answers = [name for name in ANSWERS if name in rows and rows[name].notna().any()]
    if answers:
        said = set(rows[answers[0]].dropna())
        shown = [answer for answer in SHOWN if answer in said] or [SHOWN[0]]
        return f"the column {answers[0]} says {' or '.join(shown)}"
    if "q_value" in rows:
        null = view.null and f" against {view.null}"
        return f"q ≤ {view.alpha:g}{null}, after Benjamini-Hochberg over the panel"
    return f"their {percent(1 - view.alpha)} interval leaves out the reference"


def describe_marks(plan: FigurePlan, alpha: float) -> str:
    """What bars, filled marks and pale colours of a figure mean."""
    if plan.kind == "curves":
        return (
            "Bars are 95% intervals; filled marks stand out after correction over the panel, at "
            f"{alpha:g}."
        )
    if plan.kind == "shares":
        return "Pale bars are not to be read; the table says why."
    return "Bars are 95% intervals, the grey tick is the level of no effect."
