"""How numbers are written: one form for app, report and command line."""

import math

MISSING = "–"
NBSP = "\u00a0"


def is_missing(value: object) -> bool:
    """Whether a cell is what databases and pandas mean by missing.

    >>> is_missing(None), is_missing(float("nan")), is_missing("")
    (True, True, False)
    """
    return value is None or str(value) in ("nan", "<NA>", "NaT")


def is_number(value: object) -> bool:
    """Whether a value is a finite number.

    >>> is_number(0.5), is_number(float("nan")), is_number(None)
    (True, False, False)
    """
    return not is_missing(value) and math.isfinite(float(str(value)))


def as_number(value: object) -> float:
    """The value as a number; NaN where there is none.

    >>> as_number(2), as_number(None)
    (2.0, nan)
    """
    return float(str(value)) if is_number(value) else math.nan


def number(value: object, digits: int = 2) -> str:
    """A number, or a dash where there is none.

    >>> number(0.123), number(None)
    ('0.12', '–')
    """
    if is_missing(value):
        return MISSING
    return f"{float(str(value)):.{digits}f}"


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


def signed(value: float, digits: int = 3) -> str:
    """A number with its sign, such as an influence or a difference.

    >>> signed(0.1), signed(-0.25, 2)
    ('+0.100', '-0.25')
    """
    return f"{value:+.{digits}f}"


def with_minus(text: str) -> str:
    """The text with the sign for minus in place of hyphens, for numbers in a document.

    >>> with_minus("-0.5")
    '−0.5'
    """
    return text.replace("-", "−")


def tick_label(value: float) -> str:
    """A number on an axis, as short as it can be.

    >>> tick_label(0.25), tick_label(-2.0)
    ('0.25', '−2')
    """
    return with_minus(f"{value:g}")


def column_number(value: float, column: str = "") -> str:
    """A number in a table of the report: whole where it counts, small p as a limit.

    >>> column_number(0.12345), column_number(0.0001, "p_value"), column_number(12.0, "n_clips")
    ('0.123', '< 0.001', '12')
    >>> column_number(7_633_152, "n_params"), column_number(-0.5)
    ('7.6 M', '−0.500')
    """
    if column.startswith("n_params"):
        return parameters(value)
    if column in ("p_value", "q_value") and 0 <= value < 0.001:
        return "< 0.001"
    if column.startswith("n_") or column == "layer" or column.endswith("_layer"):
        return f"{value:,.0f}"
    digits = 3 if abs(value) < 100 else 0
    return with_minus(f"{value:,.{digits}f}")


def terminal_number(value: float, column: str) -> str:
    """A number in a table of the terminal: four digits, or whole where it counts.

    A column with gaps holds its counts as floats.

    >>> terminal_number(0.5, "value"), terminal_number(12.0, "n_clips")
    ('0.5000', '12')
    """
    if value.is_integer() and column.startswith(("n_", "layer")):
        return str(int(value))
    return f"{value:.4f}"
