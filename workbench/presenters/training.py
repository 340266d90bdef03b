"""The log of a training run: whatever numbers it has, over steps."""

import json
from collections.abc import Mapping
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


def curves(rows: pd.DataFrame) -> list[str]:
    """The loss and its parts per teacher, the whole first; ``loss/TEACHER`` in the log."""
    return [name for name in _losses(rows) if name.count("/") < 2]


def curves_per_domain(rows: pd.DataFrame) -> dict[str, dict[str, str]]:
    """Teacher to domain to the column ``loss/TEACHER/DOMAIN``."""
    found: dict[str, dict[str, str]] = {}
    for name in _losses(rows):
        parts = name.split("/")
        if len(parts) == 3:
            found.setdefault(parts[1], {})[parts[2]] = name
    return found


def _losses(rows: pd.DataFrame) -> list[str]:
    names = [
        str(name)
        for name in rows.select_dtypes("number").columns
        if str(name).split("/")[0].endswith("loss") and rows[name].notna().any()
    ]
    return sorted(names, key=lambda name: (name.count("/"), name))


def other_numbers(rows: pd.DataFrame) -> list[str]:
    """Numeric columns that are neither steps nor losses."""
    losses = set(_losses(rows))
    return [
        name
        for name in rows.select_dtypes("number").columns
        if name not in losses and name != STEP and rows[name].nunique() > 1
    ]


def curve_figure(
    rows: pd.DataFrame,
    names: Mapping[str, str],
    title: str,
    palette: Mapping[str, str] | None = None,
) -> go.Figure:
    """Columns of the log over steps; ``names`` says what each is called in the legend."""
    figure = go.Figure()
    for i, (name, label) in enumerate(names.items()):
        mine = rows[rows[name].notna()]
        is_whole = "/" not in name
        fallback = INK if is_whole else CATEGORY_COLOURS[i % len(CATEGORY_COLOURS)]
        figure.add_trace(
            go.Scatter(
                x=mine[STEP], y=mine[name], mode="lines", name=hover(label, 32),
                line={"color": (palette or {}).get(label, fallback),
                      "width": 2.6 if is_whole else 1.6},
                hovertemplate="step %{x}: %{y:.4g}<extra>" + hover(label, 32) + "</extra>",
            )
        )  # fmt: skip
    figure.update_layout(
        figures.layout(
            height=400, showlegend=len(names) > 1, legend={"orientation": "v", "x": 1.01, "y": 1}
        )
    )
    figure.update_xaxes(figures.axis(title={"text": "step", "standoff": 8}))
    figure.update_yaxes(figures.axis(title={"text": hover(title)}, automargin=True))
    return figure


def log_words(rows: pd.DataFrame, name: str) -> str:
    """Where the loss began and where it ended."""
    mine = rows[rows[name].notna()]
    first, last = mine.iloc[0], mine.iloc[-1]
    return (
        f"{len(mine):,} logged steps, from step {int(first[STEP]):,} to {int(last[STEP]):,}: "
        f"{name} went from {first[name]:.4g} to {last[name]:.4g}."
    )
