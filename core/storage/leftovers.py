"""What killed commands have left in a workspace, cleared away by whoever opens it next."""

from contextlib import suppress
from pathlib import Path

import duckdb

from usad_workbench.core.errors import StoreError
from usad_workbench.core.locks import abandoned
from usad_workbench.core.storage.array_files import (
    ArrayFile,
    remove_partial_arrays,
    remove_unnamed_arrays,
)
from usad_workbench.core.storage.database import Database
from usad_workbench.core.storage.schema import STAGED

INDEXES = "indexes"
"""Folder of the index files, beside the database."""
NEW = "new"
"""Claims of databases that are being made: ``.<name>.duckdb``."""
REPLACE = "replace"
"""Claims of vectors that are to replace others: the column ``run`` of ``staged_spaces``."""


def array_paths(connection: duckdb.DuckDBPyConnection, folder: Path) -> set[Path]:
    """Where the array files of the spaces of a workspace lie, there or not."""
    rows = connection.execute("SELECT space_id, n, dim, digest FROM spaces").fetchall()
    return {
        ArrayFile(folder=folder, space_id=space_id, n=n, dim=dim, digest=digest).path
        for space_id, n, dim, digest in rows
    }


def clear_leftovers(database: Path) -> None:
    """Removes what commands that have ended left beside or in a database.

    Where that cannot be done now, because the folder cannot be written or another program
    holds the database, it is left to the next one.
    """
    remove_partial_arrays(database.parent)
    with suppress(OSError, StoreError):
        Database(database, wait_s=0).take_in_log()
    with suppress(OSError, StoreError):
        with abandoned(database.parent, NEW) as names:
            for name in names:
                remove_new_database(database.parent, name)
        with abandoned(database.parent, REPLACE) as names:
            if names:
                drop_staged(Database(database, wait_s=0), names)


def new_database(folder: Path, name: str) -> Path:
    """The path at which the database of a claim is made."""
    return folder / f".{name}.duckdb"


def remove_new_database(folder: Path, name: str) -> None:
    """Removes the database of a claim, and what DuckDB has laid beside it."""
    for path in folder.glob(f"{new_database(folder, name).name}*"):
        path.unlink(missing_ok=True)


def drop_staged(database: Database, runs: list[str]) -> None:
    """Removes vectors that were to replace others, by the claims that they were made under."""
    with database.read() as connection:
        if not connection.execute(
            f"SELECT 1 FROM {STAGED} WHERE list_contains(?, run)", [runs]
        ).fetchall():
            return
    with database.write() as connection:
        ids = connection.execute(
            f"SELECT space_id FROM {STAGED} WHERE list_contains(?, run)", [runs]
        ).fetchall()
        for (space_id,) in ids:
            connection.execute(f"DROP TABLE IF EXISTS vectors_{space_id}")
            connection.execute(f"DELETE FROM {STAGED} WHERE space_id = ?", [space_id])


def remove_unnamed_files(database: Database) -> None:
    """Removes index and array files of vectors that are not there.

    An index file takes its name in the transaction that notes it, so one that no row of ``indexes``
    names is of a space that is gone, or of a command that was killed before it could remove it.
    An array file has the digest of its space in its name.
    """
    folder = database.path.parent / INDEXES
    with database.read() as connection:
        arrays = array_paths(connection, database.path.parent)
    remove_unnamed_arrays(database.path.parent, arrays)
    if not folder.is_dir():
        return
    with database.write() as connection:  # nobody is noting one meanwhile
        rows = connection.execute("SELECT file FROM indexes").fetchall()
        named = {Path(file).name for (file,) in rows}
        for path in folder.glob("*.faiss"):
            if path.name not in named:
                path.unlink(missing_ok=True)
