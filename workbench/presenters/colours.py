"""Colours: the same domain and the same role look the same on every page.

Hues are Okabe and Ito's, which people with the common colour deficiencies tell apart;
roles also differ in their symbols, so that no meaning hangs on colour alone.
"""

from collections.abc import Iterable

DOMAIN_COLOURS = {
    "speech": "#0072B2",
    "sound": "#D55E00",
    "music": "#009E73",
    "effects": "#CC79A7",
}
SPARE_COLOURS = ("#E69F00", "#56B4E9", "#7A5195", "#8C6D31", "#808080")
ROLE_COLOURS = {
    "student": "#6D5BD0",
    "teacher": "#3579AE",
    "control": "#C8791B",
    "baseline": "#7D8794",
}
ROLE_SYMBOLS = {
    "student": "star",
    "teacher": "circle",
    "control": "diamond",
    "baseline": "square",
}
ROLES = tuple(ROLE_COLOURS)
ROLE_HELP = {
    "student": "the encoder that was distilled",
    "teacher": "an encoder that the student is taken to have learned from",
    "control": "an encoder that is taken not to have taught the student: the yardstick for teachers",
    "baseline": "simple statistics of the sound: what any encoder has to beat",
}
CATEGORY_COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#7A5195",
    "#8C6D31",
    "#A6CE39",
    "#B2182B",
    "#1B7837",
    "#6A51A3",
    "#F4A582",
    "#35978F",
    "#BF812D",
    "#4393C3",
    "#D6604D",
    "#762A83",
    "#80CDC1",
    "#808080",
)
"""Up to twenty values; the first eight stay apart for colour-blind readers too."""
CONTEXT = "#D5DAE1"
"""Points that are not selected: still there, not in the way."""
OTHER = "#A3ACB8"
MUTED = "#7A8694"
"""Marks that are seen on a light page and on a dark one."""
GRID = "rgba(125,135,148,0.22)"
"""Of a light page and of a dark one."""
ACCENT = "#2F6B9A"
RAMP = ("#F2F6FA", "#C9DDEC", "#93BEDA", "#559AC4", "#2A73A8", "#154A7A", "#0B2A4A")
"""Light to dark in one hue: more is darker, readable in grey as well."""
SPECTRUM = ("#0B1020", "#2B1C50", "#6A1F6F", "#B63665", "#EB6D4A", "#FBB35A", "#FCF5BF")


def domain_colours(domains: Iterable[str]) -> dict[str, str]:
    """A colour for each domain: fixed for the known ones, by name for all others.

    >>> domain_colours(["speech", "whales"])
    {'speech': '#0072B2', 'whales': '#E69F00'}
    """
    names = sorted(set(domains))
    others = [name for name in names if name not in DOMAIN_COLOURS]
    spare = {name: SPARE_COLOURS[i % len(SPARE_COLOURS)] for i, name in enumerate(others)}
    return {name: DOMAIN_COLOURS.get(name) or spare[name] for name in names}


def role_colour(role: str) -> str:
    """The colour of a role.

    >>> role_colour("teacher")
    '#3579AE'
    """
    return ROLE_COLOURS.get(role, OTHER)


def scale(colours: tuple[str, ...]) -> list[tuple[float, str]]:
    """A plotly colour scale through the given colours.

    >>> scale(("#000000", "#FFFFFF"))
    [(0.0, '#000000'), (1.0, '#FFFFFF')]
    """
    return [(i / (len(colours) - 1), colour) for i, colour in enumerate(colours)]


def domain_order(domains: Iterable[str]) -> list[str]:
    """Domains with the known ones first, in their fixed order.

    >>> domain_order(["whales", "music", "speech"])
    ['speech', 'music', 'whales']
    """
    order = list(DOMAIN_COLOURS)
    return sorted(set(domains), key=lambda d: (order.index(d) if d in order else len(order), d))


def diverging(is_dark: bool) -> list[tuple[float, str]]:
    """Blue below zero, the page's own tone at zero, orange above: for differences.

    >>> [colour for _, colour in diverging(False)]
    ['#2457A6', '#F1F3F6', '#C2410C']
    """
    return scale(
        ("#5B9BD0", "#232C37", "#F28B5B") if is_dark else ("#2457A6", "#F1F3F6", "#C2410C")
    )
