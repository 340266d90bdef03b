"""The map of a space: points, their colours, and how far it can be trusted."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go

from usad_workbench.workbench.presenters import figures
from usad_workbench.workbench.presenters.clips import HIDDEN_COLUMNS
from usad_workbench.workbench.presenters.colours import (
    CATEGORY_COLOURS,
    CONTEXT,
    OTHER,
    RAMP,
    domain_colours,
    domain_order,
    scale,
)
from usad_workbench.workbench.presenters.numbers import is_missing, number
from usad_workbench.workbench.presenters.sql import Sql
from usad_workbench.workbench.presenters.text import escape_plotly, shorten

FloatArray = npt.NDArray[np.float64]
MAX_POINTS = 50_000
"""More travel to the browser as one JSON document than it can handle."""
MIN_DRAWN = 20
"""Points of a colour that are drawn at least, where it has as many."""
MAX_CATEGORIES = 20
MIN_RAMP_VALUES = 13
"""Numbers with fewer values than this (digits, counts) are told apart better by colour."""
OTHER_NAME, MISSING_NAME = "other", "no value"


@dataclass(frozen=True, kw_only=True, slots=True)
class Faithfulness:
    """What is known of a map."""

    n: int
    trustworthiness: float | None
    n_judged: int
    neighbours_kept: float | None = None
    """Share of the neighbours in the space that are neighbours on the map."""
    neighbour_recall: float | None = None
    """Share of true neighbours among those that the map was made of; none where it needs none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outline:
    """What somebody drew around points: the corners of a lasso, or two of a box."""

    x: Sequence[float]
    y: Sequence[float]
    is_box: bool = False

    def holds(self, x: FloatArray, y: FloatArray) -> npt.NDArray[np.bool_]:
        """Which points within the bounds of the outline are inside of it.

        >>> corner = Outline(x=[0, 4, 0], y=[0, 0, 4])
        >>> corner.holds(np.array([1.0, 3.0]), np.array([1.0, 3.0])).tolist()
        [True, False]
        """
        if self.is_box:
            return np.ones(len(x), dtype=bool)
        inside = np.zeros(len(x), dtype=bool)
        # An edge that a ray to the right meets changes the side (even and odd).
        corners = list(zip(self.x, self.y, strict=True))
        for (x0, y0), (x1, y1) in zip(corners, [*corners[1:], corners[0]], strict=True):
            if y0 != y1:
                meets = (y0 > y) != (y1 > y)
                inside ^= meets & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
        return inside


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Points of one colour."""

    name: str
    colour: str
    rows: pd.Index


def available_maps(sql: Sql) -> pd.DataFrame:
    """Which spaces have a map: encoder, layer, pooling, method, n, trustworthiness."""
    return sql("SELECT * FROM projection_quality ORDER BY encoder, layer, pooling, method")


def map_points(sql: Sql, encoder: str, layer: int, pooling: str, method: str) -> pd.DataFrame:
    """Points of a map with their segments' and clips' columns."""
    return sql(
        "SELECT p.x, p.y, c.* FROM projections p JOIN segments_of_clips c USING (segment_id) "
        "WHERE p.encoder = ? AND p.layer = ? AND p.pooling = ? AND p.method = ? "
        "ORDER BY p.segment_id",
        [encoder, layer, pooling, method],
    )


def faithfulness(maps: pd.DataFrame, layer: int, pooling: str, method: str) -> Faithfulness | None:
    """What is known of one map of the encoder that ``maps`` is about."""
    chosen = maps[(maps.layer == layer) & (maps.pooling == pooling) & (maps.method == method)]
    if chosen.empty:
        return None
    row = chosen.iloc[0]
    score = None if is_missing(row.trustworthiness) else float(row.trustworthiness)
    known = {} if is_missing(row.settings) else json.loads(row.settings)
    return Faithfulness(
        n=int(row.n),
        trustworthiness=score,
        n_judged=int(row.n_judged),
        neighbours_kept=known.get("neighbours_kept"),
        neighbour_recall=known.get("neighbour_recall"),
    )


def describe_faithfulness(faithfulness: Faithfulness | None) -> str:
    """How far a map can be trusted, in a sentence.

    >>> describe_faithfulness(Faithfulness(n=90, trustworthiness=0.914, n_judged=90))
    'Trustworthiness 0.91, judged on 90 points: how far neighbours on the map are neighbours \
in the space (1 is all of them).'
    """
    if faithfulness is None or faithfulness.trustworthiness is None:
        return "Too few points to judge how faithful this map is."
    among = "points" if faithfulness.n_judged == faithfulness.n else f"of {faithfulness.n:,} points"
    sentence = (
        f"Trustworthiness {number(faithfulness.trustworthiness)}, judged on "
        f"{faithfulness.n_judged:,} {among}: "
        "how far neighbours on the map are neighbours in the space (1 is all of them)."
    )
    if faithfulness.neighbours_kept is not None:
        sentence += f" {faithfulness.neighbours_kept:.0%} of the nearest are kept."
    recall = faithfulness.neighbour_recall
    if recall is not None and recall < 1:
        sentence += f" It was made of neighbours of recall {number(recall)}."
    return sentence


def colour_columns(points: pd.DataFrame) -> list[str]:
    """Columns that points can be coloured by: those of clips that say something."""
    left_out = {*HIDDEN_COLUMNS, "path", "start_s", "end_s"}
    names = [n for n in points if n not in left_out and points[n].notna().any()]
    return sorted(names, key=lambda n: (n != "domain", n != "label", n != "dataset"))


def as_numbers(values: pd.Series) -> pd.Series | None:
    """The values as numbers where they look like measurements; none where like names."""
    numbers = pd.to_numeric(values, errors="coerce")
    readable = numbers.notna().sum() >= 0.95 * max(int(values.notna().sum()), 1)
    return numbers if readable and numbers.nunique() >= MIN_RAMP_VALUES else None


def groups(points: pd.DataFrame, column: str) -> list[Group]:
    """Points by the values of a column: at most 20 by size, the rest together."""
    values = points[column].map(lambda v: MISSING_NAME if is_missing(v) else str(v))
    if column == "domain":
        colours = domain_colours(values.unique())
        return [
            Group(name=name, colour=colours[name], rows=points.index[values == name])
            for name in domain_order(values.unique())
        ]
    sizes = values[values != MISSING_NAME].value_counts()
    # By name within the chosen ones, so that a filter does not shuffle the legend.
    shown = sorted(sizes.index[: MAX_CATEGORIES if len(sizes) <= MAX_CATEGORIES else 19])
    groups = [
        Group(name=name, colour=CATEGORY_COLOURS[i], rows=points.index[values == name])
        for i, name in enumerate(shown)
    ]
    rest = points.index[~values.isin([*shown, MISSING_NAME])]
    if len(rest):
        n_more = len(sizes) - len(shown)
        groups.append(Group(name=f"{OTHER_NAME} ({n_more} values)", colour=OTHER, rows=rest))
    missing = points.index[values == MISSING_NAME]
    if len(missing):
        groups.append(Group(name=MISSING_NAME, colour=CONTEXT, rows=missing))
    return groups


def split(
    points: pd.DataFrame, domains: Sequence[str], datasets: Sequence[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Points that pass the filter, and the rest that stays as grey context."""
    keep = pd.Series(True, index=points.index)
    if domains:
        keep &= points["domain"].isin(domains)
    if datasets:
        keep &= points["dataset"].isin(datasets)
    return points[keep], points[~keep]


