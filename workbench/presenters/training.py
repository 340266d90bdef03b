"""The log of a training run: whatever numbers it has, over steps."""

import json
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go

from usad_workbench.core.errors import StoreError
from usad_workbench.workbench.presenters import figures
from usad_workbench.workbench.presenters.colours import CATEGORY_COLOURS, INK
from usad_workbench.workbench.presenters.text import hover

LOG_NAMES = ("log.jsonl", "log.csv")
STEP = "step"


def find_log(folder: Path) -> Path | None:
    """The log in a run folder, if there is one."""
    return next((folder / name for name in LOG_NAMES if (folder / name).is_file()), None)


def read_log(path: Path) -> pd.DataFrame:
    """One row per logged step; a last line that is still being written is left out.

    Raises:
        StoreError: no row can be read.
    """
    if path.suffix == ".csv":
        rows = pd.read_csv(path)
    else:
        found = []
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                value = json.loads(line)
            except json.JSONDecodeError:
                continue
            if isinstance(value, dict):
                found.append(value)
        rows = pd.json_normalize(found)
    if rows.empty:
        raise StoreError(
            f"{path.name} has no row that can be read, one JSON document per line was expected. "
            "Train again, or point to another run."
        )
    return rows if STEP in rows else rows.assign(**{STEP: range(len(rows))})


def curves(rows: pd.DataFrame, kind: str = "loss") -> list[str]:
    """Numeric columns whose name has ``kind`` in it, the plain one first."""
    names = [
        name
        for name in rows.select_dtypes("number").columns
        if kind in str(name).lower() and rows[name].notna().any()
    ]
    return sorted(names, key=lambda name: (name != kind, name))


def other_numbers(rows: pd.DataFrame) -> list[str]:
    """Numeric columns that are neither steps nor losses."""
    losses = set(curves(rows))
    return [
        name
        for name in rows.select_dtypes("number").columns
        if name not in losses and name != STEP and rows[name].nunique() > 1
    ]


def curve_figure(rows: pd.DataFrame, names: list[str], title: str) -> go.Figure:
    """Columns of the log over steps."""
    figure = go.Figure()
    for i, name in enumerate(names):
        mine = rows[rows[name].notna()]
        figure.add_trace(
            go.Scatter(
                x=mine[STEP], y=mine[name], mode="lines", name=hover(name, 32),
                line={"color": INK if i == 0 else CATEGORY_COLOURS[(i - 1) % 20],
                      "width": 2.5 if i == 0 else 1.4},
                hovertemplate="step %{x}: %{y:.4g}<extra>" + hover(name, 32) + "</extra>",
            )
        )  # fmt: skip
    figure.update_layout(
        figures.layout(
            height=400, showlegend=len(names) > 1, legend={"orientation": "v", "x": 1.01, "y": 1}
        )
    )
    figure.update_xaxes(figures.axis(title={"text": "step", "standoff": 8}))
    figure.update_yaxes(figures.axis(title=hover(title), automargin=True))
    return figure


def log_words(rows: pd.DataFrame, name: str) -> str:
    """Where the loss began and where it ended."""
    mine = rows[rows[name].notna()]
    first, last = mine.iloc[0], mine.iloc[-1]
    return (
        f"{len(mine):,} logged steps, from step {int(first[STEP]):,} to {int(last[STEP]):,}: "
        f"{name} went from {first[name]:.4g} to {last[name]:.4g}."
    )
