"""Between which teachers each clip lies: whose neighbours it has, between two ends or three corners.

A clip has some of its nearest neighbours in common with each teacher (mutual k-NN, Huh et al. 2024,
the table ``clip_teacher_similarity``). Shares of their sum say whose neighbourhood it is most like,
and not who taught it: an encoder that never taught may have them too.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from usad_workbench.workbench.presenters import figures
from usad_workbench.workbench.presenters.colours import GRID, domain_colours, domain_order
from usad_workbench.workbench.presenters.names import short_name
from usad_workbench.workbench.presenters.numbers import count, number
from usad_workbench.workbench.presenters.sql import Sql
from usad_workbench.workbench.presenters.text import escape_plotly

MEASURE = "mutual_knn"
MIN_CORNERS, MAX_CORNERS = 2, 3
LETTERS = "abc"
"""Names of the shares, in the order of the corners."""
SIZE_PX, LARGEST_PX = 7.0, 26.0


def teachers_of(sql: Sql, student: str) -> list[str]:
    """Encoders of whose neighbours it is stored how many each clip of the student has, teachers first."""
    rows = sql(
        "SELECT t.teacher, bool_or(d.student IS NOT NULL) AS taught FROM clip_teacher_similarity t "
        "LEFT JOIN distillation d ON d.student = t.student AND d.teacher = t.teacher "
        "WHERE t.student = ? AND t.measure = ? GROUP BY t.teacher ORDER BY taught DESC, t.teacher",
        [student, MEASURE],
    )
    return [str(name) for name in rows["teacher"]]


def clip_shares(sql: Sql, student: str, corners: Sequence[str]) -> pd.DataFrame:
    """The shares of two or three encoders in each clip at the student's deepest layer with all of them.

    Returns:
        Columns ``clip_id, domain, segment_id, a, b`` and ``c`` of three, in the order of ``corners``;
        shares that are missing are of clips with no neighbour in common with any. ``attrs`` has ``layer``.
    """
    rows = sql(
        "SELECT student_layer, teacher, clip_id, max(value) AS value FROM clip_teacher_similarity "
        f"WHERE student = ? AND measure = ? AND teacher IN ({', '.join('?' * len(corners))}) "
        "GROUP BY ALL",
        [student, MEASURE, *corners],
    )
    of_layer = rows.groupby("student_layer")["teacher"].nunique()
    whole = of_layer[of_layer == len(corners)]
    letters = list(LETTERS[: len(corners)])
    columns = ["clip_id", "domain", "segment_id", *letters]
    if whole.empty:
        return pd.DataFrame(columns=columns)
    layer = int(whole.index.max())
    values = rows[rows["student_layer"] == layer].pivot(
        index="clip_id", columns="teacher", values="value"
    )[list(corners)]
    values = values.dropna()
    total = values.sum(axis=1)
    shares = values.div(total.where(total > 0), axis=0).set_axis(letters, axis=1)
    about = sql(
        "SELECT clip_id, any_value(domain) AS domain, min(segment_id) AS segment_id "
        "FROM segments_of_clips GROUP BY clip_id"
    )
    found = shares.reset_index().merge(about, on="clip_id").sort_values("clip_id")
    found = found[columns].reset_index(drop=True)
    found.attrs["layer"] = layer
    return found


def places(shares: pd.DataFrame) -> pd.DataFrame:
    """Clips of the same domain and shares as one place: ``domain``, the shares, ``n, segment_ids``."""
    drawn, letters = shares.dropna(subset=["a"]), letters_of(shares)
    rounded = drawn.assign(**{name: drawn[name].round(3) for name in letters})
    grouped = rounded.groupby(["domain", *letters], sort=False)["segment_id"]
    found = grouped.agg(n="size", segment_ids=list).reset_index()
    return found.sort_values("n", ascending=False, ignore_index=True)


def clips_at(found: pd.DataFrame, row: int) -> list[int]:
    """The segments of all clips at a place: circles of several domains may lie on each other there.

    Args:
        found: Of ``places``.
        row: Of the circle that was clicked.

    >>> found = pd.DataFrame({"a": [.5, .5, 1], "b": [.5, .5, 0], "segment_ids": [[1], [2], [3]]})
    >>> clips_at(found, 1)
    [1, 2]
    """
    letters = letters_of(found)
    is_there = (found[letters] == found.loc[row, letters]).all(axis=1)
    return [int(one) for ids in found.loc[is_there, "segment_ids"] for one in ids]


def describe_place(
    place: "pd.Series[Any]", corners: Sequence[str], names: Mapping[str, str]
) -> str:
    """A row of ``places`` in words.

    >>> place = pd.Series({"domain": "music", "a": .75, "b": .25, "n": 2})
    >>> describe_place(place, ["x", "y"], {})
    'music: x 0.75, y 0.25 (2 clips)'
    """
    shares = zip(corners, LETTERS, strict=False)
    parts = [f"{short_name(one, names)} {number(place[letter])}" for one, letter in shares]
    return f"{place['domain']}: {', '.join(parts)} ({count(place['n'], 'clip')})"


def letters_of(shares: pd.DataFrame) -> list[str]:
    """The names of the shares that a table has.

    >>> letters_of(pd.DataFrame({"domain": [], "a": [], "b": []}))
    ['a', 'b']
    """
    return [letter for letter in LETTERS if letter in shares]


def between_figure(
    found: pd.DataFrame, corners: Sequence[str], names: Mapping[str, str]
) -> go.Figure:
    """A circle for each place, as large as the number of its clips: between two ends or three corners.

    A click carries the row of ``places``.
    """
    titles = [escape_plotly(short_name(one, names), 24) for one in corners]
    return _triangle(found, titles) if len(corners) == MAX_CORNERS else _line(found, titles)


def _circles(of: pd.DataFrame, colour: str, largest: int) -> dict[str, Any]:
    """What the circles of one domain look like, and what they carry."""
    return {
        "mode": "markers",
        "customdata": [[int(row)] for row in of.index],
        "text": [count(n, "clip") for n in of["n"]],
        "marker": {
            "color": colour,
            "opacity": 0.6,
            "size": SIZE_PX + (LARGEST_PX - SIZE_PX) * np.sqrt((of["n"] - 1) / largest),
            "line": {"width": 0},
        },
    }


def _line(found: pd.DataFrame, titles: Sequence[str]) -> go.Figure:
    """A line for each domain, from the clips of the second encoder to those of the first."""
    figure = go.Figure()
    colours, order = domain_colours(found["domain"]), domain_order(found["domain"])
    for domain in order:
        of = found[found["domain"] == domain]
        figure.add_scatter(
            x=of["a"],
            y=[escape_plotly(domain, 24)] * len(of),
            name=escape_plotly(domain, 24),
            hovertemplate="%{text}<br>%{x:.2f} of the first<extra>%{fullData.name}</extra>",
            **_circles(of, colours[domain], max(found["n"].max(), 1)),
        )
    ends = {"tickvals": [0, 0.5, 1], "ticktext": [f"all {titles[1]}", "both", f"all {titles[0]}"]}
    figure.update_xaxes(figures.axis(range=[-0.06, 1.06], **ends))
    figure.update_yaxes(figures.axis(autorange="reversed", automargin=True))
    figure.update_layout(figures.layout(height=110 + 56 * len(order), showlegend=False))
    return figure


def _triangle(found: pd.DataFrame, titles: Sequence[str]) -> go.Figure:
    figure = go.Figure()
    colours = domain_colours(found["domain"])
    for domain in domain_order(found["domain"]):
        of = found[found["domain"] == domain]
        figure.add_scatterternary(
            a=of["a"],
            b=of["b"],
            c=of["c"],
            name=escape_plotly(domain, 24),
            hovertemplate="%{text}<br>%{a:.2f} · %{b:.2f} · %{c:.2f}<extra>%{fullData.name}</extra>",
            **_circles(of, colours[domain], max(found["n"].max(), 1)),
        )
    axes = {
        f"{axis}axis": {
            "title": {"text": f"<b>{title}</b>"},
            "showticklabels": False,
            "ticks": "",
            "gridcolor": GRID,
            "linecolor": "rgba(125,135,148,0.8)",
            "dtick": 0.25,
        }
        for axis, title in zip(LETTERS, titles, strict=True)
    }
    figure.update_layout(
        figures.layout(
            ternary={"sum": 1, "bgcolor": figures.CLEAR, **axes},
            height=460,
            margin={"l": 60, "r": 60, "t": 48, "b": 60},
            legend={"orientation": "h", "x": 0.5, "xanchor": "center", "y": -0.12},
        )
    )
    return figure


def describe_shares(shares: pd.DataFrame, corners: Sequence[str], names: Mapping[str, str]) -> str:
    """How many clips are nearest to each corner, and how many to none.

    >>> rows = pd.DataFrame({"a": [1, 1, None], "b": [0, 0, None], "c": [0, 0, None]})
    >>> describe_shares(rows, ["x", "y", "z"], {})
    'Of 3 clips 2 have most neighbours in common with x, 0 with y, 0 with z, 1 with none of them.'
    """
    drawn = shares.dropna(subset=["a"])[letters_of(shares)].astype(float)
    first = drawn.to_numpy().argmax(axis=1) if len(drawn) else np.empty(0, int)
    is_tied = (drawn.eq(drawn.max(axis=1), axis=0).sum(axis=1) > 1).to_numpy()
    parts = [
        f"{int(((first == i) & ~is_tied).sum()):,} with {short_name(one, names)}"
        for i, one in enumerate(corners)
    ]
    parts[0] = parts[0].replace(" with", " have most neighbours in common with", 1)
    n_tied, n_none = int(is_tied.sum()), len(shares) - len(drawn)
    parts += (
        [f"{n_tied:,} with {'two or more' if len(corners) > 2 else 'both'} alike"] if n_tied else []
    )
    parts += [f"{n_none:,} with none of them"] if n_none else []
    return f"Of {count(len(shares), 'clip')} {', '.join(parts)}."
