"""Curves of a training: losses, their terms, probes, speed, over steps."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from usad_workbench.core.errors import StoreError
from usad_workbench.workbench.presenters import figures
from usad_workbench.workbench.presenters.colours import (
    CATEGORY_COLOURS,
    DOMAIN_COLOURS,
    MUTED,
    ROLE_COLOURS,
    domain_order,
)
from usad_workbench.workbench.presenters.numbers import count, interval, is_number
from usad_workbench.workbench.presenters.text import escape_plotly

STEP, SPEED = "step", "audio s per s"
N_POINTS = 800
"""Points of a curve; more lines of the log than that are averaged."""
PROBE = "probe"
PROTOCOL_COLOURS = {"linear": "#0072B2", "knn": "#D55E00"}
WHOLE = ROLE_COLOURS["student"]
"""Of the loss with all its terms."""
PROTOCOL_NAMES = {"linear": "linear", "knn": "k-NN"}
ALL_TEACHERS = "all teachers"
Facets = Mapping[str, Mapping[str, str]]
"""Title of a facet to what its lines are called to their columns."""


def read_curve(path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The steps and evaluations of a ``log.csv``, as it is passed on with a student.

    Raises:
        StoreError: it cannot be read as such.
    """
    try:
        rows = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{path.name} cannot be read: {error}. Expected columns step, loss and more."
        ) from error
    if STEP not in rows or "loss" not in rows:
        raise StoreError(f"{path.name} has the columns {list(rows)}, expected step, loss and more.")
    return rows[rows["loss"].notna()], rows[rows["loss"].isna()]


def loss_columns(steps: pd.DataFrame) -> dict[str, str]:
    """What each loss is called to its column: the whole first, then ``loss/TEACHER``."""
    names = [name for name in _teachers(steps) if f"loss/{name}" in steps]
    return {ALL_TEACHERS: "loss", **{name: f"loss/{name}" for name in names}}


def domain_facets(steps: pd.DataFrame) -> dict[str, dict[str, str]]:
    """Teacher to domain to the column ``loss/TEACHER/DOMAIN``."""
    teachers = _teachers(steps)
    whole = {"loss", *(f"loss/{name}" for name in teachers)}
    columns: dict[str, dict[str, str]] = {}
    for column in _columns(steps, "loss"):
        # The names of teachers may hold strokes, and begin with that of another.
        owners = [name for name in teachers if column.startswith(f"loss/{name}/")]
        if column not in whole and owners:
            teacher = max(owners, key=len)
            columns.setdefault(teacher, {})[column.removeprefix(f"loss/{teacher}/")] = column
    return {
        teacher: {domain: columns[teacher][domain] for domain in domain_order(columns[teacher])}
        for teacher in sorted(columns)
    }


def _teachers(steps: pd.DataFrame) -> list[str]:
    """Told by the columns ``l1/TEACHER``, which have no domain behind."""
    return sorted(name.partition("/")[2] for name in _columns(steps, "l1"))


def term_facets(steps: pd.DataFrame) -> dict[str, dict[str, str]]:
    """The two terms of the loss, each by teacher."""
    titles = {"L1 distance": "l1", "−log σ(cosine)": "cosine"}
    facets = {
        title: {name.partition("/")[2]: name for name in sorted(_columns(steps, prefix))}
        for title, prefix in titles.items()
    }
    return {title: lines for title, lines in facets.items() if lines}


def work_facets(steps: pd.DataFrame) -> dict[str, dict[str, str]]:
    """Learning rate, norm of the gradient, speed: one line each."""
    titles = {"learning rate": "lr", "norm of the gradient": "gradient_norm", SPEED: SPEED}
    return {title: {title: name} for title, name in titles.items() if name in steps}


def comparable(steps: Sequence[pd.DataFrame], probes: Sequence[pd.DataFrame]) -> list[str]:
    """Columns that several runs can be compared by, the loss first."""
    columns = {str(name): None for rows in steps for name in rows if name not in (STEP, "audio_s")}
    values = {str(name): None for rows in probes for name in rows if is_value(str(name))}
    names = sorted(columns, key=lambda name: (name != "loss", name.count("/"), name))
    means = sorted(values, key=lambda name: ("mean of tasks" not in name, name))
    return ["loss", *means, *(name for name in names if name not in ("loss", "wall_s"))]


def is_value(column: str) -> bool:
    """Whether a column is what a probe read, not something about it.

    >>> is_value("probe/knn/digit"), is_value("probe/knn/digit/n")
    (True, False)
    """
    return column.startswith(f"{PROBE}/") and column.count("/") == 2


