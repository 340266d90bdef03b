"""Words as the app shows them, and names that stay plain text.

File names, ids and labels are data: Streamlit would read them as Markdown, plotly as
a small subset of HTML. Everything that reaches either goes through ``escape_markdown`` or
``escape_plotly`` first.
"""

import re
import textwrap
from collections.abc import Sequence

from usad_workbench.core.errors import printable
from usad_workbench.workbench.presenters.numbers import NBSP, is_missing

MEASURE_NAMES = {
    "debiased_linear_cka": "Debiased linear CKA",
    "standardised_linear_cka": "Debiased linear CKA, standardised",
    "mutual_knn": "Mutual k-NN overlap",
    "partial_linear_cka": "Partial linear CKA",
    "standardised_partial_cka": "Partial linear CKA, standardised",
}
MEASURE_HELP = {
    "debiased_linear_cka": (
        "CKA asks whether two layers place the clips in the same overall arrangement: 1 is the "
        "same up to rotation and scale, 0 is what unrelated layers give. Debiased: few clips do "
        "not inflate it. Clips of one cluster (speaker, track, recording) are not compared."
    ),
    "standardised_linear_cka": (
        "The same with every dimension scaled to a variance of 1 first, so that none hides the "
        "others: a second reading."
    ),
    "mutual_knn": (
        "Mutual k-NN overlap asks clip by clip whether two layers have the same nearest "
        "neighbours: 1 is the same lists, 0 is none in common. Clips of one cluster (speaker, "
        "track, recording) do not count as neighbours. Its interval is too wide where layers are "
        "unrelated: there the null says so."
    ),
}
_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")
_BREAKS = re.compile(r"\s+")
_ADDRESS = re.compile(r":(?=//)|www(?=\.)|[\w+.-](?=@)", re.IGNORECASE)
JOINER = "\u2060"
"""Shows nothing. Put into web and mail addresses, which Markdown makes links of even when
every character is escaped."""


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


def measure_name(measure: str) -> str:
    """The name of a measure for people.

    >>> measure_name("mutual_knn")
    'Mutual k-NN overlap'
    """
    return MEASURE_NAMES.get(measure, measure.replace("_", " "))