def thin(points: pd.DataFrame, limit: int = MAX_POINTS) -> pd.DataFrame:
    """At most ``limit`` points, always the same ones."""
    return points if len(points) <= limit else points.sample(limit, random_state=0).sort_index()


def describe_sample(n: int) -> str:
    """What is drawn of so many points, where it is not all.

    >>> describe_sample(90), describe_sample(120_000)
    ('', ' The map draws a fixed sample of about 50,000 of them: counts and selections are of all.')
    """
    if n <= MAX_POINTS:
        return ""
    return (
        f" The map draws a fixed sample of about {MAX_POINTS:,} of them: counts and selections "
        "are of all."
    )


def inside(points: pd.DataFrame, outlines: Sequence[Outline]) -> pd.Series:
    """Which points lie in one of the outlines, whether they are drawn or not."""
    inside = np.zeros(len(points), dtype=bool)
    x, y = points["x"].to_numpy(float), points["y"].to_numpy(float)
    for outline in outlines:
        near = np.flatnonzero(
            (x >= min(outline.x))
            & (x <= max(outline.x))
            & (y >= min(outline.y))
            & (y <= max(outline.y))
        )
        inside[near] |= outline.holds(x[near], y[near])
    return pd.Series(inside, index=points.index)


def map_figure(
    shown: pd.DataFrame, context: pd.DataFrame, column: str, height: int = 620
) -> go.Figure:
    """The scatter: shown points coloured by a column, context behind them in grey.

    Of more than 50,000 points a sample is drawn, of each colour its share and at least a few;
    the numbers in the legend are those of all points.
    """
    figure = go.Figure()
    size = 8 if len(shown) < 1500 else 5 if len(shown) < 15_000 else 3
    if len(context):
        drawn = thin(context)
        figure.add_trace(
            go.Scattergl(
                x=drawn["x"],
                y=drawn["y"],
                mode="markers",
                hoverinfo="skip",
                name=f"not selected ({len(context):,})",
                marker={"color": CONTEXT, "size": size - 2},
            )
        )
    numbers = as_numbers(shown[column])
    if numbers is not None:
        drawn = thin(shown)
        figure.add_trace(_ramp(drawn, numbers.loc[drawn.index], column, size))
    else:
        share = min(1.0, MAX_POINTS / max(len(shown), 1))
        for group in groups(shown, column):
            limit = max(round(share * len(group.rows)), MIN_DRAWN)
            figure.add_trace(_coloured(thin(shown.loc[group.rows], limit), group, size))
    figure.update_layout(
        figures.layout(
            height=height,
            margin={"l": 4, "r": 4, "t": 4, "b": 4},
            dragmode="pan",
            legend={
                "itemsizing": "constant",
                "orientation": "h",
                "y": -0.02,
                "yanchor": "top",
                "x": 0,
                "title": {"text": f"{escape_plotly(column)}  ", "font": {"size": 14}},
            },
        )
    )
    for update in (figure.update_xaxes, figure.update_yaxes):
        update(visible=False, zeroline=False, showgrid=False)
    return figure


