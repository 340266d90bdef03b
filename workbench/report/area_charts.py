"""Figures of a panel: stacked shares over layers, maps of layer against layer."""

import math
from collections.abc import Mapping

import pandas as pd

from usad_workbench.workbench.presenters.colours import RAMP, domain_order
from usad_workbench.workbench.presenters.diagnosis.marks import part_order
from usad_workbench.workbench.presenters.numbers import number
from usad_workbench.workbench.presenters.text import shorten
from usad_workbench.workbench.report import svg
from usad_workbench.workbench.report.charts import CURVE_HEIGHT, FOOT, MAX_FACETS, legend
from usad_workbench.workbench.report.markup import Html, join, tag

COMMON_PARTS = {"shared": "part-shared", "novel": "part-new", "residual": "part-new"}
MAP_LABELS = 170
HEAD = 26


def stacked(parts_of: pd.DataFrame, axis: str, colours: Mapping[str, int]) -> Html:
    """Stacked bars, one per layer, one facet for each group of rows; negative shares go below zero."""
    facets = domain_order(parts_of["facet"])[:MAX_FACETS]
    shown = parts_of[parts_of["facet"].isin(facets)]
    names = part_order(shown["part"].tolist(), colours)
    classes = {name: COMMON_PARTS.get(name, f"s{colours.get(name, 7)}") for name in names}
    n_columns = min(len(facets), 4)
    left, width = 52.0, (svg.WIDTH - 52) / n_columns
    sums = shown.assign(up=shown["share"].clip(lower=0), down=shown["share"].clip(upper=0))
    grouped = sums.groupby(["facet", "layer"], dropna=False)[["up", "down"]].sum()
    low, high = min(0.0, float(grouped["down"].min())), max(1.0, float(grouped["up"].max()))
    pieces, top = [], 0.0
    for start in range(0, len(facets), n_columns):
        row = facets[start : start + n_columns]
        titles, head = svg.titles(row, left + 2, width, top)
        pieces.append(titles)
        bottom = top + head + CURVE_HEIGHT
        y = svg.Scale(low, high, bottom, top + head + 6)
        for at, facet in enumerate(row):
            x0, x1 = left + at * width, left + (at + 1) * width - 14
            pieces.append(svg.upright_axis(y, x0, x1, with_numbers=at == 0))
            pieces.append(_bars(shown[shown["facet"] == facet], names, classes, (x0, x1), y))
        pieces.append(svg.words(left, bottom + 34, f"upwards: {axis}; across: layer", "axis"))
        top = bottom + FOOT + 4
    return join(
        [
            legend([(name, "square", classes[name]) for name in names]),
            svg.picture(top, f"{axis}, stacked", *pieces),
        ]
    )


def _bars(
    rows: pd.DataFrame,
    names: list[str],
    classes: dict[str, str],
    across: tuple[float, float],
    y: svg.Scale,
) -> Html:
    layers = sorted(rows["layer"].dropna().unique().tolist()) or [None]
    step = (across[1] - across[0]) / len(layers)
    pieces = []
    for i, layer in enumerate(layers):
        mine = rows if layer is None else rows[rows["layer"] == layer]
        x = round(across[0] + step * (i + 0.15), 1)
        up = down = 0.0
        for name in names:
            for row in mine[mine["part"] == name].to_dict("records"):
                share = float(row["share"])
                base = up if share >= 0 else down
                ends = sorted((y(base), y(base + share)))
                up, down = (up + share, down) if share >= 0 else (up, down + share)
                hint = f"{name}: {number(share, 3)}" + (" (weak fit)" if row["is_weak"] else "")
                pieces.append(
                    tag(
                        "rect",
                        tag("title", hint),
                        x=x,
                        y=ends[0],
                        width=round(step * 0.7, 1),
                        height=round(ends[1] - ends[0], 1),
                        class_=f"part {classes[name]}" + (" weak" if row["is_weak"] else ""),
                    )
                )
        words = "" if layer is None else str(int(layer))
        pieces.append(svg.words(x + step * 0.35, y.start + 16, words, "tick", "middle"))
    return join(pieces)


def maps(rows: pd.DataFrame, names: list[str], axis: str) -> Html:
    """Small maps of layer against layer: an encoder per row, a domain per column, one scale."""
    domains = domain_order(rows["domain"])
    n_up = int(rows["student_layer"].nunique())
    cell_h = 7.0
    width = (svg.WIDTH - MAP_LABELS) / max(1, len(domains))
    top_value = max(float(rows["value"].max()), 1e-9)
    pieces = [
        svg.words(MAP_LABELS + i * width, 15, shorten(d, 24), "facet", full=d)
        for i, d in enumerate(domains)
    ]
    height = n_up * cell_h
    for j, name in enumerate(names):
        top = HEAD + j * (height + 10)
        pieces.append(
            svg.words(MAP_LABELS - 12, top + height / 2 + 4, shorten(name, 24), "name", "end", name)
        )
        for i, domain in enumerate(domains):
            mine = rows[(rows["teacher"] == name) & (rows["domain"] == domain)]
            pieces.append(_map(mine, (MAP_LABELS + i * width, top), width - 16, cell_h, top_value))
    total = HEAD + len(names) * (height + 10)
    pieces.append(_ramp(total + 6, top_value, axis))
    return svg.picture(total + 40, f"{axis}: layer against layer", *pieces)


def _map(
    rows: pd.DataFrame, corner: tuple[float, float], width: float, cell_h: float, top_value: float
) -> Html:
    ups, overs = sorted(rows["student_layer"].unique()), sorted(rows["teacher_layer"].unique())
    if not ups:
        return join([])
    cell_w = width / len(overs)
    pieces = []
    for row in rows.to_dict("records"):
        x = round(corner[0] + overs.index(row["teacher_layer"]) * cell_w, 1)
        y = round(corner[1] + (len(ups) - 1 - ups.index(row["student_layer"])) * cell_h, 1)
        hint = (
            f"student layer {row['student_layer']} × layer {row['teacher_layer']}: "
            f"{number(row['value'], 3)}"
        )
        pieces.append(
            tag(
                "rect",
                tag("title", hint),
                x=x,
                y=y,
                width=round(cell_w, 1),
                height=round(cell_h, 1),
                class_=f"m{shade(row['value'], top_value)}",
            )
        )
    return join(pieces)


def shade(value: object, top: float) -> int:
    """The step of the colour ramp of a value.

    >>> shade(0.0, 1.0), shade(1.0, 1.0)
    (0, 13)
    """
    part = float(str(value)) / top
    steps = 2 * len(RAMP) - 1
    return min(steps, max(0, round(part * steps))) if math.isfinite(part) else 0


def _ramp(y: float, top_value: float, axis: str) -> Html:
    steps = 2 * len(RAMP)
    cells = [
        tag("rect", x=MAP_LABELS + 14 * i, y=round(y), width=14, height=9, class_=f"m{i}")
        for i in range(steps)
    ]
    return join(
        [
            *cells,
            svg.words(MAP_LABELS, y + 24, "0 or less", "tick"),
            svg.words(MAP_LABELS + 14 * steps, y + 24, number(top_value), "tick", "end"),
            svg.words(MAP_LABELS + 14 * steps + 12, y + 9, axis, "axis"),
        ]
    )
