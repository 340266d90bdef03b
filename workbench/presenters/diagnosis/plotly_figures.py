"""The figures of a panel in the app: dots, curves over layers, stacked shares, cost.

``customdata`` of a mark is the row's place in the panel: what a click opens.
"""

from collections.abc import Mapping, Sequence

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from usad_workbench.workbench.presenters import figures
from usad_workbench.workbench.presenters.colours import (
    CATEGORY_COLOURS,
    CONTEXT,
    MUTED,
    ROLE_SYMBOLS,
    domain_order,
    role_colour,
)
from usad_workbench.workbench.presenters.diagnosis.marks import last_layers, part_order
from usad_workbench.workbench.presenters.diagnosis.views import PanelView
from usad_workbench.workbench.presenters.dots import dot_facets, order_by_role, title_lines
from usad_workbench.workbench.presenters.numbers import number
from usad_workbench.workbench.presenters.text import escape_plotly

MAX_FACETS = 12
PER_ROW = 4
HEIGHT = 300
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "star")
COMMON_PARTS = {"shared": MUTED, "novel": CONTEXT, "residual": CONTEXT}


def panel_dots(drawn: pd.DataFrame, view: PanelView, roles: Mapping[str, str]) -> go.Figure:
    """A dot per name with its interval, one facet for each group of rows."""
    shown = last_layers(drawn)
    titles = {p: title_lines(p) for p in _facets(shown)}
    shown = shown[shown["facet"].isin(titles)]
    rows = shown.assign(text=_texts(shown), data=[[int(row)] for row in shown["row"]])
    return dot_facets(rows, titles, order_by_role(shown["name"].tolist(), roles), view.axis, {})


def panel_curves(
    drawn: pd.DataFrame, view: PanelView, colours: Mapping[str, str] | None = None
) -> go.Figure:
    """Value over layers, one curve per name, one facet for each group of rows."""
    facets = _facets(drawn)
    names = sorted(set(drawn["name"]))
    colours = colours or {n: CATEGORY_COLOURS[i % 20] for i, n in enumerate(names)}
    figure = _grid(facets)
    for at, facet in enumerate(facets):
        place = {"row": at // PER_ROW + 1, "col": at % PER_ROW + 1}
        mine = drawn[drawn["facet"] == facet]
        for i, name in enumerate(names):
            rows = mine[mine["name"] == name].sort_values("layer", kind="stable")
            trace = _curve(rows, name, colours[name], i, is_first=at == 0)
            figure.add_trace(trace, **place)
        references = mine["reference"].dropna().unique()
        if len(references) == 1:
            figure.add_hline(y=float(references[0]), line={"color": MUTED, "width": 1.5}, **place)
        figure.update_xaxes(title={"text": "layer", "standoff": 4}, **place)
    return _finish(figure, facets, view.axis)


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
        error_y={
            "type": "data",
            "symmetric": False,
            "thickness": 1.4,
            "width": 0,
            "array": (rows["ci_high"] - rows["value"]).fillna(0),
            "arrayminus": (rows["value"] - rows["ci_low"]).fillna(0),
            "color": colour,
        },
    )


def panel_shares(
    parts: pd.DataFrame, view: PanelView, colours: Mapping[str, str] | None = None
) -> go.Figure:
    """Shares stacked per layer, one facet for each group of rows; weak fits are pale."""
    facets = _facets(parts)
    names = part_order(parts["part"].tolist(), colours)
    given = colours or {n: CATEGORY_COLOURS[i % 20] for i, n in enumerate(names)}
    figure = _grid(facets)
    for at, facet in enumerate(facets):
        place = {"row": at // PER_ROW + 1, "col": at % PER_ROW + 1}
        mine = parts[parts["facet"] == facet]
        for name in names:
            rows = mine[mine["part"] == name]
            layers = ["all" if layer is None else str(int(layer)) for layer in rows["layer"]]
            figure.add_trace(
                go.Bar(
                    x=layers,
                    y=rows["share"],
                    name=escape_plotly(name, 30),
                    legendgroup=name,
                    showlegend=at == 0,
                    customdata=[[int(row)] for row in rows["row"]],
                    text=[
                        f"{escape_plotly(name, 30)}: {number(share, 3)}" for share in rows["share"]
                    ],
                    hovertemplate="%{text}<extra></extra>",
                    textposition="none",
                    marker={
                        "color": COMMON_PARTS.get(name, given.get(name, MUTED)),
                        "opacity": [0.4 if weak else 1.0 for weak in rows["is_weak"]],
                    },
                    selected={"marker": {"opacity": 1}},
                    unselected={"marker": {"opacity": 1}},
                ),
                **place,
            )
        figure.update_xaxes(title={"text": "layer", "standoff": 4}, type="category", **place)
    figure.update_layout(barmode="relative")
    return _finish(figure, facets, view.axis)


def cost_figure(drawn: pd.DataFrame, costs: "pd.Series[float]", words: str) -> go.Figure:
    """Value against cost, one facet per task, one mark per system.

    Args:
        drawn: Marks of the panel ``routing``.
        costs: The cost of each row of the panel, by its place in it.
        words: What the cost is.
    """
    rows = drawn.assign(cost=costs.reindex(drawn["row"]).to_numpy(dtype=float))
    rows = rows[rows["cost"] > 0]
    facets = _facets(rows)
    figure = _grid(facets)
    for at, facet in enumerate(facets):
        place = {"row": at // PER_ROW + 1, "col": at % PER_ROW + 1}
        mine = rows[rows["facet"] == facet]
        texts = [
            f"<b>{escape_plotly(name, 40)}</b><br>{escape_plotly(words)}: {cost:.3g}<br>{text}"
            for name, cost, text in zip(mine["name"], mine["cost"], _texts(mine), strict=True)
        ]
        figure.add_trace(
            go.Scatter(
                x=mine["cost"],
                y=mine["value"],
                mode="markers",
                text=texts,
                showlegend=False,
                hovertemplate="%{text}<extra></extra>",
                marker={
                    "symbol": [ROLE_SYMBOLS.get(role, "circle") for role in mine["role"]],
                    "color": [role_colour(role) for role in mine["role"]],
                    "size": 11,
                },
                error_y={
                    "type": "data",
                    "symmetric": False,
                    "thickness": 1.2,
                    "width": 0,
                    "array": (mine["ci_high"] - mine["value"]).fillna(0),
                    "arrayminus": (mine["value"] - mine["ci_low"]).fillna(0),
                    "color": MUTED,
                },
            ),
            **place,
        )
        figure.update_xaxes(
            title={"text": escape_plotly(words), "standoff": 4}, type="log", **place
        )
    return _finish(figure, facets, "value on held-out clips")


def _facets(drawn: pd.DataFrame) -> list[str]:
    return domain_order(drawn["facet"])[:MAX_FACETS]


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
