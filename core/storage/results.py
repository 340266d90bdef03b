"""What was computed from an encoder, found by the tables that are there, and removed with it.

No list of tables is kept, for it would miss the next one: every table is walked but those
that hold what people put in, and a row that names the encoder in any column of text goes. Three
kinds of rows name it elsewhere: what a system of several encoders said (its members stand in
``predictions.fingerprint``), a statement about the nearest of all teachers of a student, and a
diagnosis, which is one whole whose encoders stand in its document.
"""

import json
from collections.abc import Mapping, Sequence

import duckdb

from usad_workbench.core.storage.schema import STAGED, quote

PUT_IN = frozenset(
    {
        "meta",
        "clips",
        "segments",
        "tasks",
        "encoders",
        "spaces",
        STAGED,
        "indexes",
        "distillation",
        "failures",
        "llm_results",
    }
)
"""Tables of what people told or gave to the workspace, and those that ``spaces`` looks after."""
GROUP = ("student", "selection")
"""Columns that say which diagnosis a row is a part of."""

Columns = Mapping[str, str]
"""Type by column of one table."""


def forget_results(connection: duckdb.DuckDBPyConnection, encoder: str) -> None:
    """Deletes every row that was computed from the vectors of an encoder.

    Args:
        connection: Within a transaction of the caller.
        encoder: Its name.
    """
    tables = _tables(connection)
    names = [encoder, *_systems_of(connection, encoder)]
    for key in _rows(connection, tables, names, GROUP):
        for table in _with_columns(tables, GROUP):
            connection.execute(
                f"DELETE FROM {quote(table)} WHERE student = ? AND selection = ?", list(key)
            )
    students = _rows(
        connection, {"teacher_similarity": tables["teacher_similarity"]}, names, ("student",)
    )
    for (student,) in students:
        connection.execute("DELETE FROM nearest_teachers WHERE student = ?", [student])
    for table, columns in tables.items():
        condition = _mentions(columns)
        if condition:
            connection.execute(f"DELETE FROM {quote(table)} WHERE {condition}", {"names": names})
    connection.execute("DELETE FROM failures WHERE step = ?", [f"embed {encoder}"])


def _tables(connection: duckdb.DuckDBPyConnection) -> dict[str, dict[str, str]]:
    """Tables that may hold results, with the types of their columns."""
    rows = connection.execute(
        "SELECT table_name, column_name, data_type FROM duckdb_columns() "
        "JOIN duckdb_tables() USING (database_name, schema_name, table_name) "
        "WHERE database_name = current_database() AND NOT starts_with(table_name, 'vectors_')"
    ).fetchall()
    found: dict[str, dict[str, str]] = {}
    for table, column, kind in rows:
        if table not in PUT_IN:
            found.setdefault(table, {})[column] = kind
    return found


def _systems_of(connection: duckdb.DuckDBPyConnection, encoder: str) -> list[str]:
    """The systems, such as a router, that an encoder is a member of."""
    rows = connection.execute(
        "SELECT DISTINCT encoder FROM predictions "
        "WHERE list_contains(string_split(fingerprint, '|')[2:], ?)",
        [encoder],
    ).fetchall()
    return [name for (name,) in rows if name != encoder]


def _rows(
    connection: duckdb.DuckDBPyConnection,
    tables: Mapping[str, Columns],
    names: Sequence[str],
    key: Sequence[str],
) -> set[tuple[str, ...]]:
    """The keys of rows that name one of the encoders, also inside a JSON document."""
    found: set[tuple[str, ...]] = set()
    quoted = [json.dumps(name, ensure_ascii=False) for name in names]
    for table, columns in _with_columns(tables, key).items():
        inside = [
            f"list_bool_or([contains({quote(name)}, q) FOR q IN $quoted])"
            for name, kind in columns.items()
            if kind == "VARCHAR"
        ]
        rows = connection.execute(
            f"SELECT DISTINCT {', '.join(key)} FROM {quote(table)} "
            f"WHERE {' OR '.join([_mentions(columns), *inside])}",
            {"names": names, "quoted": quoted},
        ).fetchall()
        found |= set(rows)
    return found


def _with_columns(tables: Mapping[str, Columns], key: Sequence[str]) -> dict[str, Columns]:
    return {table: columns for table, columns in tables.items() if set(key) <= set(columns)}


def _mentions(columns: Columns) -> str:
    """SQL that is true of a row that has one of ``$names`` in a column of text."""
    parts = []
    for name, kind in columns.items():
        column = quote(name)
        if kind == "VARCHAR":
            parts.append(f"list_contains($names, {column})")
        elif kind == "VARCHAR[]":
            parts.append(f"list_has_any({column}, $names)")
        elif kind.startswith("MAP(VARCHAR"):
            parts.append(f"list_has_any(map_keys({column}), $names)")
    return " OR ".join(f"coalesce({part}, false)" for part in parts)
