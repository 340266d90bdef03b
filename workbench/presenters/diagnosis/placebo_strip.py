"""One finding beside its placebos: what each gained in the teacher's place, as a small picture.

The excess of a teacher is its own gain over peers less the placebos', so a picture of the gains shows
what the number hides: whether one placebo reaches as far.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from usad_workbench.core.diagnosis.excess_doubt import Kind
from usad_workbench.workbench.presenters.diagnosis.findings import Finding
from usad_workbench.workbench.presenters.numbers import is_number, signed

WIDTH, HEIGHT, MIDDLE, TICK = 260, 38, 13, 7
ROOM = 10
"""Pixels beside the ends of the scale."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Palette:
    """Colours of a strip, by answer, and of what stands beside it."""

    found: str
    nothing: str
    undecided: str
    ink: str

    def of(self, kind: Kind) -> str:
        """The colour of an answer."""
        found = {"yes": self.found, "through": self.found, "no": self.nothing}
        return found.get(kind, self.undecided if kind == "undecided" else self.ink)


LIGHT = Palette(found="#2457a6", nothing="#148a68", undecided="#c2410c", ink="#1f2a37")
DARK = Palette(found="#7db0f5", nothing="#45c39c", undecided="#f28b5b", ink="#e8edf3")
OF_REPORT = Palette(
    found="var(--accent)", nothing="var(--yes)", undecided="var(--open)", ink="var(--ink)"
)
"""Those that the style of the report has for light, dark and paper."""
HELP = (
    "Ticks: each placebo's gain in the teacher's place. Dot: the teacher's gain, with the 95% interval "
    "of its excess."
)


def reach_of(found: Sequence[Finding]) -> float:
    """The end of a scale on which all findings can be drawn, the same on both sides of zero."""
    values = [abs(gain) for one in found for _, gain in one.placebos]
    values += [abs(value) for one in found for value in _teacher(one)]
    return max((value for value in values if math.isfinite(value)), default=1.0) or 1.0


def strip(
    finding: Finding, reach: float, short: Mapping[str, str], palette: Palette = LIGHT
) -> tuple[str, str]:
    """The picture as SVG, and in words; both empty where teacher or placebos have no number.

    Args:
        finding: What is drawn.
        reach: The end of the scale, of ``reach_of``.
        short: Short names of encoders.
        palette: Its colours.
    """
    gains, (low, at, high) = finding.placebos, _teacher(finding)
    if not gains or not math.isfinite(at):
        return "", ""
    colour, ink = palette.of(finding.kind), palette.ink

    def place(value: float) -> float:
        share = (max(-reach, min(reach, value)) + reach) / (2 * reach)
        return round(ROOM + share * (WIDTH - 2 * ROOM), 1)

    parts = [_line(ROOM, WIDTH - ROOM, ink, 0.25, 1)]
    parts += [
        f'<rect x="{place(gain) - 1}" y="{MIDDLE - TICK}" width="2" height="{2 * TICK}" '
        f'fill="{ink}" opacity="0.45" />'
        for _, gain in gains
    ]
    if math.isfinite(low) and math.isfinite(high):
        parts.append(_line(place(low), place(high), colour, 1, 2.5))
    parts.append(f'<circle cx="{place(at)}" cy="{MIDDLE}" r="5" fill="{colour}" />')
    parts += [
        f'<text x="{place(value)}" y="{HEIGHT - 3}" text-anchor="{anchor}" font-size="11" '
        f'fill="{ink}" opacity="0.82">{signed(value, 2) if value else 0}</text>'
        for value, anchor in ((-reach, "start"), (0.0, "middle"), (reach, "end"))
    ]
    picture = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif">{"".join(parts)}</svg>'
    )
    name = short.get(finding.teacher, finding.teacher)
    reached = f"{signed(gains[0][1])} to {signed(gains[-1][1])}"
    return picture, f"{name} gained {signed(at)}, {len(gains)} placebos {reached}"


def _teacher(finding: Finding) -> tuple[float, float, float]:
    """The teacher's gain with the limits of its excess around it: low, gain, high."""
    row = finding.row
    gain = row.get("over_peers")
    at = float(gain) if gain is not None and is_number(gain) else math.nan
    return at + row["ci_low"] - row["excess"], at, at + row["ci_high"] - row["excess"]


def _line(start: float, end: float, colour: str, opacity: float, width: float) -> str:
    return (
        f'<line x1="{start}" x2="{end}" y1="{MIDDLE}" y2="{MIDDLE}" stroke="{colour}" '
        f'stroke-width="{width}" opacity="{opacity}" />'
    )
