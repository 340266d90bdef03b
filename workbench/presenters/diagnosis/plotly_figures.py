"""The figures of a panel in the app: dots, curves over layers, stacked shares, cost.

``customdata`` of a mark is the row's place in the panel: what a click opens.
"""

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from usad_workbench.workbench.presenters import figures
from usad_workbench.workbench.presenters.colours import (
    CATEGORY_COLOURS,
    CONTEXT,
    MUTED,
    ROLE_SYMBOLS,
    role_colour,
)
from usad_workbench.workbench.presenters.diagnosis.plan import FigurePlan, facets_of
from usad_workbench.workbench.presenters.forest_plots import dot_facets, title_lines
from usad_workbench.workbench.presenters.numbers import number
from usad_workbench.workbench.presenters.text import escape_plotly

PER_ROW = 4
HEIGHT = 300
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "star")
COMMON_PARTS = {"shared": MUTED, "novel": CONTEXT, "residual": CONTEXT}


def draw(plan: FigurePlan) -> go.Figure:
    """The figure of a plan of dots, curves or shares."""
    if plan.kind == "curves":
        return _curves(plan)
    return _shares(plan) if plan.kind == "shares" else _dots(plan)


def _dots(plan: FigurePlan) -> go.Figure:
    """A dot per name with its interval, one facet for each group of rows."""
    drawn = plan.drawn
    rows = drawn.assign(text=_texts(drawn), data=[[int(row)] for row in drawn["row"]])
    titles = {facet: title_lines(facet) for facet in plan.facets}
    return dot_facets(rows, titles, plan.names, plan.axis, {})


def _curves(plan: FigurePlan) -> go.Figure:
    """Value over layers, one curve per name, one facet for each group of rows."""
    figure = _grid(plan.facets)
    for at, facet in enumerate(plan.facets):
        position = _position(at)
        in_facet = plan.drawn[plan.drawn["facet"] == facet]
        for i, name in enumerate(plan.names):
            rows = in_facet[in_facet["name"] == name].sort_values("layer", kind="stable")
            trace = _curve(rows, name, _colour(plan, name), i, is_first=at == 0)
            figure.add_trace(trace, **position)
        references = in_facet["reference"].dropna().unique()
        if len(references) == 1:
            line = {"color": MUTED, "width": 1.5}
            figure.add_hline(y=float(references[0]), line=line, **position)
        figure.update_xaxes(title={"text": "layer", "standoff": 4}, **position)
    return _finish(figure, plan.facets, plan.axis)


def _curve(rows: pd.DataFrame, name: str, colour: str, i: int, is_first: bool) -> go.Scatter:
    symbol = SYMBOLS[i % len(SYMBOLS)]
    return go.Scatter(
        x=rows["layer"],
        y=rows["value"],
        mode="lines+markers",
        name=escape_plotly(name, 30),
        legendgroup=name,
        showlegend=is_first,
        text=_texts(rows),
        hovertemplate="%{text}<extra></extra>",
        customdata=[[int(row)] for row in rows["row"]],
        line={"color": colour, "width": 1.6},
        marker={
            "symbol": [symbol if out else f"{symbol}-open" for out in rows["is_out"]],
            "size": 10,
            "color": colour,
        },
        selected={"marker": {"opacity": 1}},
        unselected={"marker": {"opacity": 1}},
        error_y=_interval_bars(rows, colour, thickness=1.4),
    )


def _shares(plan: FigurePlan) -> go.Figure:
    """Shares stacked per layer, one facet for each group of rows; weak fits are pale."""
    figure = _grid(plan.facets)
    for at, facet in enumerate(plan.facets):
        position = _position(at)
        in_facet = plan.drawn[plan.drawn["facet"] == facet]
        for name in plan.names:
            colour = COMMON_PARTS.get(name) or _colour(plan, name)
            bars = _bars(in_facet[in_facet["part"] == name], name, colour, is_first=at == 0)
            figure.add_trace(bars, **position)
        figure.update_xaxes(title={"text": "layer", "standoff": 4}, type="category", **position)
    figure.update_layout(barmode="relative")
    return _finish(figure, plan.facets, plan.axis)


