"""The database of a new workspace, which takes its name when it is complete."""

import json
import os
from pathlib import Path

import duckdb

from usad_workbench.core.locks import claimed
from usad_workbench.core.storage.connecting import connect
from usad_workbench.core.storage.leftovers import NEW, new_database, remove_new_database
from usad_workbench.core.storage.schema import (
    DECLARED,
    EMPTY_EMBEDDINGS,
    NEXT_SPACE,
    SCHEMA_VERSION,
    TABLES,
    VIEWS,
    declared_digest,
)
from usad_workbench.core.storage.segment_ids import NEXT_SEGMENT
from usad_workbench.core.storage.segments import Segmentation


def create_database(path: Path, segmentation: Segmentation) -> None:
    """Makes an empty workspace's database; one that appears there meanwhile stays.

    It is made beside, under a name of its own: a command that is killed on the way leaves
    nothing under the right one, and of two at once the second finds what the first has made.
    """
    with claimed(path.parent, NEW) as name:
        made = new_database(path.parent, name)
        try:
            with connect(made) as connection:
                _fill(connection, segmentation)
            _give_name(made, path)
        finally:
            remove_new_database(path.parent, name)


def _fill(connection: duckdb.DuckDBPyConnection, segmentation: Segmentation) -> None:
    for table, columns in TABLES.items():
        connection.execute(f"CREATE TABLE {table} ({columns})")
    for view, query in {"embeddings": EMPTY_EMBEDDINGS, **VIEWS}.items():
        connection.execute(f"CREATE VIEW {view} AS {query}")
    values = {
        "schema_version": str(SCHEMA_VERSION),
        "segmentation": json.dumps([segmentation.window_s, segmentation.hop_s]),
        NEXT_SPACE: "0",
        NEXT_SEGMENT: "0",
        DECLARED: declared_digest(),
    }
    for key, value in values.items():
        connection.execute("INSERT INTO meta VALUES (?, ?)", [key, value])


def _give_name(made: Path, path: Path) -> None:
    try:
        os.link(made, path)  # unlike a rename, never in the place of another file
    except FileExistsError:
        return
    except OSError:  # a file system without links
        if not path.exists():
            made.rename(path)
