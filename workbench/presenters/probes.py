"""Frozen probes: what a simple classifier reads out of each layer."""

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go

from usad_workbench.workbench.presenters.colours import (
    CATEGORY_COLOURS,
    GRID,
    INK,
    MUTED,
    ROLE_COLOURS,
    ROLES,
)
from usad_workbench.workbench.presenters.sql import Sql
from usad_workbench.workbench.presenters.text import count, hover, interval, is_known, number

TABLE_COLUMNS = (
    "encoder", "layer", "value", "ci_low", "ci_high", "chance", "n_test", "n_classes",
    "n_groups", "transductive", "reason",
)  # fmt: skip
DASHES = {"student": "solid", "teacher": "solid", "control": "dash", "baseline": "dot"}


def probe_keys(sql: Sql) -> pd.DataFrame:
    """Tasks and protocols that have results."""
    return sql("SELECT DISTINCT task, protocol, metric FROM probes ORDER BY ALL")


def probe_rows(sql: Sql, task: str, protocol: str) -> pd.DataFrame:
    """Results of one task and protocol."""
    return sql(
        "SELECT * FROM probes WHERE task = ? AND protocol = ? ORDER BY encoder, layer",
        [task, protocol],
    )


def best_layers(rows: pd.DataFrame) -> pd.DataFrame:
    """The best layer of each encoder, best encoder first."""
    known = rows[rows["value"].notna()]
    best = known.loc[known.groupby("encoder")["value"].idxmax()]
    return best.sort_values("value", ascending=False, ignore_index=True)


def probe_words(rows: pd.DataFrame) -> str:
    """What the numbers are, in a sentence or two."""
    first = rows.iloc[0]
    words = (
        f"{str(first['metric']).capitalize()} on held-out clips, n = "
        f"{count(rows['n_test'].max(), 'test clip')}, {count(rows['n_classes'].max(), 'class', 'classes')}. "
    )
    if is_known(first["chance"]):
        words += f"Guessing gives {number(first['chance'])} (dotted line). "
    if rows["transductive"].fillna(False).astype(bool).any():
        words += "Transductive: the probe saw unlabelled test clips of the same groups. "
    return words + "Bars are 95% intervals; the best of several layers is too high by luck."


def layer_figure(rows: pd.DataFrame, roles: Mapping[str, str]) -> go.Figure:
    """Value by layer for each encoder; layers as a share of the depth, so that depths compare."""
    figure = go.Figure()
    order = {role: i for i, role in enumerate(ROLES)}
    names = sorted(set(rows["encoder"]), key=lambda n: (order.get(roles.get(n, ""), 9), n))
    for i, name in enumerate(names):
        mine = rows[rows["encoder"] == name].sort_values("layer")
        role = roles.get(name, "encoder")
        depth = max(int(mine["layer"].max()), 1)
        colour = ROLE_COLOURS["student"] if role == "student" else CATEGORY_COLOURS[i % 20]
        figure.add_trace(
            go.Scatter(
                x=mine["layer"] / depth, y=mine["value"], mode="lines+markers",
                name=f"{hover(name, 28)} ({role})",
                line={"color": colour, "width": 3 if role == "student" else 1.8,
                      "dash": DASHES.get(role, "solid")},
                error_y={"type": "data", "symmetric": False, "thickness": 1, "width": 3,
                         "array": (mine["ci_high"] - mine["value"]).fillna(0),
                         "arrayminus": (mine["value"] - mine["ci_low"]).fillna(0)},
                text=[
                    f"<b>{hover(name, 40)}</b>, layer {row['layer']}<br>{number(row['value'])} "
                    f"{interval(row['ci_low'], row['ci_high'])}<br>n = {row['n_test']} test clips"
                    for row in mine.to_dict("records")
                ],
                hovertemplate="%{text}<extra></extra>",
            )
        )  # fmt: skip
    chance = rows["chance"].dropna()
    if len(chance):
        figure.add_hline(y=float(chance.iloc[0]), line={"color": MUTED, "dash": "dot", "width": 1})
    figure.update_layout(
        height=420, margin={"l": 8, "r": 8, "t": 8, "b": 8}, font={"color": INK, "size": 13},
        plot_bgcolor="#FFFFFF", dragmode=False, hoverlabel={"align": "left"},
        legend={"orientation": "v", "x": 1.01, "y": 1},
    )  # fmt: skip
    figure.update_xaxes(
        title="depth of the layer (0 enters the first block, 1 leaves the last)", color=MUTED,
        gridcolor=GRID, zeroline=False, range=[-0.03, 1.03], fixedrange=True,
    )  # fmt: skip
    figure.update_yaxes(
        title=hover(str(rows["metric"].iloc[0])), color=MUTED, gridcolor=GRID, zeroline=False,
        fixedrange=True, automargin=True,
    )  # fmt: skip
    return figure
