"""Drawing in SVG: scales, axes, marks. Colours are classes, so that the page's style decides.

Figures are drawn here and not by plotly: its script alone is 4.8 MB and needs scripts to
be allowed, while a figure of these is some 20 kB, prints, follows dark mode and can be read
without any script. What the pointer shows is a ``title`` of each mark.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from usad_workbench.workbench.presenters.numbers import tick_label
from usad_workbench.workbench.presenters.text import shorten
from usad_workbench.workbench.report.rendering import escaped

WIDTH = 960
TITLE_CHARACTER = 7.6
"""Width of a character of a title, as Chromium draws 13 px bold."""
SYMBOLS = {
    "circle": "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0z",
    "diamond": "M0 -5.6L5.6 0L0 5.6L-5.6 0z",
    "square": "M-4.2 -4.2H4.2V4.2H-4.2z",
    "star": "M0 -6.5L1.9 -2.1L6.6 -1.8L3 1.3L4.1 6L0 3.4L-4.1 6L-3 1.3L-6.6 -1.8L-1.9 -2.1z",
    "triangle": "M0 -5.4L5 4H-5z",
}
SERIES_SYMBOLS = ("circle", "square", "diamond", "triangle", "star")


@dataclass(frozen=True, slots=True)
class Scale:
    """From numbers to places on the page."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The place of a value, kept inside the facet."""
        part = (value - self.low) / (self.high - self.low or 1.0)
        return round(self.start + min(max(part, -0.02), 1.02) * (self.end - self.start), 1)

    def ticks(self, n: int = 4) -> list[float]:
        """Round values inside the scale.

        >>> Scale(0, 1, 0, 100).ticks()
        [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
        """
        span = self.high - self.low
        raw = 10.0 ** math.floor(math.log10(span / n))
        step = next(raw * m for m in (1, 2, 5, 10) if span / (raw * m) <= n + 1)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [round(i * step, 10) + 0.0 for i in range(first, last + 1)]


def spread(values: Iterable[float], start: float, end: float, floor: float = 0.02) -> Scale:
    """A scale over all finite values with a little room, at least ``floor`` wide."""
    finite = [float(v) for v in values if math.isfinite(v)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    room = max(0.06 * (high - low), floor / 2)
    return Scale(low - room, high + room, start, end)


def element(name: str, /, *children: object, **attributes: object) -> Markup:
    """An SVG element. Children that are no markup are text; attributes without a value go.

    >>> element("text", "1 < 2", x=3, class_="tick")
    Markup('<text x="3" class="tick">1 &lt; 2</text>')
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escaped(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{given}>{group(children)}</{name}>")


def group(children: Iterable[object]) -> Markup:
    """Elements one after the other; what is missing is left out.

    >>> group([element("b", "x"), None, "&"])
    Markup('<b>x</b>&amp;')
    """
    return Markup("").join(escaped(child) for child in children)


def picture(height: float, words: str, *parts: object) -> Markup:
    """The whole figure with a name for those who cannot see it."""
    return element(
        "svg",
        element("title", words),
        *parts,
        viewBox=f"0 0 {WIDTH} {round(height)}",
        role="img",
        class_="figure",
    )


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """A straight line as an SVG element."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def words(
    x: float, y: float, content: str, class_: str = "", anchor: str = "start", full: str = ""
) -> Markup:
    """Words at a place; ``full`` is shown by the pointer where the words are shortened."""
    hint = element("title", full) if full and full != content else None
    return element(
        "text",
        hint,
        content,
        x=round(x, 1),
        y=round(y, 1),
        class_=class_ or None,
        text_anchor=None if anchor == "start" else anchor,
    )


def title_lines(content: str, room: float) -> list[str]:
    """A facet's title in one line, or in two where it is long.

    >>> title_lines("speech", 200), title_lines("dataset: minetest or asterisk", 160)
    (['speech'], ['dataset: minetest or', 'asterisk'])
    """
    limit = int(room / TITLE_CHARACTER)
    if len(content) <= limit:
        return [content]
    cut = content.rfind(" ", 0, limit + 1)
    cut = cut if cut > 0 else limit
    return [content[:cut].strip(), shorten(content[cut:].strip(), limit)]


def titles(facets: Sequence[str], left: float, width: float, top: float) -> tuple[Markup, float]:
    """The titles over a row of facets, and the height that they take."""
    lines = [title_lines(facet, width - 16) for facet in facets]
    drawn = [
        words(left + at * width, top + 15 + 15 * i, text, "facet", full=facets[at])
        for at, several in enumerate(lines)
        for i, text in enumerate(several)
    ]
    return group(drawn), 12.0 + 15 * max(len(several) for several in lines)


def mark(
    x: float, y: float, symbol: str, class_: str, is_filled: bool, lines: Sequence[str]
) -> Markup:
    """A mark with what the pointer shows over it."""
    return element(
        "path",
        element("title", "\n".join(lines)),
        d=SYMBOLS[symbol],
        class_=f"mark {class_}" + ("" if is_filled else " hollow"),
        transform=f"translate({x} {y})",
    )


def upright_axis(scale: Scale, left: float, right: float, with_numbers: bool) -> Markup:
    """Lines across at round values, their numbers at the left."""
    lines = [line(left, scale(v), right, scale(v), "grid") for v in scale.ticks()]
    labels = [
        words(left - 6, scale(value) + 4, tick_label(value), "tick", "end")
        for value in scale.ticks()
        if with_numbers
    ]
    return group([*lines, *labels])


def level_axis(scale: Scale, top: float, bottom: float) -> Markup:
    """Lines upwards at round values, their numbers below."""
    lines = [line(scale(v), top, scale(v), bottom, "grid") for v in scale.ticks()]
    labels = [
        words(scale(value), bottom + 15, tick_label(value), "tick", "middle")
        for value in scale.ticks()
    ]
    return group([*lines, *labels])
