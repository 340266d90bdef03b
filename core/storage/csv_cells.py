"""Text in CSV files that no spreadsheet runs, and back again.

A spreadsheet takes a cell that begins with ``=``, ``+``, ``-`` or ``@`` for a formula, quoted or
not, and labels come from strangers. So such a cell is written with an apostrophe before it,
the sign by which spreadsheets mark text (OWASP, "CSV Injection"), and every reader of this
package takes one apostrophe away again: what was exported comes back bit for bit.
"""

import re
from os import PathLike
from typing import Any

import pandas as pd

_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
_NUMBER = re.compile(r"-?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def neutral(cell: Any) -> Any:
    """A cell as it is written: text that a spreadsheet would run, behind an apostrophe.

    >>> [neutral(cell) for cell in ("=1+1", "'=1+1", "dog", "-3.5", -3.5, "-rf")]
    ["'=1+1", "''=1+1", 'dog', '-3.5', -3.5, "'-rf"]
    """
    if isinstance(cell, str) and _FORMULA.match(cell) and not _NUMBER.fullmatch(cell):
        return f"'{cell}"
    return cell


def as_meant(cell: str) -> str:
    """A cell as it was before ``neutral``.

    >>> [as_meant(cell) for cell in ("'=1+1", "''=1+1", "dog", "'twas", "-3.5")]
    ['=1+1', "'=1+1", 'dog', "'twas", '-3.5']
    """
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def write_csv(frame: pd.DataFrame, path: str | PathLike[str] | None = None) -> str | None:
    """Writes a table as CSV, or returns it as text where there is no path.

    Lines end as in RFC 4180, so that a lone carriage return in a cell is quoted.
    """
    cells = frame.copy()
    for name in frame.select_dtypes(exclude=["number", "bool", "datetime"]):
        cells[name] = frame[name].astype(object).map(neutral)
    written: str | None = cells.rename(columns=neutral).to_csv(
        path, index=False, lineterminator="\r\n"
    )
    return written
