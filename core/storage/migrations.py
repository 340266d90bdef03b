"""Workspaces that an earlier version wrote: read as they are, brought up to date when written.

A reader finds the tables and views of today whatever the file holds: over an older file it gets
views of its own connection that add what is new, empty. A writer brings the file up to date
first, within its own transaction. So nothing is written to a workspace that is only read, and
one that cannot be written still opens.

Tables, columns and views that are new need no lines here: what ``schema`` declares and the file
lacks is added. Only what has to be computed from the rows that are there is a step of its own.
"""

import hashlib

import duckdb

from usad_workbench.core.errors import StoreError
from usad_workbench.core.storage.schema import (
    DECLARED,
    NEXT_SPACE,
    SCHEMA_VERSION,
    STAGED,
    TABLES,
    VIEWS,
    declared_defaults,
    declared_digest,
    declared_types,
)
from usad_workbench.core.storage.vector_tables import (
    DIGEST_KIND,
    EMPTY_DIGEST,
    digest_of,
    pages,
    together,
)


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
            defaults = declared_defaults(table)
            added = ", ".join(
                f"{defaults.get(name, 'NULL')}::{kind} AS {name}" for name, kind in new.items()
            )
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
    version = int(meta["schema_version"])
    if version < 2:
        _from_1_to_2(connection)
    if version < 3:
        _from_2_to_3(connection)
    connection.execute(
        "UPDATE meta SET value = ? WHERE key = 'schema_version'", [str(SCHEMA_VERSION)]
    )
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
    if version not in map(str, range(1, SCHEMA_VERSION + 1)):
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
            default = declared_defaults(table).get(name, "NULL")
            connection.execute(f"ALTER TABLE {table} ADD COLUMN {name} {kind} DEFAULT {default}")
    for view, query in VIEWS.items():
        connection.execute(f"CREATE OR REPLACE VIEW {view} AS {query}")


def _from_1_to_2(connection: duckdb.DuckDBPyConnection) -> None:
    """Ids that are never used again."""
    # Some files of schema 1 were made before an unknown number could be stored.
    connection.execute("ALTER TABLE encoders ALTER COLUMN n_params DROP NOT NULL")
    connection.execute(
        "INSERT INTO meta SELECT ?, (greatest("
        "(SELECT coalesce(max(space_id), -1) FROM spaces), "
        "(SELECT coalesce(max(space_id), -1) FROM indexes)) + 1)::VARCHAR",
        [NEXT_SPACE],
    )


def _from_2_to_3(connection: duckdb.DuckDBPyConnection) -> None:
    """Digests by another hash, ten times as fast, and with them what indexes were built from."""
    for spaces in ("spaces", STAGED):
        rows = connection.execute(f"SELECT space_id, digest FROM {spaces}").fetchall()
        for space_id, stored in rows:
            before, now = _both_digests(connection, space_id)
            if stored not in (None, before):  # not what was stored: that has to stay seen
                now = DIGEST_KIND + stored
            connection.execute(
                f"UPDATE {spaces} SET digest = ? WHERE space_id = ?", [now, space_id]
            )
            connection.execute(
                "UPDATE indexes SET vectors_digest = ? WHERE space_id = ? AND vectors_digest = ?",
                [now, space_id, stored],
            )


def _both_digests(connection: duckdb.DuckDBPyConnection, space_id: int) -> tuple[str, str]:
    """The digest of the vectors of a space as schema 2 had it, and as it is now."""
    before, now = 0, EMPTY_DIGEST
    for ids, vectors in pages(connection, space_id):
        now = together(now, digest_of(ids, vectors))
        for key, row in zip(ids.astype("<i8"), vectors.astype("<f4"), strict=True):
            hashed = hashlib.blake2b(row, digest_size=16, salt=key.tobytes())
            before += int.from_bytes(hashed.digest())
    return f"{before % (1 << 128):032x}", now
