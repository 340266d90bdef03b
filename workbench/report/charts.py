"""The figures of a panel in the report: dots, curves over layers, stacked shares, layer maps."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from markupsafe import Markup

from usad_workbench.workbench.presenters.colours import RAMP, ROLE_SYMBOLS, domain_order
from usad_workbench.workbench.presenters.diagnosis.plan import MAX_CURVES, FigurePlan
from usad_workbench.workbench.presenters.numbers import number
from usad_workbench.workbench.presenters.text import shorten
from usad_workbench.workbench.report import svg

LABELS = 190
"""Room for names at the left of dots."""
ROW = 19
FOOT = 44
CURVE_HEIGHT = 190
FACETS_PER_ROW = 4
AXIS_LEFT = 52.0
COMMON_PARTS = {"shared": "part-shared", "novel": "part-new", "residual": "part-new"}
MAP_LABELS = 170
MAP_HEAD = 26
MAP_CELL = 7.0


@dataclass(frozen=True, kw_only=True, slots=True)
class LegendEntry:
    """A mark and what it stands for."""

    name: str
    symbol: str
    css: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawing:
    """A figure with the legend above it."""

    legend: tuple[LegendEntry, ...]
    picture: Markup


def draw(plan: FigurePlan) -> Drawing:
    """The figure of a plan of dots, curves, shares or maps."""
    if plan.kind == "curves":
        return _curves(plan)
    if plan.kind == "shares":
        return _shares(plan)
    return _maps(plan) if plan.kind == "maps" else _dots(plan)


def _dots(plan: FigurePlan) -> Drawing:
    """One row per name, three facets side by side, all on one scale."""
    n_columns = min(len(plan.facets), 3)
    width = (svg.WIDTH - LABELS) / n_columns
    pieces: list[Markup] = []
    top = 0.0
    for start in range(0, len(plan.facets), n_columns):
        facets = plan.facets[start : start + n_columns]
        rows = plan.drawn[plan.drawn["facet"].isin(facets)]
        names = [name for name in plan.names if name in set(rows["name"])]
        titles, head = svg.titles(facets, LABELS + 8, width, top)
        first, bottom = top + head, top + head + ROW * len(names)
        pieces += [titles, *_row_names(names, first)]
        for at, facet in enumerate(facets):
            left = LABELS + at * width
            scale = svg.spread(_values(plan.drawn), left + 8, left + width - 12)
            pieces.append(svg.level_axis(scale, first, bottom))
            for row in rows[rows["facet"] == facet].to_dict("records"):
                y = first + ROW * (names.index(row["name"]) + 0.5)
                pieces.append(_dot(row, scale, y))
        top = bottom + FOOT
    pieces.append(svg.words(svg.WIDTH - 12, top - FOOT + 32, plan.axis, "axis", "end"))
    roles = set(plan.drawn["role"])
    return Drawing(
        legend=tuple(
            LegendEntry(name=role, symbol=symbol, css=role)
            for role, symbol in ROLE_SYMBOLS.items()
            if role in roles
        ),
        picture=svg.picture(top, f"{plan.axis}: dots with 95% intervals", *pieces),
    )


def _row_names(names: Sequence[str], top: float) -> list[Markup]:
    return [
        svg.words(LABELS - 12, top + ROW * (i + 0.5) + 4, shorten(name, 26), "name", "end", name)
        for i, name in enumerate(names)
    ]


def _dot(row: Mapping[str, object], scale: svg.Scale, y: float) -> Markup:
    low, high, reference = (float(str(row[k])) for k in ("ci_low", "ci_high", "reference"))
    role = str(row["role"])
    symbol = ROLE_SYMBOLS.get(role, "circle")
    whisker = svg.line(scale(low), y, scale(high), y, f"whisker {role}")
    tick = svg.line(scale(reference), y - 6, scale(reference), y + 6, "reference")
    value = scale(float(str(row["value"])))
    lines: Sequence[str] = row["lines"]  # type: ignore[assignment]
    return svg.group(
        [
            tick if np.isfinite(reference) else None,
            whisker if np.isfinite(low) and np.isfinite(high) else None,
            svg.mark(value, y, symbol, role, bool(row["is_out"]), lines),
        ]
    )


def _curves(plan: FigurePlan) -> Drawing:
    """Value over layers, one curve per name, all facets on one scale."""
    drawn, colours = plan.drawn, {name: _colour(plan, name) for name in plan.names}
    layers = sorted({int(layer) for layer in drawn["layer"]})
    width = _facet_width(plan)
    pieces: list[Markup] = []
    top = 0.0
    for facets in _lines_of_facets(plan):
        titles, head = svg.titles(facets, AXIS_LEFT + 2, width, top)
        pieces.append(titles)
        bottom = top + head + CURVE_HEIGHT
        scale = svg.spread(_values(drawn), bottom, top + head + 6)
        for at, facet in enumerate(facets):
            left, right = _ends(at, width)
            x = svg.Scale(min(layers) - 0.6, max(layers) + 0.6, left, right)
            pieces.append(svg.upright_axis(scale, left, right, with_numbers=at == 0))
            pieces.append(_layer_ticks(layers, x, bottom))
            in_facet = drawn[drawn["facet"] == facet]
            for i, name in enumerate(plan.names):
                shift = i - (len(plan.names) - 1) / 2
                rows = in_facet[in_facet["name"] == name]
                pieces.append(_curve(rows, colours[name], shift, (x, scale)))
        pieces.append(_axis_title(plan, bottom))
        top = bottom + FOOT + 4
    return Drawing(
        legend=tuple(
            LegendEntry(name=name, symbol=series_symbol(i), css=f"s{i}")
            for name, i in colours.items()
        ),
        picture=svg.picture(top, f"{plan.axis} over layers", *pieces),
    )


def _layer_ticks(layers: Sequence[int], x: svg.Scale, bottom: float) -> Markup:
    step = max(1, len(layers) // 6)
    return svg.group(
        svg.words(x(layer), bottom + 16, str(layer), "tick", "middle") for layer in layers[::step]
    )


def _curve(
    rows: pd.DataFrame, colour: int, shift: float, scales: tuple[svg.Scale, svg.Scale]
) -> Markup:
    """One curve, shifted a little so that whiskers do not overlap."""
    if rows.empty:
        return Markup("")
    x, y = scales
    records = rows.sort_values("layer", kind="stable").to_dict("records")
    points = [(x(float(row["layer"])) + 5 * shift, y(float(row["value"]))) for row in records]
    path = "M" + "L".join(f"{a} {b}" for a, b in points)
    pieces = [svg.element("path", d=path, class_=f"curve s{colour}")]
    reference = float(records[0]["reference"])
    if np.isfinite(reference):
        level = y(reference)
        pieces.insert(0, svg.line(x.start, level, x.end, level, "reference"))
    for (a, b), row in zip(points, records, strict=True):
        low, high = float(row["ci_low"]), float(row["ci_high"])
        if np.isfinite(low) and np.isfinite(high):
            pieces.append(svg.line(a, y(low), a, y(high), f"whisker s{colour}"))
        symbol = series_symbol(colour)
        pieces.append(svg.mark(a, b, symbol, f"s{colour}", bool(row["is_out"]), row["lines"]))
    return svg.group(pieces)


def _shares(plan: FigurePlan) -> Drawing:
    """Stacked bars, one per layer; negative shares go below zero."""
    drawn = plan.drawn
    classes = {
        name: COMMON_PARTS.get(name, f"s{plan.colours.get(name, MAX_CURVES - 1) % MAX_CURVES}")
        for name in plan.names
    }
    width = _facet_width(plan)
    low, high = _stacked_range(drawn)
    pieces: list[Markup] = []
    top = 0.0
    for facets in _lines_of_facets(plan):
        titles, head = svg.titles(facets, AXIS_LEFT + 2, width, top)
        pieces.append(titles)
        bottom = top + head + CURVE_HEIGHT
        y = svg.Scale(low, high, bottom, top + head + 6)
        for at, facet in enumerate(facets):
            left, right = _ends(at, width)
            pieces.append(svg.upright_axis(y, left, right, with_numbers=at == 0))
            pieces.append(_bars(drawn[drawn["facet"] == facet], classes, (left, right), y))
        pieces.append(_axis_title(plan, bottom))
        top = bottom + FOOT + 4
    return Drawing(
        legend=tuple(
            LegendEntry(name=name, symbol="square", css=css) for name, css in classes.items()
        ),
        picture=svg.picture(top, f"{plan.axis}, stacked", *pieces),
    )


def _stacked_range(shares: pd.DataFrame) -> tuple[float, float]:
    """The lowest and the highest end of all stacks, 0 and 1 at least."""
    ends = shares.assign(up=shares["share"].clip(lower=0), down=shares["share"].clip(upper=0))
    sums = ends.groupby(["facet", "layer"], dropna=False)[["up", "down"]].sum()
    return min(0.0, float(sums["down"].min())), max(1.0, float(sums["up"].max()))


def _bars(
    rows: pd.DataFrame, classes: Mapping[str, str], ends: tuple[float, float], y: svg.Scale
) -> Markup:
    layers = sorted(rows["layer"].dropna().unique().tolist()) or [None]
    step = (ends[1] - ends[0]) / len(layers)
    pieces: list[Markup] = []
    for i, layer in enumerate(layers):
        of_layer = rows if layer is None else rows[rows["layer"] == layer]
        x = round(ends[0] + step * (i + 0.15), 1)
        pieces += _stack(of_layer, classes, x, round(step * 0.7, 1), y)
        label = "" if layer is None else str(int(layer))
        pieces.append(svg.words(x + step * 0.35, y.start + 16, label, "tick", "middle"))
    return svg.group(pieces)


def _stack(
    rows: pd.DataFrame, classes: Mapping[str, str], x: float, width: float, y: svg.Scale
) -> list[Markup]:
    """The bar of one layer, from zero upwards and downwards."""
    pieces = []
    up = down = 0.0
    for name, css in classes.items():
        for row in rows[rows["part"] == name].to_dict("records"):
            share = float(row["share"])
            base = up if share >= 0 else down
            top, bottom = sorted((y(base), y(base + share)))
            up, down = (up + share, down) if share >= 0 else (up, down + share)
            weak = (" (weak fit)", " weak") if row["is_weak"] else ("", "")
            pieces.append(
                svg.element(
                    "rect",
                    svg.element("title", f"{name}: {number(share, 3)}{weak[0]}"),
                    x=x,
                    y=top,
                    width=width,
                    height=round(bottom - top, 1),
                    class_=f"part {css}{weak[1]}",
                )
            )
    return pieces


def _maps(plan: FigurePlan) -> Drawing:
    """Maps of layer against layer: an encoder per row, a domain per column, one scale."""
    rows = plan.drawn
    domains = domain_order(rows["domain"])
    width = (svg.WIDTH - MAP_LABELS) / max(1, len(domains))
    height = int(rows["student_layer"].nunique()) * MAP_CELL
    top_value = max(float(rows["value"].max()), 1e-9)
    pieces = [
        svg.words(MAP_LABELS + i * width, 15, shorten(domain, 24), "facet", full=domain)
        for i, domain in enumerate(domains)
    ]
    for j, name in enumerate(plan.names):
        top = MAP_HEAD + j * (height + 10)
        y = top + height / 2 + 4
        pieces.append(svg.words(MAP_LABELS - 12, y, shorten(name, 24), "name", "end", name))
        for i, domain in enumerate(domains):
            pair = rows[(rows["teacher"] == name) & (rows["domain"] == domain)]
            pieces.append(_map(pair, (MAP_LABELS + i * width, top), width - 16, top_value))
    total = MAP_HEAD + len(plan.names) * (height + 10)
    pieces.append(_ramp(total + 6, top_value, plan.axis))
    picture = svg.picture(total + 40, f"{plan.axis}: layer against layer", *pieces)
    return Drawing(legend=(), picture=picture)


def _map(rows: pd.DataFrame, corner: tuple[float, float], width: float, top_value: float) -> Markup:
    ups, overs = sorted(rows["student_layer"].unique()), sorted(rows["teacher_layer"].unique())
    if not ups:
        return Markup("")
    cell_width = width / len(overs)
    cells = []
    for row in rows.to_dict("records"):
        x = round(corner[0] + overs.index(row["teacher_layer"]) * cell_width, 1)
        y = round(corner[1] + (len(ups) - 1 - ups.index(row["student_layer"])) * MAP_CELL, 1)
        hint = (
            f"student layer {row['student_layer']} × layer {row['teacher_layer']}: "
            f"{number(row['value'], 3)}"
        )
        cells.append(
            svg.element(
                "rect",
                svg.element("title", hint),
                x=x,
                y=y,
                width=round(cell_width, 1),
                height=round(MAP_CELL, 1),
                class_=f"m{shade(row['value'], top_value)}",
            )
        )
    return svg.group(cells)


def shade(value: object, top: float) -> int:
    """The step of the colour ramp of a value.

    >>> shade(0.0, 1.0), shade(1.0, 1.0)
    (0, 13)
    """
    share = float(str(value)) / top
    steps = 2 * len(RAMP) - 1
    return min(steps, max(0, round(share * steps))) if math.isfinite(share) else 0


def _ramp(y: float, top_value: float, axis: str) -> Markup:
    steps = 2 * len(RAMP)
    cells = [
        svg.element("rect", x=MAP_LABELS + 14 * i, y=round(y), width=14, height=9, class_=f"m{i}")
        for i in range(steps)
    ]
    right = MAP_LABELS + 14 * steps
    return svg.group(
        [
            *cells,
            svg.words(MAP_LABELS, y + 24, "0 or less", "tick"),
            svg.words(right, y + 24, number(top_value), "tick", "end"),
            svg.words(right + 12, y + 9, axis, "axis"),
        ]
    )


def series_symbol(colour: int) -> str:
    """The mark of a colour, so that no meaning hangs on colour alone."""
    return svg.SERIES_SYMBOLS[colour % len(svg.SERIES_SYMBOLS)]


def _colour(plan: FigurePlan, name: str) -> int:
    return plan.colours[name] % MAX_CURVES


def _facet_width(plan: FigurePlan) -> float:
    return (svg.WIDTH - AXIS_LEFT) / min(len(plan.facets), FACETS_PER_ROW)


def _lines_of_facets(plan: FigurePlan) -> list[tuple[str, ...]]:
    """The facets as they stand side by side."""
    starts = range(0, len(plan.facets), FACETS_PER_ROW)
    return [plan.facets[start : start + FACETS_PER_ROW] for start in starts]


def _ends(at: int, width: float) -> tuple[float, float]:
    """Left and right end of a facet."""
    return AXIS_LEFT + at * width, AXIS_LEFT + (at + 1) * width - 14


def _axis_title(plan: FigurePlan, bottom: float) -> Markup:
    return svg.words(AXIS_LEFT, bottom + 34, f"upwards: {plan.axis}; across: layer", "axis")


def _values(drawn: pd.DataFrame) -> list[float]:
    """Values, references and limits; limits far outside the values do not stretch the scale."""
    values = drawn[["value", "reference"]].to_numpy(dtype=float).ravel()
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    room = max(1.5 * (high - low), 0.05)
    limits = drawn[["ci_low", "ci_high"]].to_numpy(dtype=float).ravel()
    kept = limits[np.isfinite(limits)]
    return [*finite.tolist(), *np.clip(kept, low - room, high + room).tolist()]