def thin(steps: pd.DataFrame, n_points: int = N_POINTS) -> tuple[pd.DataFrame, int]:
    """At most this many rows, each the mean of some lines at the step of their last, and how many.

    >>> rows, n = thin(pd.DataFrame({"step": [1, 2, 3], "loss": [4.0, 2.0, 1.0]}), 2)
    >>> rows["step"].tolist(), rows["loss"].tolist(), n
    ([2, 3], [3.0, 1.0], 2)
    """
    size = max(1, -(-len(steps) // n_points))
    if size == 1:
        return steps, 1
    block = pd.Series(range(len(steps)), index=steps.index) // size
    rows = steps.groupby(block).mean()
    rows[STEP] = steps[STEP].groupby(block).last()
    return rows, size


def teacher_palette(teachers: Mapping[str, str]) -> dict[str, str]:
    """A colour for each teacher: its domain's where no other teacher has the same."""
    domains = list(teachers.values())
    palette = {}
    for i, (name, domain) in enumerate(teachers.items()):
        own = DOMAIN_COLOURS.get(domain) if domains.count(domain) == 1 else None
        palette[name] = own or CATEGORY_COLOURS[(i + len(DOMAIN_COLOURS)) % len(CATEGORY_COLOURS)]
    return palette


def curve_figure(
    curves: Mapping[str, tuple[pd.DataFrame, str]],
    title: str,
    palette: Mapping[str, str] | None = None,
) -> go.Figure:
    """One plot of some curves by name, each a column of a frame; the first is the thick one."""
    figure = go.Figure()
    for i, (label, (rows, column)) in enumerate(curves.items()):
        is_whole = label == ALL_TEACHERS
        fallback = WHOLE if is_whole else CATEGORY_COLOURS[i % len(CATEGORY_COLOURS)]
        colour = (palette or {}).get(label, fallback)
        figure.add_trace(_line(rows, column, label, colour, 2.8 if is_whole else 1.7))
    figure.update_layout(
        figures.layout(
            height=380,
            showlegend=len(curves) > 1,
            uirevision=title,
            legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
            margin={"l": 8, "r": 8, "t": 36, "b": 48},
        )
    )
    figure.update_xaxes(figures.axis(title={"text": "step", "standoff": 8}))
    figure.update_yaxes(figures.axis(title={"text": escape_plotly(title)}, automargin=True))
    return figure


def facet_figure(
    rows: pd.DataFrame, facets: Facets, palette: Mapping[str, str], *, shares_y: bool
) -> go.Figure:
    """Facets side by side, one legend for all of them."""
    figure = make_subplots(
        rows=1,
        cols=len(facets),
        subplot_titles=[f"<b>{escape_plotly(title)}</b>" for title in facets],
        shared_yaxes=shares_y,
        horizontal_spacing=0.03 if shares_y else 0.07,
    )
    shown: set[str] = set()
    for position, lines in enumerate(facets.values(), start=1):
        for label, column in lines.items():
            trace = _line(rows, column, label, palette.get(label, WHOLE), 1.9)
            trace.update(legendgroup=label, showlegend=label not in shown)
            shown.add(label)
            figure.add_trace(trace, row=1, col=position)
    several = max(len(lines) for lines in facets.values()) > 1
    figure.update_layout(
        figures.layout(
            height=300 if several else 240,
            showlegend=several,
            uirevision="facets",
            legend={"orientation": "h", "x": 0, "y": -0.22, "yanchor": "top"},
            margin={"l": 8, "r": 8, "t": 34, "b": 60},
        )
    )
    figure.update_xaxes(figures.axis(title={"text": "step", "standoff": 6}))
    figure.update_yaxes(figures.axis(automargin=True))
    figure.update_annotations(font_size=15)
    return figure


def probe_figure(probes: pd.DataFrame) -> go.Figure:
    """One facet per task: what each probe reads, with its interval, and chance."""
    tasks: dict[str, list[str]] = {}
    for name in sorted(n for n in probes if is_value(str(n))):
        _, protocol, task = str(name).split("/")
        tasks.setdefault(task, []).append(protocol)
    order = sorted(tasks, key=lambda task: (not task.startswith("mean of tasks"), task))
    n_columns = min(3, len(order))
    n_rows = -(-len(order) // n_columns)
    height = 230 * n_rows + 60
    titles = [_probe_title(probes, task, tasks[task][0]) for task in order]
    figure = make_subplots(
        rows=n_rows,
        cols=n_columns,
        subplot_titles=titles,
        shared_yaxes=True,
        horizontal_spacing=0.03,
        vertical_spacing=86 / height if n_rows > 1 else 0,
    )
    for i, task in enumerate(order):
        at = {"row": i // n_columns + 1, "col": i % n_columns + 1}
        for protocol in tasks[task]:
            for trace in _probe_traces(probes, f"{PROBE}/{protocol}/{task}", protocol, i == 0):
                figure.add_trace(trace, **at)
    figure.update_layout(
        figures.layout(
            height=height,
            uirevision="probes",
            margin={"l": 8, "r": 8, "t": 78, "b": 48},
            legend={"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom", "yref": "container"},
        )
    )
    figure.update_layout(legend={"y": 0.995, "yanchor": "top"})
    figure.update_xaxes(figures.axis(rangemode="tozero"))
    figure.update_yaxes(figures.axis(rangemode="tozero", automargin=True))
    figure.update_annotations(font_size=14)
    return figure


def _probe_title(probes: pd.DataFrame, task: str, protocol: str) -> str:
    n = probes[f"{PROBE}/{protocol}/{task}/n"].dropna()
    words = f"n = {count(n.iloc[-1], 'clip')}" if len(n) else ""
    return f"<b>{escape_plotly(task.replace('_', ' '), 34)}</b>, {words}"


def _probe_traces(
    probes: pd.DataFrame, column: str, protocol: str, in_legend: bool
) -> list[go.Scatter]:
    rows = probes[probes[column].notna()]
    label, colour = PROTOCOL_NAMES.get(protocol, protocol), PROTOCOL_COLOURS.get(protocol, WHOLE)
    traces = []
    low, high = f"{column}/ci_low", f"{column}/ci_high"
    if low in rows and rows[low].notna().any():
        band = rows[rows[low].notna()]
        traces.append(
            go.Scatter(
                x=[*band[STEP], *band[STEP][::-1]],
                y=[*band[high], *band[low][::-1]],
                mode="lines",
                fill="toself",
                fillcolor=colour,
                opacity=0.13,
                line={"width": 0},
                hoverinfo="skip",
                showlegend=False,
                legendgroup=label,
            )
        )
    if f"{column}/chance" in rows:
        traces.append(
            go.Scatter(
                x=rows[STEP],
                y=rows[f"{column}/chance"],
                mode="lines",
                hoverinfo="skip",
                line={"color": MUTED, "width": 1.2, "dash": "dot"},
                name="chance",
                legendgroup="chance",
                showlegend=in_legend and protocol == "knn",
            )
        )
    texts = [
        f"step {row[STEP]:,.0f}: {row[column]:.3f} {interval(row.get(low), row.get(high), 3)}"
        for row in rows.to_dict("records")
    ]
    traces.append(
        go.Scatter(
            x=rows[STEP],
            y=rows[column],
            mode="lines+markers",
            name=label,
            text=texts,
            hovertemplate="%{text}<extra>" + label + "</extra>",
            legendgroup=label,
            line={"color": colour, "width": 2},
            marker={"size": 6},
            showlegend=in_legend,
        )
    )
    return traces


def describe_lines(n_lines: int, size: int) -> str:
    """How many lines of the log a curve stands on."""
    words = f"n = {count(n_lines, 'line')} of the log, each the mean of the steps since the last."
    return f"{words} A point is the mean of {size} lines." if size > 1 else words


def describe_loss(steps: pd.DataFrame) -> str:
    """Where the loss began and where it is."""
    first, last = steps.iloc[0], steps.iloc[-1]
    return (
        f"From {first['loss']:.4g} at step {int(first[STEP]):,} to {last['loss']:.4g} at step "
        f"{int(last[STEP]):,}."
    )


def _columns(rows: pd.DataFrame, prefix: str) -> list[str]:
    return [str(n) for n in rows if str(n).split("/")[0] == prefix and rows[n].notna().any()]


def _line(rows: pd.DataFrame, column: str, label: str, colour: str, width: float) -> go.Scatter:
    numbered = (
        rows[rows[column].notna()] if column in rows else rows.head(0).assign(**{column: 0.0})
    )
    few = len(numbered) < 2 or not is_number(numbered[column].iloc[-1])
    return go.Scatter(
        x=numbered[STEP],
        y=numbered[column],
        mode="lines+markers" if few else "lines",
        name=escape_plotly(label, 32),
        line={"color": colour, "width": width},
        hovertemplate="step %{x:,}: %{y:.4g}<extra>" + escape_plotly(label, 32) + "</extra>",
    )