def _bars(rows: pd.DataFrame, name: str, colour: str, is_first: bool) -> go.Bar:
    return go.Bar(
        x=["all" if layer is None else str(int(layer)) for layer in rows["layer"]],
        y=rows["share"],
        name=escape_plotly(name, 30),
        legendgroup=name,
        showlegend=is_first,
        customdata=[[int(row)] for row in rows["row"]],
        text=[f"{escape_plotly(name, 30)}: {number(share, 3)}" for share in rows["share"]],
        hovertemplate="%{text}<extra></extra>",
        textposition="none",
        marker={
            "color": colour,
            "opacity": [0.4 if weak else 1.0 for weak in rows["is_weak"]],
        },
        selected={"marker": {"opacity": 1}},
        unselected={"marker": {"opacity": 1}},
    )


def cost_figure(drawn: pd.DataFrame, costs: "pd.Series[float]", words: str) -> go.Figure:
    """Value against cost, one facet per task, one mark per system.

    Args:
        drawn: Marks of the panel ``routing``.
        costs: The cost of each row of the panel, by its place in it.
        words: What the cost is.
    """
    rows = drawn.assign(cost=costs.reindex(drawn["row"]).to_numpy(dtype=float))
    rows = rows[rows["cost"] > 0]
    facets = facets_of(rows)
    figure = _grid(facets)
    for at, facet in enumerate(facets):
        position = _position(at)
        figure.add_trace(_costs(rows[rows["facet"] == facet], words), **position)
        title = {"text": escape_plotly(words), "standoff": 4}
        figure.update_xaxes(title=title, type="log", **position)
    return _finish(figure, facets, "value on held-out clips")


def _costs(rows: pd.DataFrame, words: str) -> go.Scatter:
    texts = [
        f"<b>{escape_plotly(name, 40)}</b><br>{escape_plotly(words)}: {cost:.3g}<br>{text}"
        for name, cost, text in zip(rows["name"], rows["cost"], _texts(rows), strict=True)
    ]
    return go.Scatter(
        x=rows["cost"],
        y=rows["value"],
        mode="markers",
        text=texts,
        showlegend=False,
        hovertemplate="%{text}<extra></extra>",
        marker={
            "symbol": [ROLE_SYMBOLS.get(role, "circle") for role in rows["role"]],
            "color": [role_colour(role) for role in rows["role"]],
            "size": 11,
        },
        error_y=_interval_bars(rows, MUTED, thickness=1.2),
    )


def _interval_bars(rows: pd.DataFrame, colour: str, thickness: float) -> dict[str, object]:
    return {
        "type": "data",
        "symmetric": False,
        "thickness": thickness,
        "width": 0,
        "array": (rows["ci_high"] - rows["value"]).fillna(0),
        "arrayminus": (rows["value"] - rows["ci_low"]).fillna(0),
        "color": colour,
    }


def _colour(plan: FigurePlan, name: str) -> str:
    """The colour of an encoder; what is none, such as a system, has no colour of its own."""
    number = plan.colours.get(name)
    return MUTED if number is None else CATEGORY_COLOURS[number % len(CATEGORY_COLOURS)]


def _position(at: int) -> dict[str, int]:
    return {"row": at // PER_ROW + 1, "col": at % PER_ROW + 1}


def _texts(drawn: pd.DataFrame) -> list[str]:
    return ["<br>".join(escape_plotly(line, 90) for line in lines) for lines in drawn["lines"]]


def _grid(facets: Sequence[str]) -> go.Figure:
    n_rows = -(-len(facets) // PER_ROW)
    return make_subplots(
        rows=n_rows,
        cols=min(PER_ROW, len(facets)),
        shared_yaxes=True,
        horizontal_spacing=0.02,
        vertical_spacing=0.28 / n_rows,
        subplot_titles=[f"<b>{escape_plotly(p, 34)}</b>" for p in facets],
    )


def _finish(figure: go.Figure, facets: Sequence[str], axis: str) -> go.Figure:
    n_rows = -(-len(facets) // PER_ROW)
    figure.update_xaxes(figures.axis())
    figure.update_yaxes(figures.axis())
    figure.update_yaxes(
        title={"text": escape_plotly(axis, 40), "standoff": 6}, automargin=True, col=1
    )
    figure.update_layout(
        figures.layout(
            height=HEIGHT * n_rows + 60,
            margin={"l": 8, "r": 8, "t": 70, "b": 52},
            legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "yref": "container", "x": 0},
        )
    )
    figure.update_layout(legend={"y": 0.995, "yanchor": "top"})
    figure.update_annotations(font_size=14)
    return figure
