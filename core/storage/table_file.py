"""Tables that people hand in, CSV, Parquet or JSON lines: every cell is text, as it stands in the file.

One reader for manifests of audio, clips of vectors and tasks. "NA", "None" and "null" are
names like any other; a cell is missing where there is nothing in it. Tables are columns of
Arrow, and rows become dictionaries only for those who ask for them.
"""

import csv
import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from usad_workbench.core.errors import ConfigError, UsadError, did_you_mean, wrap_errors
from usad_workbench.core.storage.csv_cells import as_meant

DELIMITERS = ",;\t"
PARQUET_SUFFIXES = (".parquet", ".pq")
BLOCK_ROWS = 16384
"""Rows of a CSV, or values of a column, that are Python objects at a time."""
Block: TypeAlias = tuple[list[pa.Array], dict[int, str]]
"""Text by column, and the faults of rows by their place in the block."""


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
    cells: pa.Table
    """Text by column, of those that have a name; missing where a cell is empty."""
    faults: dict[int, str]
    """Why rows cannot be used, by their index from 0."""

    @property
    def rows(self) -> list[Row]:
        """The rows one by one, for tables that are not large."""
        columns = [column.to_pylist() for column in self.cells.columns]
        return [self._row(i, cells) for i, cells in enumerate(zip(*columns, strict=True))]

    def row(self, index: int) -> Row:
        """One row, by its index from 0."""
        return self._row(index, [column[index].as_py() for column in self.cells.columns])

    def _row(self, index: int, cells: Sequence[str | None]) -> Row:
        named = zip(self.cells.column_names, cells, strict=True)
        filled = {name: cell for name, cell in named if cell is not None}
        return Row(number=index + 1, cells=filled, fault=self.faults.get(index, ""))


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
            columns, blocks = readers.get(path.suffix.lower(), _csv)(path)
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
    cells, faults = _together(columns, blocks)
    return Table(path=path, columns=columns, cells=cells, faults=faults)


def require_columns(table: Table, names: Sequence[str]) -> None:
    """Raises where a column is missing, with those that are there."""
    missing = [name for name in names if name not in table.columns]
    if missing:
        raise ConfigError(
            f"{table.path} has no column {missing[0]}, expected {', '.join(names)}. "
            f"{did_you_mean(missing[0], table.columns)}"
        )


def _together(columns: list[str], blocks: Sequence[Block]) -> tuple[pa.Table, dict[int, str]]:
    """The rows that are not empty, and the faults by their index."""
    named = [i for i, name in enumerate(columns) if name]
    names = [columns[i] for i in named]
    schema = pa.schema([(name, pa.string()) for name in names])
    parts: list[pa.Table] = []
    faults: dict[int, str] = {}
    n_before = 0
    for arrays, found in blocks:
        is_filled = _any_valid(arrays)
        is_filled[list(found)] = True
        part = pa.table([arrays[i] for i in named], schema=schema)
        if not is_filled.all():
            part = part.filter(pa.array(is_filled))
        places = n_before - 1 + np.cumsum(is_filled)
        faults |= {int(places[row]): fault for row, fault in found.items()}
        for row in _repeats_of_header(part):
            faults[n_before + row] = "It repeats the names of the columns. Remove the row."
        parts.append(part)
        n_before += len(part)
    return pa.concat_tables(parts) if parts else schema.empty_table(), faults


def _any_valid(arrays: Sequence[pa.Array | pa.ChunkedArray]) -> Any:
    """Which rows have a cell that is not empty, shape [row]."""
    is_valid = np.zeros(len(arrays[0]) if arrays else 0, dtype=np.bool_)
    for array in arrays:
        is_valid |= array.is_valid().to_numpy(zero_copy_only=False) if len(array) else False
    return is_valid


