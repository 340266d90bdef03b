"""Words and numbers as the app shows them, and names that stay plain text.

File names, ids and labels are data: Streamlit would read them as Markdown, plotly as
a small subset of HTML. Everything that reaches either goes through ``escape_markdown`` or
``escape_plotly`` first.
"""

import math
import re
import textwrap
from collections.abc import Iterable, Sequence

from usad_workbench.core.errors import printable

MISSING = "–"
MEASURE_NAMES = {
    "debiased_linear_cka": "Debiased linear CKA",
    "mutual_knn": "Mutual k-NN overlap",
}
MEASURE_HELP = {
    "debiased_linear_cka": (
        "CKA asks whether two layers place the clips in the same overall arrangement: 1 is the "
        "same up to rotation and scale, 0 is what unrelated layers give. Debiased: few clips do "
        "not inflate it."
    ),
    "mutual_knn": (
        "Mutual k-NN overlap asks clip by clip whether two layers have the same nearest "
        "neighbours: 1 is the same lists, 0 is none in common. Clips of one cluster (speaker, "
        "track, recording) do not count as neighbours."
    ),
}
_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")
_BREAKS = re.compile(r"\s+")
_ADDRESS = re.compile(r":(?=//)|www(?=\.)|[\w+.-](?=@)", re.IGNORECASE)
JOINER = "\u2060"
"""Shows nothing. Put into web and mail addresses, which Markdown makes links of even when
every character is escaped."""
NBSP = "\u00a0"


def escape_markdown(text: object) -> str:
    """Text that Markdown shows as it stands: nothing is a link, an image or a formula.

    >>> escape_markdown("a_b <i> [x](y)")
    'a\\\\_b \\\\<i\\\\> \\\\[x\\\\]\\\\(y\\\\)'
    """
    return _PUNCTUATION.sub(r"\\\1", _ADDRESS.sub(f"\\g<0>{JOINER}", _line(text)))


def _line(text: object) -> str:
    return " ".join(re.split(r"[^\S\u00a0]+", printable(str(text))))


def escape_plotly(text: object, limit: int = 80) -> str:
    """Text that plotly shows as it stands, cut where it would fill the screen.

    >>> escape_plotly("<script>&")
    '&lt;script&gt;&amp;'
    """
    return shorten(text, limit).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def lines(text: object, width: int, most: int = 3) -> str:
    """Text for plotly in lines of at most ``width`` characters, the middle left out of a long one.

    >>> lines("a-group/small-from-scratch", 14)
    'a-group/small-<br>from-scratch'
    """
    room = (most - 1) * width
    return "<br>".join(escape_plotly(line) for line in textwrap.wrap(shorten(text, room), width))


def shorten(text: object, limit: int = 80) -> str:
    """The text with its middle left out where it is longer than ``limit``.

    >>> shorten("abcdefghij", 7)
    'abc…hij'
    """
    value = "" if is_missing(text) else _BREAKS.sub(" ", str(text))
    if len(value) <= limit:
        return value
    half = (limit - 1) // 2
    return f"{value[: limit - 1 - half]}…{value[-half:]}"


def is_missing(value: object) -> bool:
    """Whether a cell is what databases and pandas mean by missing.

    >>> is_missing(None), is_missing(float("nan")), is_missing("")
    (True, True, False)
    """
    return value is None or str(value) in ("nan", "<NA>", "NaT")


def number(value: object, digits: int = 2) -> str:
    """A number, or a dash where there is none.

    >>> number(0.123), number(None)
    ('0.12', '–')
    """
    if is_missing(value):
        return MISSING
    return f"{float(str(value)):.{digits}f}"


def digits_apart(values: Iterable[float], least: int = 3, most: int = 6) -> int:
    """How many digits tell the values apart: as few as do, ``least`` to ``most``.

    >>> digits_apart([0.9, 0.8]), digits_apart([0.99991, 0.99987, 0.9]), digits_apart([])
    (3, 5, 3)
    """
    known = sorted({round(float(value), most) for value in values})
    for digits in range(least, most):
        if len({f"{value:.{digits}f}" for value in known}) == len(known):
            return digits
    return most


def count(n: float, singular: str, plural: str | None = None) -> str:
    """A count with its noun.

    >>> count(1, "clip"), count(2400, "clip")
    ('1 clip', '2,400 clips')
    """
    noun = singular if n == 1 else plural or f"{singular}s"
    return f"{int(n):,} {noun}"


def interval(low: object, high: object, digits: int = 2) -> str:
    """A 95% interval, or that there is none.

    >>> interval(0.1, 0.25), interval(None, None)
    ('[0.10, 0.25]', 'no interval')
    """
    if is_missing(low) or is_missing(high):
        return "no interval"
    return f"[{number(low, digits)}, {number(high, digits)}]"


def with_interval(value: object, low: object, high: object, digits: int = 2) -> str:
    """A value with its interval.

    >>> with_interval(0.2, 0.1, 0.25)
    '0.20 [0.10, 0.25]'
    """
    return f"{number(value, digits)} {interval(low, high, digits)}"


def duration(seconds: object) -> str:
    """A length of audio.

    >>> duration(7.5), duration(75), duration(7500), duration(None)
    ('7.5 s', '1.2 min', '2.1 h', '–')
    """
    if is_missing(seconds):
        return MISSING
    value = float(str(seconds))
    if value < 60:
        return f"{value:.1f} s"
    return f"{value / 60:.1f} min" if value < 3600 else f"{value / 3600:.1f} h"


def span(start_s: object, end_s: object) -> str:
    """A window of a clip.

    >>> span(0, 2.5).replace(NBSP, " ")
    '0.00 to 2.50 s'
    """
    return NBSP.join([number(start_s), "to", number(end_s), "s"])


def sentence(text: str) -> str:
    """The text with a capital first letter and a full stop.

    >>> sentence("in speech nothing is near")
    'In speech nothing is near.'
    """
    text = text.strip().replace("n = ", f"n{NBSP}={NBSP}")
    if not text:
        return ""
    return text[0].upper() + text[1:] + ("" if text[-1] in ".!?" else ".")


def listing(words: Sequence[str]) -> str:
    """Words as a phrase.

    >>> listing(["a", "b", "c"])
    'a, b and c'
    """
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def parameters(n: object) -> str:
    """A number of parameters.

    >>> parameters(7_633_152), parameters(472_297), parameters(0)
    ('7.6 M', '472 k', 'none')
    """
    if is_missing(n):
        return MISSING
    value = int(float(str(n)))
    if value == 0:
        return "none"
    if value < 1_000_000:
        return f"{value / 1000:.0f} k" if value >= 1000 else str(value)
    return f"{value / 1e6:.1f} M" if value < 1e9 else f"{value / 1e9:.2f} G"


def measure_name(measure: str) -> str:
    """The name of a measure for people.

    >>> measure_name("mutual_knn")
    'Mutual k-NN overlap'
    """
    return MEASURE_NAMES.get(measure, measure.replace("_", " "))


def is_known(value: object) -> bool:
    """Whether a value is a finite number.

    >>> is_known(0.5), is_known(float("nan")), is_known(None)
    (True, False, False)
    """
    return not is_missing(value) and math.isfinite(float(str(value)))
