"""Tables that people hand in, CSV, Parquet or JSON lines: every cell is text, as it stands in the file.

One reader for manifests of audio, clips of vectors and tasks. "NA", "None" and "null" are
names like any other; a cell is missing where there is nothing in it.
"""

import csv
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from usad_workbench.core.errors import ConfigError, UsadError, did_you_mean, wrap_errors
from usad_workbench.core.storage.csv_cells import as_meant

DELIMITERS = ",;\t"
PARQUET_SUFFIXES = (".parquet", ".pq")


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A row of a table."""

    number: int
    """The number of the row from 1, the header not counted."""
    cells: dict[str, str]
    """What is not empty, by column."""
    fault: str = ""
    """Why it cannot be used; empty where it can."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A table with its columns in order."""

    path: Path
    columns: list[str]
    rows: list[Row]


def read_table(path: str | Path) -> Table:
    """A CSV in UTF-8, parted by commas, semicolons or tabs, a Parquet file or JSON lines.

    A row that repeats the header, or has cells beyond it, has a fault; rows without any cell are left out.

    Raises:
        ConfigError: no such file, another format, or a column that stands twice.
    """
    path = Path(path)
    readers = dict.fromkeys(PARQUET_SUFFIXES, _parquet) | {".jsonl": _json_lines}
    try:
        with wrap_errors(path):
            columns, rows = readers.get(path.suffix.lower(), _csv)(path)
    except ConfigError:
        raise
    except UsadError as error:
        raise ConfigError(
            f"{path} cannot be read: {error} Expected a CSV in UTF-8, a Parquet file (.parquet) "
            "or an object a line (.jsonl)."
        ) from error
    twice = sorted({name for name in columns if name and columns.count(name) > 1})
    if twice:
        raise ConfigError(
            f"{path} has the column {twice[0]!r} {columns.count(twice[0])} times, expected each "
            "once. Rename or remove one."
        )
    return Table(path=path, columns=columns, rows=list(_rows(columns, rows)))


def require_columns(table: Table, names: Sequence[str]) -> None:
    """Raises where a column is missing, with those that are there."""
    missing = [name for name in names if name not in table.columns]
    if missing:
        raise ConfigError(
            f"{table.path} has no column {missing[0]}, expected {', '.join(names)}. "
            f"{did_you_mean(missing[0], table.columns)}"
        )


def _rows(columns: list[str], rows: list[list[str]]) -> Iterator[Row]:
    for number, cells in enumerate((row for row in rows if any(row)), start=1):
        filled = {k: v for k, v in zip(columns, cells, strict=False) if k and v}
        beyond = cells[len(columns) :]
        if filled and all(name == cell for name, cell in filled.items()):
            fault = "It repeats the names of the columns. Remove the row."
            yield Row(number=number, cells=filled, fault=fault)
            continue
        if not any(beyond):
            yield Row(number=number, cells=filled)
            continue
        yield Row(
            number=number,
            cells=filled,
            fault=f"It has cells beyond its header, {len(cells)} for {len(columns)} columns, the "
            f"last is {beyond[-1]!r}. Quote what holds the delimiter.",
        )


def _csv(path: Path) -> tuple[list[str], list[list[str]]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        first = file.readline()
        file.seek(0)
        reader = csv.reader(file, delimiter=_delimiter(first), strict=True)
        rows = [[as_meant(cell) for cell in row] for row in reader]
    if not rows:
        raise ConfigError(f"{path} is empty. Expected a CSV whose first line names its columns.")
    return [name.strip() for name in rows[0]], rows[1:]


def _delimiter(header: str) -> str:
    """What parts the names of columns.

    >>> _delimiter("path;label, in words;split"), _delimiter("path"), _delimiter('"a;b;c",d')
    (';', ',', ',')
    """
    outside = "".join(header.split('"')[::2])
    return max(DELIMITERS, key=outside.count)


def _parquet(path: Path) -> tuple[list[str], list[list[str]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    for name, kind in zip(table.column_names, table.schema.types, strict=True):
        value = kind.value_type if pa.types.is_dictionary(kind) else kind
        if pa.types.is_nested(value) or pa.types.is_binary(value):
            raise ConfigError(
                f"The column {name!r} of {path} holds {kind}, expected text, numbers or times. "
                "Leave it out or write it as text."
            )
    columns = [[text_of(value) for value in column.to_pylist()] for column in table.columns]
    return list(table.column_names), [list(row) for row in zip(*columns, strict=True)]


def _json_lines(path: Path) -> tuple[list[str], list[list[str]]]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8-sig").split("\n") if line]
    for number, row in enumerate(rows, start=1):
        nested = [row] if not isinstance(row, dict) else row.values()
        if any(isinstance(value, (dict, list)) for value in nested):
            raise ConfigError(
                f"Row {number} of {path} is no object of text and numbers. Leave out what is nested, "
                "or write it as text."
            )
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return columns, [[text_of(row.get(name)) for name in columns] for row in rows]


def text_of(value: Any) -> str:
    """A value as the text of a cell; empty where it is missing.

    >>> text_of(7), text_of(None), text_of(float("nan"))
    ('7', '', '')
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return str(value)
