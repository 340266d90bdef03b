"""What a probe reads from each layer, a small chart for each task."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from usad_workbench.core.evaluation.layer_scores import LayerScore
from usad_workbench.workbench.presenters import figures
from usad_workbench.workbench.presenters.colours import CATEGORY_COLOURS, MUTED, ROLE_SYMBOLS
from usad_workbench.workbench.presenters.names import short_name
from usad_workbench.workbench.presenters.numbers import count, interval, number
from usad_workbench.workbench.presenters.text import escape_plotly

PER_ROW = 3
FACET_PX = 250


def score_table(scores: Sequence[LayerScore]) -> pd.DataFrame:
    """The scores as a table, with ``depth``: 0 at the first layer, 1 at the last."""
    columns = list(LayerScore.__slots__)
    table = pd.DataFrame([asdict(one) for one in scores], columns=columns)
    deepest = table.groupby("encoder")["layer"].transform("max").clip(lower=1)
    return table.assign(depth=table["layer"] / deepest)


def curves(table: pd.DataFrame, names: Mapping[str, str], roles: Mapping[str, str]) -> go.Figure:
    """A facet for each task: the value along the depth of each encoder, with intervals and chance.

    Args:
        table: Of ``score_table``.
        names: Short names of encoders.
        roles: Of each encoder: its symbol.
    """
    tasks = list(dict.fromkeys(table["task"]))
    encoders = list(dict.fromkeys(table["encoder"]))
    n_rows = -(-len(tasks) // PER_ROW)
    figure = make_subplots(
        rows=n_rows,
        cols=min(PER_ROW, len(tasks)),
        subplot_titles=[_title(table[table["task"] == task], task) for task in tasks],
        horizontal_spacing=0.05,
        vertical_spacing=0.36 / n_rows,
        shared_yaxes=True,
    )
    for i, task in enumerate(tasks):
        at = {"row": i // PER_ROW + 1, "col": i % PER_ROW + 1}
        of_task = table[table["task"] == task]
        chance = float(of_task["chance"].iloc[0])
        for k, encoder in enumerate(encoders):
            rows = of_task[of_task["encoder"] == encoder]
            colour = CATEGORY_COLOURS[k % len(CATEGORY_COLOURS)]
            symbol = ROLE_SYMBOLS.get(roles.get(encoder, ""), "circle")
            name = escape_plotly(short_name(encoder, names), 32)
            figure.add_trace(_curve(rows, name, colour, symbol, is_first=i == 0), **at)
        figure.add_hline(chance, line={"dash": "dot", "color": MUTED, "width": 1.5}, **at)
    figure.update_xaxes(figures.axis(range=[-0.06, 1.06], tickvals=[0, 0.5, 1]))
    figure.update_xaxes(title="depth", row=n_rows)
    figure.update_yaxes(figures.axis(range=[-0.03, 1.03]))
    figure.update_annotations(font_size=14)
    figure.update_layout(
        figures.layout(
            height=110 + FACET_PX * n_rows,
            margin={"l": 48, "r": 8, "t": 110, "b": 48},
            legend={"orientation": "h", "y": 0.99, "yref": "container", "yanchor": "top", "x": 0},
        )
    )
    return figure


def _curve(
    rows: pd.DataFrame, name: str, colour: str, symbol: str, *, is_first: bool
) -> go.Scatter:
    return go.Scatter(
        x=rows["depth"],
        y=rows["value"],
        name=name,
        legendgroup=name,
        showlegend=is_first,
        mode="lines+markers",
        line={"color": colour, "width": 1.5},
        marker={"symbol": symbol, "size": 7, "color": colour},
        error_y={
            "type": "data",
            "symmetric": False,
            "array": rows["ci_high"] - rows["value"],
            "arrayminus": rows["value"] - rows["ci_low"],
            "thickness": 1,
            "width": 0,
            "color": colour,
        },
        text=[
            f"<b>{name}, layer {row.layer}</b><br>{number(row.value)} "
            f"{interval(row.ci_low, row.ci_high)}"
            for row in rows.itertuples()
        ],
        hovertemplate="%{text}<extra></extra>",
    )


def _title(rows: pd.DataFrame, task: str) -> str:
    return f"<b>{escape_plotly(task, 24)}</b><br>n = {count(rows['n_test'].max(), 'test clip')}"