def _repeats_of_header(part: pa.Table) -> list[int]:
    """Rows all of whose cells are the names of their columns."""
    if not part.num_columns or not len(part):
        return []
    is_repeat = _any_valid(part.columns)
    for name, column in zip(part.column_names, part.columns, strict=True):
        if not is_repeat.any():
            return []
        is_name = pc.fill_null(pc.equal(column, name), True)
        is_repeat &= is_name.to_numpy()
    return [int(row) for row in np.flatnonzero(is_repeat)]


def _csv(path: Path) -> tuple[list[str], list[Block]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        first = file.readline()
        file.seek(0)
        reader = csv.reader(file, delimiter=_delimiter(first), strict=True)
        header = next(reader, None)
        if header is None:
            raise ConfigError(
                f"{path} is empty. Expected a CSV whose first line names its columns."
            )
        blocks = []
        while rows := list(itertools.islice(reader, BLOCK_ROWS)):
            blocks.append(_block_of(len(header), rows))
    return [as_meant(name).strip() for name in header], blocks


def _block_of(n_columns: int, rows: Sequence[list[str]]) -> Block:
    """Rows of a CSV as columns; those with cells beyond their header have a fault."""
    faults = {}
    for place, row in enumerate(rows):
        if len(row) != n_columns:
            if any(row[n_columns:]):
                faults[place] = (
                    f"It has cells beyond its header, {len(row)} for {n_columns} columns, the "
                    f"last is {as_meant(row[-1])!r}. Quote what holds the delimiter."
                )
            row += [""] * (n_columns - len(row))
    cells = ([as_meant(row[i]) or None for row in rows] for i in range(n_columns))
    return [pa.array(column, pa.string()) for column in cells], faults


def _delimiter(header: str) -> str:
    """What parts the names of columns.

    >>> _delimiter("path;label, in words;split"), _delimiter("path"), _delimiter('"a;b;c",d')
    (';', ',', ',')
    """
    outside = "".join(header.split('"')[::2])
    return max(DELIMITERS, key=outside.count)


def _parquet(path: Path) -> tuple[list[str], list[Block]]:
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    for name, kind in zip(table.column_names, table.schema.types, strict=True):
        value = kind.value_type if pa.types.is_dictionary(kind) else kind
        if pa.types.is_nested(value) or pa.types.is_binary(value):
            raise ConfigError(
                f"The column {name!r} of {path} holds {kind}, expected text, numbers or times. "
                "Leave it out or write it as text."
            )
    return list(table.column_names), [([_as_text(column) for column in table.columns], {})]


def _as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column as text: missing where it is empty, numbers and times as Python writes them."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _as_text(column.cast(kind.value_type))
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind):
        text = column.cast(pa.string())
        text.validate(full=True)  # UTF-8
    else:
        parts = (column[start : start + BLOCK_ROWS] for start in range(0, len(column), BLOCK_ROWS))
        text = pa.chunked_array(
            [
                pa.array([text_of(value) or None for value in part.to_pylist()], pa.string())
                for part in parts
            ],
            pa.string(),
        )
    is_empty = pc.equal(text, "")
    return (
        pc.if_else(is_empty, pa.scalar(None, pa.string()), text)
        if pc.any(is_empty).as_py()
        else text
    )


def _json_lines(path: Path) -> tuple[list[str], list[Block]]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8-sig").split("\n") if line]
    for number, row in enumerate(rows, start=1):
        nested = [row] if not isinstance(row, dict) else row.values()
        if any(isinstance(value, (dict, list)) for value in nested):
            raise ConfigError(
                f"Row {number} of {path} is no object of text and numbers. Leave out what is nested, "
                "or write it as text."
            )
    columns = list(dict.fromkeys(name for row in rows for name in row))
    cells = ([text_of(row.get(name)) or None for row in rows] for name in columns)
    return columns, [([pa.array(column, pa.string()) for column in cells], {})]


def text_of(value: Any) -> str:
    """A value as the text of a cell; empty where it is missing.

    >>> text_of(7), text_of(None), text_of(float("nan"))
    ('7', '', '')
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return str(value)
