"""Typed rows: one writer and one reader for every table whose row is a dataclass.

    with workspace.database.write() as connection:
        write_rows(connection, "diagnosis_partial", PartialRow, rows, key={"student": "s"})
    rows = read_rows(workspace, PartialRow, "diagnosis_partial", key={"student": "s"})

Numbers that are not finite are stored as NULL, which a field of type ``float`` reads as NaN.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any, TypeVar

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

from usad_workbench.core.errors import StoreError
from usad_workbench.core.storage.row_types import Column, columns_of
from usad_workbench.core.storage.schema import TABLES, quote
from usad_workbench.core.storage.workspace import Workspace

Row = TypeVar("Row")
Key = Mapping[str, str | int]
"""Values by column that rows have in common."""


def write_rows(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    row_type: type[Row],
    rows: Sequence[Row],
    *,
    key: Key,
) -> None:
    """Puts rows in the place of those that have the same key.

    The table is made where it is not there. One of other columns, as an earlier version wrote
    it, is made anew: what is in it has to be computed again.

    Args:
        connection: Within a transaction of the caller.
        table: Its name.
        row_type: The dataclass that declares the columns; those of ``key`` that it lacks stand
            before them.
        rows: All rows with this key; none only removes.
        key: What is replaced.

    Raises:
        StoreError: a dataclass with a field that no column holds.
    """
    extra = [_key_column(name, value) for name, value in key.items()]
    columns = columns_of(row_type)
    names = {column.name for column in columns}
    columns = (*(column for column in extra if column.name not in names), *columns)
    _make_table(connection, table, columns)
    condition = " AND ".join(f"{quote(name)} = ?" for name in key)
    connection.execute(f"DELETE FROM {quote(table)} WHERE {condition}", list(key.values()))
    _insert(connection, table, columns, rows, key)


def replace_rows(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    row_type: type[Row],
    rows: Sequence[Row],
    *,
    by: Sequence[str],
) -> None:
    """Puts rows in the place of those that have the same values in some columns.

    Args:
        connection: Within a transaction of the caller.
        table: Its name.
        row_type: The dataclass that declares the columns.
        rows: What is stored.
        by: Columns in which a row agrees with those that it replaces.

    Raises:
        StoreError: a dataclass with a field that no column holds.
    """
    replace_arrow(connection, table, row_type, arrow_table(columns_of(row_type), rows), by=by)


def replace_arrow(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    row_type: type,
    rows: pa.Table,
    *,
    by: Sequence[str],
) -> None:
    """``replace_rows`` with columns in place of dataclasses, for very many rows.

    Args:
        connection: Within a transaction of the caller.
        table: Its name.
        row_type: The dataclass that declares the columns.
        rows: A column for each field of the dataclass.
        by: Columns in which a row agrees with those that it replaces.
    """
    _make_table(connection, table, columns_of(row_type))
    if not len(rows):
        return
    replace_matching(connection, table, rows, by=by)


def replace_matching(
    connection: duckdb.DuckDBPyConnection, table: str, rows: pa.Table, *, by: Sequence[str]
) -> None:
    """Puts the rows of an Arrow table in the place of those with the same values in some columns.

    Args:
        connection: Within a transaction of the caller.
        table: Its name; it is there.
        rows: Columns by the names of the table's; those that are missing become NULL.
        by: Columns in which a row agrees with those that it replaces; with none it replaces none.
    """
    connection.register("new_rows", rows)
    if by:
        values = ", ".join(map(quote, by))
        connection.execute(
            f"DELETE FROM {quote(table)} WHERE ({values}) IN (SELECT ({values}) FROM new_rows)"
        )
    connection.execute(f"INSERT INTO {quote(table)} BY NAME SELECT * FROM new_rows")
    connection.unregister("new_rows")


def read_rows(
    workspace: Workspace,
    row_type: type[Row],
    table: str,
    *,
    key: Key | None = None,
    order_by: Sequence[str] = (),
) -> list[Row]:
    """The rows of a table as dataclasses, in the order they were written in unless told otherwise.

    Args:
        workspace: Holds the table; where it does not, there are no rows.
        row_type: The dataclass that declares the columns.
        table: Its name.
        key: Only rows with these values.
        order_by: Columns to sort by.

    Raises:
        StoreError: NULL, or a missing column, where the field takes neither ``None`` nor NaN.
    """
    with workspace.database.read() as connection:
        return select_rows(connection, row_type, table, key=key, order_by=order_by)


def select_rows(
    connection: duckdb.DuckDBPyConnection,
    row_type: type[Row],
    table: str,
    *,
    key: Key | None = None,
    order_by: Sequence[str] = (),
) -> list[Row]:
    """``read_rows`` on a connection of the caller."""
    stored = stored_columns(connection, table)
    columns = [column for column in columns_of(row_type) if column.name in stored]
    if not columns:
        return []
    condition = " AND ".join(f"{quote(name)} = ?" for name in key or {}) or "true"
    order = f" ORDER BY {', '.join(map(quote, order_by))}" if order_by else ""
    selected = ", ".join(quote(column.name) for column in columns)
    records = connection.execute(
        f"SELECT {selected} FROM {quote(table)} WHERE {condition}{order}",
        list((key or {}).values()),
    ).fetchall()
    absent = _defaults(row_type, table, stored)
    return [
        row_type(
            **absent,
            **{
                column.name: _read_value(column, value, table)
                for column, value in zip(columns, record, strict=True)
            },
        )
        for record in records
    ]


def rows_of_frame(frame: pd.DataFrame, row_type: type[Row], table: str) -> list[Row]:
    """The answer of a query as dataclasses: what ``read_rows`` is to a table.

    Args:
        frame: The answer; columns that the dataclass lacks are left out.
        row_type: The dataclass that declares the columns.
        table: Its name in errors.

    Raises:
        StoreError: a missing value where the field takes neither ``None`` nor NaN.
    """
    if frame.empty:
        return []
    columns = [column for column in columns_of(row_type) if column.name in frame]
    absent = _defaults(row_type, table, list(frame))
    records = frame[[column.name for column in columns]].itertuples(index=False, name=None)
    return [
        row_type(
            **absent,
            **{
                column.name: _framed_value(column, value, table)
                for column, value in zip(columns, record, strict=True)
            },
        )
        for record in records
    ]


def stored_columns(connection: duckdb.DuckDBPyConnection, table: str) -> list[str]:
    """The columns that a table of the file or of the connection has, in order; none: no table."""
    rows = connection.execute(
        "SELECT column_name FROM duckdb_columns() WHERE table_name = ? AND schema_name = 'main' "
        "AND database_name IN (current_database(), 'temp') "
        "ORDER BY database_name = 'temp' DESC, column_index",
        [table],
    ).fetchall()
    return list(dict.fromkeys(name for (name,) in rows))


def arrow_table(columns: Sequence[Column], rows: Sequence[Row], key: Key | None = None) -> pa.Table:
    """Rows as an Arrow table; columns that they lack have the value of ``key``."""
    values = key or {}
    arrays = [
        pa.array(
            [_stored_value(getattr(row, column.name, values.get(column.name))) for row in rows],
            type=column.arrow_type,
        )
        for column in columns
    ]
    return pa.table(arrays, names=[column.name for column in columns])


def _key_column(name: str, value: str | int) -> Column:
    is_text = isinstance(value, str)
    return Column(
        name=name,
        sql_type="VARCHAR" if is_text else "INTEGER",
        python_type=str if is_text else int,
        is_optional=False,
    )


def _make_table(
    connection: duckdb.DuckDBPyConnection, table: str, columns: Sequence[Column]
) -> None:
    """Makes a table, anew where it has other columns, unless the schema declares it."""
    stored = stored_columns(connection, table)
    if table in TABLES or set(stored) == {column.name for column in columns}:
        return
    if stored:
        connection.execute(f"DROP TABLE {quote(table)}")
    declared = ", ".join(f"{quote(column.name)} {column.sql_type}" for column in columns)
    connection.execute(f"CREATE TABLE {quote(table)} ({declared})")


def _insert(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    columns: Sequence[Column],
    rows: Sequence[Row],
    key: Key,
) -> None:
    if not rows:
        return
    connection.register("new_rows", arrow_table(columns, rows, key))
    connection.execute(f"INSERT INTO {quote(table)} BY NAME SELECT * FROM new_rows")
    connection.unregister("new_rows")


def _stored_value(value: Any) -> Any:
    """A value as Arrow takes it: numbers that are not finite are missing."""
    if isinstance(value, Mapping):
        return [(str(name), _stored_value(item)) for name, item in value.items()]
    if isinstance(value, (list, tuple)):
        return [_stored_value(item) for item in value]
    if isinstance(value, np.ndarray):
        return [_stored_value(item) for item in value.tolist()]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _read_value(column: Column, value: Any, table: str) -> Any:
    """A stored value as the field takes it."""
    if value is None:
        return _missing_value(column, table)
    if column.python_type is dict:
        return {name: math.nan if item is None else item for name, item in value.items()}
    if column.python_type is tuple:
        is_number = column.sql_type in ("DOUBLE[]", "FLOAT[]")
        return tuple(math.nan if item is None and is_number else item for item in value)
    return value


def _framed_value(column: Column, value: Any, table: str) -> Any:
    """A cell of a data frame as the field takes it; with gaps whole numbers came as floats."""
    if column.python_type in (tuple, dict):
        value = value.tolist() if isinstance(value, np.ndarray) else value
        return _read_value(column, value, table)
    if pd.isna(value):
        return _missing_value(column, table)
    return column.python_type(value)


def _missing_value(column: Column, table: str) -> Any:
    if column.is_optional:
        return None
    if column.python_type is float:
        return math.nan
    raise StoreError(
        f"The table {table} has no {column.name} in a row, expected one in every row. It was "
        "written by another version or changed by hand: compute it again."
    )


def _defaults(row_type: type, table: str, stored: Sequence[str]) -> dict[str, Any]:
    """Values of the fields whose columns an earlier version did not write."""
    declared = {field.name: field for field in fields(row_type)}
    return {
        column.name: _missing_value(column, table)
        for column in columns_of(row_type)
        if column.name not in stored
        and declared[column.name].default is MISSING
        and declared[column.name].default_factory is MISSING
    }
