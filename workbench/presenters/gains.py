"""What training changed, as one picture: teacher by domain by layer, less the untrained student."""

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from usad_workbench.core.diagnosis.gain import GainRow
from usad_workbench.workbench.presenters import figures
from usad_workbench.workbench.presenters.colours import diverging, domain_colours
from usad_workbench.workbench.presenters.encoders import layers_of, roles_for
from usad_workbench.workbench.presenters.names import short_name
from usad_workbench.workbench.presenters.numbers import count, interval, is_number, number, signed
from usad_workbench.workbench.presenters.sql import Sql
from usad_workbench.workbench.presenters.text import escape_plotly, lines

NAME = 16
"""Characters of a line beside the picture."""
ROW = 46
"""Pixels of a teacher."""


def students(sql: Sql) -> list[str]:
    """Students with vectors, those of most layers first."""
    rows = sql(
        "SELECT s.encoder, count(*) AS n FROM spaces s JOIN encoders e USING (encoder) "
        "WHERE s.n > 0 AND s.pooling = 'mean' AND (e.role = 'student' "
        "OR s.encoder IN (SELECT student FROM distillation)) GROUP BY ALL ORDER BY n DESC, 1"
    )
    return [str(name) for name in rows["encoder"]]


def teachers(sql: Sql, student: str) -> list[str]:
    """Encoders that taught a student and have vectors, by name."""
    roles = roles_for(sql, student)
    return sorted(n for n, role in roles.items() if role == "teacher" and layers_of(sql, n))


def untrained(sql: Sql, student: str) -> str:
    """The baseline of a student's layers and widths: the untrained one; empty where none is.

    One of other widths is another network, and what is less is not what training changed.
    """
    layers, roles = layers_of(sql, student), roles_for(sql, student)
    known = sql("SELECT encoder, dims FROM encoders WHERE n_layers > 0 ORDER BY encoder")
    dims = {str(name): list(of) for name, of in zip(known["encoder"], known["dims"], strict=True)}
    return next(
        (
            name
            for name in dims
            if roles.get(name) == "baseline"
            and set(layers) <= set(layers_of(sql, name))
            and student in dims
            and all(dims[name][layer] == dims[student][layer] for layer in layers)
        ),
        "",
    )


def gain_table(rows: Sequence[GainRow]) -> pd.DataFrame:
    """The rows as a table, those without a number left out."""
    table = pd.DataFrame([asdict(row) for row in rows], columns=list(GainRow.__slots__))
    return table[table["value"].notna()]


def largest(table: pd.DataFrame) -> float:
    """The end of the colour scale, the same on all sides of zero."""
    top = float(np.nanmax(np.abs(table["value"]))) if len(table) else 1.0
    return max(float(np.ceil(top * 20) / 20), 0.05)


def gain_figure(
    table: pd.DataFrame,
    domains: Sequence[str],
    names: dict[str, str],
    *,
    top: float,
    is_dark: bool,
    marked: tuple[str, str, int] | None = None,
) -> go.Figure:
    """Domains beside each other: teachers downwards, the student's layers across.

    A dot stands where the interval holds 0. A heat map takes no clicks in Streamlit, so an
    invisible marker lies on every cell and carries (domain, student layer, teacher, teacher layer).

    Args:
        table: ``gain_table`` of the rows of kind ``nearest``.
        domains: Which, in their order.
        names: Short names of encoders.
        top: The end of the colour scale.
        is_dark: Whether the page is.
        marked: Domain, teacher and student layer of the cell that is open.
    """
    order = sorted(table["teacher"].unique(), reverse=True)
    labels = {one: lines(short_name(one, names), NAME) for one in order}
    figure = make_subplots(cols=len(domains), shared_yaxes=True, horizontal_spacing=0.024)
    layers = table["student_layer"]
    for column, domain in enumerate(domains, start=1):
        rows = table[table["domain"] == domain]
        grid = rows.pivot(index="teacher", columns="student_layer", values="value").reindex(order)
        cells = go.Heatmap(
            z=grid.to_numpy(),
            x=grid.columns,
            y=[labels[one] for one in order],
            colorscale=diverging(is_dark),
            zmin=-top,
            zmax=top,
            showscale=False,
            xgap=1.5,
            ygap=8,
            hoverinfo="skip",
        )
        figure.add_traces([cells, _marks(rows, labels, names)], rows=1, cols=column)
        figure.add_annotation(_title(domain, f"x{'' if column == 1 else column}"))
    if marked is not None and marked[0] in domains and marked[1] in order:
        at = {"row": 1, "col": list(domains).index(marked[0]) + 1}
        figures.frame_cell(figure, marked[2], order.index(marked[1]), is_dark, **at)
    figure.update_xaxes(
        figures.axis(range=[layers.min() - 0.5, layers.max() + 0.5], dtick=1, showgrid=False)
    )
    figure.update_xaxes(title={"text": "student layer", "standoff": 4}, col=1)
    figure.update_yaxes(
        figures.axis(range=[-0.5, len(order) - 0.5], showgrid=False, automargin=True)
    )
    figure.update_layout(
        figures.layout(
            height=80 + ROW * len(order),
            margin={"l": 8, "r": 4, "t": 30, "b": 46},
            showlegend=False,
        )
    )
    return figure


