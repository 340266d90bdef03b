"""Workspaces that an earlier version wrote: read as they are, brought up to date when written.

A reader finds the tables and views of today whatever the file holds: over an older file it gets
views of its own connection that add what is new, empty. A writer brings the file up to date
first, within its own transaction. So nothing is written to a workspace that is only read, and
one that cannot be written still opens.

Tables, columns and views that are new need no lines here: what ``schema`` declares and the file
lacks is added. Only what has to be computed from the rows that are there is a step of its own.
"""

import duckdb

from usad_workbench.core.errors import StoreError
from usad_workbench.core.storage.schema import (
    DECLARED,
    NEXT_SPACE,
    SCHEMA_VERSION,
    TABLES,
    VIEWS,
    declared_digest,
    declared_types,
)
from usad_workbench.core.storage.vector_tables import stored_digest


def for_reading(connection: duckdb.DuckDBPyConnection) -> None:
    """Lets a read-only connection see the tables and views of today.

    Raises:
        StoreError: no tables of a workspace, or those of a version that is not known.
    """
    if _meta(connection).get(DECLARED) == declared_digest():
        return
    catalog = connection.execute("SELECT current_database()").fetchall()[0][0]
    stored = _stored_columns(connection)
    for table, columns in TABLES.items():
        if table not in stored:
            connection.execute(f"CREATE TEMP TABLE {table} ({columns})")
        elif new := _new_columns(table, stored[table]):
            added = ", ".join(f"NULL::{kind} AS {name}" for name, kind in new.items())
            connection.execute(
                f'CREATE TEMP VIEW {table} AS SELECT *, {added} FROM "{catalog}".main.{table}'
            )
    for view, query in VIEWS.items():
        connection.execute(f"CREATE TEMP VIEW {view} AS {query}")


def for_writing(connection: duckdb.DuckDBPyConnection) -> None:
    """Brings a workspace up to date, within the transaction of the connection.

    Raises:
        StoreError: no tables of a workspace, or those of a version that is not known.
    """
    meta = _meta(connection)
    if meta.get(DECLARED) == declared_digest():
        return
    _add_declared(connection)
    if meta["schema_version"] == "1":
        _from_1_to_2(connection)
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", [DECLARED, declared_digest()])


def _meta(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """What the file says of its own version."""
    try:
        meta = dict(
            connection.execute(
                "SELECT key, value FROM meta WHERE key IN ('schema_version', ?)", [DECLARED]
            ).fetchall()
        )
    except duckdb.CatalogException as error:
        raise StoreError(
            "Found a DuckDB file without the tables of a workspace. Expected one made by `usad "
            "import` or `usad demo`. Name another folder."
        ) from error
    version = meta.get("schema_version", "none")
    if version not in ("1", str(SCHEMA_VERSION)):
        raise StoreError(
            f"The workspace was written with schema {version}, this version reads 1 to "
            f"{SCHEMA_VERSION}. Install the version that wrote it, or make the workspace again."
        )
    return meta


def _stored_columns(connection: duckdb.DuckDBPyConnection) -> dict[str, set[str]]:
    """The columns of every table of the file."""
    rows = connection.execute(
        "SELECT table_name, list(column_name) FROM duckdb_columns() "
        "WHERE database_name = current_database() AND NOT internal GROUP BY table_name"
    ).fetchall()
    return {table: set(columns) for table, columns in rows}


def _new_columns(table: str, stored: set[str]) -> dict[str, str]:
    """The columns of a table that are declared and not there, with their types."""
    return {name: kind for name, kind in declared_types(table).items() if name not in stored}


def _add_declared(connection: duckdb.DuckDBPyConnection) -> None:
    """Adds the tables, columns and views that are declared and not there."""
    stored = _stored_columns(connection)
    for table, columns in TABLES.items():
        if table not in stored:
            connection.execute(f"CREATE TABLE {table} ({columns})")
            continue
        for name, kind in _new_columns(table, stored[table]).items():
            connection.execute(f"ALTER TABLE {table} ADD COLUMN {name} {kind}")
    for view, query in VIEWS.items():
        connection.execute(f"CREATE OR REPLACE VIEW {view} AS {query}")


def _from_1_to_2(connection: duckdb.DuckDBPyConnection) -> None:
    """Digests of vectors, what an index was built from, and ids that are never used again."""
    # Some files of schema 1 were made before an unknown number could be stored.
    connection.execute("ALTER TABLE encoders ALTER COLUMN n_params DROP NOT NULL")
    ids = [row[0] for row in connection.execute("SELECT space_id FROM spaces").fetchall()]
    for space_id in ids:
        connection.execute(
            "UPDATE spaces SET digest = ? WHERE space_id = ?",
            [stored_digest(connection, space_id), space_id],
        )
    connection.execute(
        "INSERT INTO meta SELECT ?, (greatest("
        "(SELECT coalesce(max(space_id), -1) FROM spaces), "
        "(SELECT coalesce(max(space_id), -1) FROM indexes)) + 1)::VARCHAR",
        [NEXT_SPACE],
    )
    connection.execute(
        "UPDATE meta SET value = ? WHERE key = 'schema_version'", [str(SCHEMA_VERSION)]
    )
