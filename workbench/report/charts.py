"""Figures of a panel: dots with intervals, curves over layers."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from usad_workbench.workbench.presenters.colours import ROLE_SYMBOLS, domain_order
from usad_workbench.workbench.presenters.dots import order_by_role
from usad_workbench.workbench.presenters.text import shorten
from usad_workbench.workbench.report import svg
from usad_workbench.workbench.report.markup import Html, join, tag

MAX_FACETS = 12
"""More facets than this are no figure any more; the table has all."""
LABELS = 190
"""Room for names at the left of dots."""
ROW = 19
FOOT = 44
CURVE_HEIGHT = 190


def dots(drawn: pd.DataFrame, axis: str) -> Html:
    """One row per name, one facet for each group of rows, all on one scale."""
    facets = domain_order(drawn["facet"])[:MAX_FACETS]
    drawn = drawn[drawn["facet"].isin(facets)]
    roles = dict(zip(drawn["name"], drawn["role"], strict=True))
    n_columns = min(len(facets), 3)
    width = (svg.WIDTH - LABELS) / n_columns
    parts, top = [], 0.0
    for start in range(0, len(facets), n_columns):
        shown = facets[start : start + n_columns]
        mine = drawn[drawn["facet"].isin(shown)]
        names = order_by_role(mine["name"].tolist(), roles)
        titles, head = svg.titles(shown, LABELS + 8, width, top)
        parts.append(titles)
        first, bottom = top + head, top + head + ROW * len(names)
        parts += [
            svg.words(
                LABELS - 12,
                first + ROW * (i + 0.5) + 4,
                shorten(name, 26),
                "name",
                "end",
                name,
            )
            for i, name in enumerate(names)
        ]
        for at, facet in enumerate(shown):
            left = LABELS + at * width
            scale = svg.spread(_values(drawn), left + 8, left + width - 12)
            parts.append(svg.level_axis(scale, first, bottom))
            rows = mine[mine["facet"] == facet].to_dict("records")
            for row in rows:
                y = first + ROW * (names.index(row["name"]) + 0.5)
                parts.append(_dot(row, scale, y))
        top = bottom + FOOT
    parts.append(svg.words(svg.WIDTH - 12, top - FOOT + 32, axis, "axis", "end"))
    return svg.picture(top, f"{axis}: dots with 95% intervals", *parts)


def _dot(row: dict[str, object], scale: svg.Scale, y: float) -> Html:
    low, high, reference = (float(str(row[k])) for k in ("ci_low", "ci_high", "reference"))
    role = str(row["role"])
    symbol = ROLE_SYMBOLS.get(role, "circle")
    whisker = svg.line(scale(low), y, scale(high), y, f"whisker {role}")
    tick = svg.line(scale(reference), y - 6, scale(reference), y + 6, "reference")
    return join(
        [
            tick if np.isfinite(reference) else None,
            whisker if np.isfinite(low) and np.isfinite(high) else None,
            svg.mark(
                scale(float(str(row["value"]))),
                y,
                symbol,
                role,
                bool(row["is_out"]),
                row["lines"],  # type: ignore[arg-type]
            ),
        ]
    )


def curves(drawn: pd.DataFrame, axis: str, colours: Mapping[str, int]) -> Html:
    """Value over layers, one curve per name, one facet for each group of rows, one scale.

    ``colours`` has the number of each name's colour, the same in all figures.
    """
    facets = domain_order(drawn["facet"])[:MAX_FACETS]
    drawn = drawn[drawn["facet"].isin(facets)]
    names = sorted(set(drawn["name"]), key=lambda name: colours[name])
    layers = sorted({int(layer) for layer in drawn["layer"]})
    n_columns = min(len(facets), 4)
    left, width = 52.0, (svg.WIDTH - 52) / n_columns
    parts, top = [], 0.0
    for start in range(0, len(facets), n_columns):
        shown = facets[start : start + n_columns]
        titles, head = svg.titles(shown, left + 2, width, top)
        parts.append(titles)
        bottom = top + head + CURVE_HEIGHT
        scale = svg.spread(_values(drawn), bottom, top + head + 6)
        for at, facet in enumerate(shown):
            x0, x1 = left + at * width, left + (at + 1) * width - 14
            x = svg.Scale(min(layers) - 0.6, max(layers) + 0.6, x0, x1)
            parts.append(svg.upright_axis(scale, x0, x1, with_numbers=at == 0))
            parts.append(_layer_ticks(layers, x, bottom))
            mine = drawn[drawn["facet"] == facet]
            parts += [
                _curve(
                    mine[mine["name"] == name], colours[name], i - (len(names) - 1) / 2, (x, scale)
                )
                for i, name in enumerate(names)
            ]
        parts.append(svg.words(left, bottom + 34, f"upwards: {axis}; across: layer", "axis"))
        top = bottom + FOOT + 4
    entries = [(name, series_symbol(colours[name]), f"s{colours[name]}") for name in names]
    return join([legend(entries), svg.picture(top, f"{axis} over layers", *parts)])


def _layer_ticks(layers: Sequence[int], x: svg.Scale, bottom: float) -> Html:
    step = max(1, len(layers) // 6)
    return join(
        [svg.words(x(layer), bottom + 16, str(layer), "tick", "middle") for layer in layers[::step]]
    )


def _curve(rows: pd.DataFrame, i: int, shift: float, scales: tuple[svg.Scale, svg.Scale]) -> Html:
    """One curve in the colour ``i``, shifted a little so that whiskers do not overlap."""
    if rows.empty:
        return join([])
    x, y = scales
    records = rows.sort_values("layer", kind="stable").to_dict("records")
    places = [(x(float(row["layer"])) + 5 * shift, y(float(row["value"]))) for row in records]
    path = "M" + "L".join(f"{a} {b}" for a, b in places)
    parts = [tag("path", d=path, class_=f"curve s{i}")]
    reference = float(records[0]["reference"])
    if np.isfinite(reference):
        parts.insert(0, svg.line(x.start, y(reference), x.end, y(reference), "reference"))
    for (a, b), row in zip(places, records, strict=True):
        low, high = float(row["ci_low"]), float(row["ci_high"])
        if np.isfinite(low) and np.isfinite(high):
            parts.append(svg.line(a, y(low), a, y(high), f"whisker s{i}"))
        symbol = series_symbol(i)
        parts.append(svg.mark(a, b, symbol, f"s{i}", bool(row["is_out"]), row["lines"]))
    return join(parts)


def series_symbol(i: int) -> str:
    """The mark of a colour, so that no meaning hangs on colour alone."""
    return svg.SERIES_SYMBOLS[i % len(svg.SERIES_SYMBOLS)]


def legend(entries: Sequence[tuple[str, str, str]]) -> Html:
    """Above a figure: name, symbol and class of each mark."""
    shown = [
        tag(
            "span",
            tag(
                "svg",
                tag("path", d=svg.SYMBOLS[symbol], class_=f"mark {class_}"),
                viewBox="-8 -8 16 16",
                class_="glyph",
                aria_hidden="true",
            ),
            name,
        )
        for name, symbol, class_ in entries
    ]
    return tag("p", *shown, class_="legend")


def _values(drawn: pd.DataFrame) -> list[float]:
    """Values, references and limits; limits far outside the values do not stretch the scale."""
    values = drawn[["value", "reference"]].to_numpy(dtype=float).ravel()
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    room = max(1.5 * (high - low), 0.05)
    limits = drawn[["ci_low", "ci_high"]].to_numpy(dtype=float).ravel()
    kept = limits[np.isfinite(limits)]
    return [*known.tolist(), *np.clip(kept, low - room, high + room).tolist()]