def _coloured(points: pd.DataFrame, group: Group, size: int) -> go.Scattergl:
    return go.Scattergl(
        x=points["x"],
        y=points["y"],
        mode="markers",
        name=f"{escape_plotly(group.name, 28)} ({len(group.rows):,})",
        customdata=_ids(points),
        text=_texts(points),
        hovertemplate="%{text}<extra></extra>",
        marker={
            "color": group.colour,
            "size": size,
            "opacity": 0.85,
            "line": {"width": 0.5, "color": "#FFFFFF"},
        },
    )


def _ramp(points: pd.DataFrame, values: pd.Series, column: str, size: int) -> go.Scattergl:
    return go.Scattergl(
        x=points["x"],
        y=points["y"],
        mode="markers",
        name=escape_plotly(column),
        showlegend=False,
        customdata=_ids(points),
        text=_texts(points, column),
        hovertemplate="%{text}<extra></extra>",
        marker={
            "color": values.astype(float),
            "colorscale": scale(RAMP[1:]),
            "size": size,
            "line": {"width": 0.5, "color": "#FFFFFF"},
            "showscale": True,
            "colorbar": {"title": {"text": escape_plotly(column, 24)}, "thickness": 12},
        },
    )


def _ids(points: pd.DataFrame) -> list[list[int]]:
    # Lists: an array would travel packed, and come back from a click without its values.
    return [[int(i)] for i in points["segment_id"]]


def _texts(points: pd.DataFrame, column: str | None = None) -> list[str]:
    extra = points[column] if column else [None] * len(points)
    return [
        f"<b>{escape_plotly(clip_id, 60)}</b><br>{escape_plotly(label, 60)}<br>{escape_plotly(domain)} · "
        f"{start:.2f} to {end:.2f} s"
        + (f"<br>{escape_plotly(column)}: {escape_plotly(shorten(value, 40))}" if column else "")
        for clip_id, label, domain, start, end, value in zip(
            points["clip_id"],
            points["label"],
            points["domain"],
            points["start_s"],
            points["end_s"],
            extra,
            strict=True,
        )
    ]