def _marks(rows: pd.DataFrame, labels: dict[str, str], names: dict[str, str]) -> go.Scatter:
    """What takes the clicks on the cells, and a dot where the interval holds 0."""
    holds_zero = ~((rows["ci_low"] > 0) | (rows["ci_high"] < 0))
    return figures.click_marks(
        rows["student_layer"],
        [labels[one] for one in rows["teacher"]],
        rows[["domain", "student_layer", "teacher", "teacher_layer"]].values.tolist(),
        [gain_hover(row, names) for row in rows.to_dict("records")],
        {
            "symbol": ["circle" if zero else "square" for zero in holds_zero],
            "size": [5 if zero else figures.CELL_PX for zero in holds_zero],
            "color": ["rgba(125,135,148,0.9)" if zero else figures.CLEAR for zero in holds_zero],
        },
    )


def _title(domain: str, axis: str) -> dict[str, object]:
    return {
        "text": f"<b>{escape_plotly(domain, 24)}</b>",
        "font": {"size": 15, "color": domain_colours([domain])[domain]},
        "x": 0.5,
        "xref": f"{axis} domain",
        "xanchor": "center",
        "y": 1,
        "yref": "paper",
        "yanchor": "bottom",
        "showarrow": False,
    }


def gain_hover(row: dict[str, object], names: dict[str, str]) -> str:
    """What the pointer shows over a cell: which it is, and its numbers."""
    teacher = escape_plotly(short_name(row["teacher"], names), 40)
    title = f"<b>{teacher}, layer {row['student_layer']} of the student</b>"
    return "<br>".join([title, *gain_numbers(row)])


def gain_numbers(row: dict[str, object]) -> list[str]:
    """The numbers of a cell, a line each: the difference with its interval, both values, n."""
    words = [f"{signed(float(str(row['value'])), 2)} {interval(row['ci_low'], row['ci_high'])}"]
    if is_number(row["baseline_value"]):
        words.append(
            f"student {number(row['student_value'])}, untrained {number(row['baseline_value'])}"
        )
    words.append(
        f"n = {count(float(str(row['n_clips'])), 'clip')}, "
        f"{count(float(str(row['n_clusters'])), 'cluster')}"
    )
    return words


def describe_gains(table: pd.DataFrame, names: dict[str, str]) -> str:
    """What the picture says most clearly, with its number, as Markdown without names escaped.

    >>> rows = pd.DataFrame([{"teacher": "t", "domain": "music", "student_layer": 8, "value": .53,
    ...     "ci_low": .4, "ci_high": .6, "n_clips": 80, "n_clusters": 9, "baseline": "u"}])
    >>> describe_gains(rows, {})
    'moved most towards t in music at layer 8: +0.53 [0.40, 0.60], n = 80 clips in 9 clusters'
    >>> describe_gains(rows.assign(baseline=""), {})[:31]
    'is most like t in music at laye'
    """
    if table.empty:
        return ""
    row = table.loc[table["value"].idxmax()]
    how = "moved most towards" if row["baseline"] else "is most like"
    return (
        f"{how} {short_name(row['teacher'], names)} in {row['domain']} at layer "
        f"{row['student_layer']}: {signed(row['value'], 2)} "
        f"{interval(row['ci_low'], row['ci_high'])}, n = {count(row['n_clips'], 'clip')} in "
        f"{count(row['n_clusters'], 'cluster')}"
    )
