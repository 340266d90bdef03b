"""Workspaces that an earlier version wrote: read as they are, brought up to date when written.

A reader finds the tables of today whatever the file holds: over a file of schema 1 it gets
views of its own connection that add what is new, empty. A writer brings the file up to date
first, within its own transaction. So nothing is written to a workspace that is only read, and
one that cannot be written still opens.
"""

import duckdb

from usad_workbench.core.errors import StoreError
from usad_workbench.core.storage.schema import SCHEMA_VERSION, STAGED, TABLES
from usad_workbench.core.storage.vector_tables import stored_digest

NEW_COLUMNS = {"spaces": "digest", "indexes": "vectors_digest"}
"""Columns of text that schema 2 added."""


def for_reading(connection: duckdb.DuckDBPyConnection) -> None:
    """Lets a read-only connection see the tables of today.

    Raises:
        StoreError: no tables of a workspace, or those of a version that is not known.
    """
    if _version(connection) != "1":
        return
    catalog = connection.execute("SELECT current_database()").fetchall()[0][0]
    for table, column in NEW_COLUMNS.items():
        connection.execute(
            f"CREATE TEMP VIEW {table} AS SELECT *, NULL::VARCHAR AS {column} "
            f'FROM "{catalog}".main.{table}'
        )
    connection.execute(f"CREATE TEMP TABLE {STAGED} ({TABLES[STAGED]})")


def for_writing(connection: duckdb.DuckDBPyConnection) -> None:
    """Brings a workspace up to date, within the transaction of the connection.

    Raises:
        StoreError: no tables of a workspace, or those of a version that is not known.
    """
    if _version(connection) == "1":
        _from_1_to_2(connection)


def _version(connection: duckdb.DuckDBPyConnection) -> str:
    try:
        rows = connection.execute("SELECT value FROM meta WHERE key = 'schema_version'").fetchall()
    except duckdb.CatalogException as error:
        raise StoreError(
            "Found a DuckDB file without the tables of a workspace. Expected one made by `usad "
            "import` or `usad demo`. Name another folder."
        ) from error
    found = rows[0][0] if rows else "none"
    if found not in ("1", str(SCHEMA_VERSION)):
        raise StoreError(
            f"The workspace was written with schema {found}, this version reads 1 to "
            f"{SCHEMA_VERSION}. Install the version that wrote it, or make the workspace again."
        )
    return str(found)


def _from_1_to_2(connection: duckdb.DuckDBPyConnection) -> None:
    """Digests of vectors, what an index was built from, and ids that are never used again."""
    for table, columns in TABLES.items():
        connection.execute(f"CREATE TABLE IF NOT EXISTS {table} ({columns})")
    for table, column in NEW_COLUMNS.items():
        connection.execute(f"ALTER TABLE {table} ADD COLUMN {column} VARCHAR")
    # Some files of schema 1 were made before an unknown number could be stored.
    connection.execute("ALTER TABLE encoders ALTER COLUMN n_params DROP NOT NULL")
    ids = [row[0] for row in connection.execute("SELECT space_id FROM spaces").fetchall()]
    for space_id in ids:
        connection.execute(
            "UPDATE spaces SET digest = ? WHERE space_id = ?",
            [stored_digest(connection, space_id), space_id],
        )
    connection.execute(
        "INSERT INTO meta SELECT 'next_space_id', (greatest("
        "(SELECT coalesce(max(space_id), -1) FROM spaces), "
        "(SELECT coalesce(max(space_id), -1) FROM indexes)) + 1)::VARCHAR"
    )
    connection.execute(
        "UPDATE meta SET value = ? WHERE key = 'schema_version'", [str(SCHEMA_VERSION)]
    )
