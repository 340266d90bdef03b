"""Dots with intervals, one facet per domain or task, encoders downwards by role.

The frame that is drawn has a row per dot: ``facet, name, role, value, ci_low, ci_high,
reference`` (the null or chance level), ``text`` for the pointer and ``data`` for a click;
where it has ``is_out``, only dots that differ from their reference are filled.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from usad_workbench.workbench.presenters import figures
from usad_workbench.workbench.presenters.colours import MUTED, ROLE_SYMBOLS, ROLES, role_colour
from usad_workbench.workbench.presenters.names import short_name
from usad_workbench.workbench.presenters.text import escape_plotly, lines

MAX_PER_ROW = 3
NAME, TITLE, LINE = 24, 24, 20
"""Characters of a line beside a facet and of one over it, and the height of the latter."""
FARTHEST = (-0.5, 1.5)
"""An interval from few clusters may reach far outside; the axis does not follow it there."""


def order_by_role(names: Sequence[str], roles: Mapping[str, str]) -> list[str]:
    """Names by role, students and teachers first: the same order in every facet.

    >>> order_by_role(["b", "t", "s"], {"b": "baseline", "t": "teacher", "s": "student"})
    ['s', 't', 'b']
    """
    rank = {role: i for i, role in enumerate(ROLES)}
    return sorted(set(names), key=lambda n: (rank.get(roles.get(n, ""), len(rank)), n))


def dot_facets(
    rows: pd.DataFrame,
    titles: Mapping[str, str],
    names: Sequence[str],
    axis_title: str,
    short: Mapping[str, str],
) -> go.Figure:
    """One facet per entry of ``titles``, in its order; ``names`` from top to bottom.

    ``short`` has the short name of each that has one.
    """
    rows = rows.assign(name=[_label(name, short) for name in rows["name"]])
    head = 16 + LINE * max(title.count("<br>") + 1 for title in titles.values())
    n_columns = min(len(titles), 2 if len(titles) in (2, 4) else MAX_PER_ROW)
    n_rows = -(-len(titles) // n_columns)
    row_height = 74 + head + 34 * len(names)
    height = n_rows * row_height + 70
    figure = make_subplots(
        rows=n_rows,
        cols=n_columns,
        subplot_titles=list(titles.values()),
        shared_yaxes=True,
        horizontal_spacing=0.03,
        vertical_spacing=(72 + head) / height if n_rows > 1 else 0,
    )
    for i, facet in enumerate(titles):
        in_facet = rows[rows["facet"] == facet]
        at = {"row": i // n_columns + 1, "col": i % n_columns + 1}
        figure.add_trace(_references(in_facet), **at)
        for role, group in in_facet.groupby("role", sort=False):
            figure.add_trace(_dots(group, str(role)), **at)
        figure.update_xaxes(title={"text": escape_plotly(axis_title), "standoff": 4}, **at)
    figure.update_xaxes(figures.axis(range=_range(rows)))
    figure.update_yaxes(
        figures.axis(
            categoryorder="array",
            categoryarray=[_label(n, short) for n in reversed(names)],
            range=[-0.6, len(names) - 0.4],
            automargin=True,
            tickfont={"size": 13},
        )
    )
    margin = {"l": 8, "r": 8, "t": head, "b": 52}
    figure.update_layout(figures.layout(height=height, margin=margin, showlegend=False))
    figure.update_annotations(font_size=14)
    return figure


def _references(rows: pd.DataFrame) -> go.Scatter:
    return go.Scatter(
        x=rows["reference"],
        y=rows["name"],
        mode="markers",
        hoverinfo="skip",
        marker={"symbol": "line-ns", "size": 16, "line": {"width": 2, "color": MUTED}},
    )


def _dots(rows: pd.DataFrame, role: str) -> go.Scatter:
    colour = role_colour(role)
    symbol = ROLE_SYMBOLS.get(role, "circle")
    is_out = rows["is_out"] if "is_out" in rows else [True] * len(rows)
    return go.Scatter(
        x=rows["value"],
        y=rows["name"],
        mode="markers",
        name=escape_plotly(role),
        customdata=rows["data"].tolist(),
        text=rows["text"],
        hovertemplate="%{text}<extra></extra>",
        marker={
            "symbol": [symbol if out else f"{symbol}-open" for out in is_out],
            "size": 11,
            "color": colour,
        },
        selected={"marker": {"opacity": 1}},
        unselected={"marker": {"opacity": 1}},
        error_x={
            "type": "data",
            "symmetric": False,
            "thickness": 1.6,
            "width": 4,
            "array": (rows["ci_high"] - rows["value"]).fillna(0),
            "arrayminus": (rows["value"] - rows["ci_low"]).fillna(0),
            "color": colour,
        },
    )


def _range(rows: pd.DataFrame) -> list[float]:
    shown = rows[["value", "ci_low", "ci_high", "reference"]].to_numpy(dtype=float)
    if np.isnan(shown).all():
        return [0.0, 1.0]
    low = max(min(0.0, float(np.nanmin(shown))), FARTHEST[0])
    high = min(float(np.nanmax(shown)), FARTHEST[1])
    pad = 0.04 * (high - low)
    return [low - pad, high + pad]


def _label(name: str, short: Mapping[str, str]) -> str:
    return lines(short_name(name, short), NAME)


def title_lines(title: object) -> str:
    """A facet's title in bold, in lines that stay over their facet where three stand side by side.

    >>> title_lines("mean of tasks with intervals")
    '<b>mean of tasks with</b><br><b>intervals</b>'
    """
    return "<br>".join(f"<b>{line}</b>" for line in lines(title, TITLE).split("<br>"))
