"""Encoders, clips and diagnoses are each removed by one call, which leaves nothing behind.

No list of tables is kept, for it would miss the next one: what a table is about follows from its
columns. A column ``encoder``, ``student`` or ``teacher`` names an encoder, ``space_id`` a space,
``clip_id`` and ``segment_id`` a clip, ``student`` with ``selection`` a diagnosis.

The table ``clips`` alone is not walked: its columns are those of people's manifests, and one that
is called ``encoder`` or ``space_id`` says something else.

Tables of results may name encoders elsewhere too, so there a row that names one in any column of
text goes. Three kinds of rows name it indirectly: what a system of several encoders said (its
members stand in ``predictions.fingerprint``), a statement about the nearest of all teachers of a
student, and a diagnosis, which is one whole whose encoders stand in its document.

What a command that is running prepares in ``staged_spaces`` is its own and stays.
"""

import json
from collections.abc import Collection, Mapping, Sequence

import duckdb
import pyarrow as pa

from usad_workbench.core.storage import vector_tables
from usad_workbench.core.storage.leftovers import remove_unnamed_files
from usad_workbench.core.storage.schema import STAGED, embeddings_view, quote
from usad_workbench.core.storage.segment_ids import keep_segment_ids
from usad_workbench.core.storage.workspace import Workspace

ENCODER_COLUMNS = ("encoder", "student", "teacher")
"""Columns that name an encoder, in tables of any kind."""
DIAGNOSIS_KEY = ("student", "selection")
"""Columns that say which diagnosis a row is a part of."""
PUT_IN = frozenset(
    {
        "meta",
        "segments",
        "tasks",
        "encoders",
        "spaces",
        STAGED,
        "indexes",
        "distillation",
        "failures",
        "llm_results",
        "annotations",
        "label_edits",
    }
)
"""Tables of what people told or gave to the workspace, and those that ``spaces`` looks after:
they hold no results, and a text in them may be equal to an encoder's name by chance."""

Columns = Mapping[str, str]
"""Type by column of one table."""


def delete_encoder(workspace: Workspace, encoder: str) -> None:
    """Removes an encoder: its vectors, indexes and results, and what was told of it.

    Args:
        workspace: Where from.
        encoder: Its name; nothing happens where there is no such encoder.
    """
    with workspace.database.write() as connection:
        remove_encoder(connection, encoder)
        for table, columns in _tables(connection).items():
            names = [name for name in ENCODER_COLUMNS if name in columns]
            if names:
                condition = " OR ".join(f"{name} = $encoder" for name in names)
                connection.execute(
                    f"DELETE FROM {quote(table)} WHERE {condition}", {"encoder": encoder}
                )
        refresh_embeddings_view(connection)
    remove_unnamed_files(workspace.database)


def delete_clips(workspace: Workspace, clip_ids: Collection[str]) -> None:
    """Removes clips with their segments, vectors and every row that names one of them.

    Indexes of spaces that had vectors of them are not used until `usad index` takes these out; a map
    loses their points. Audio files stay where they are. Scores and similarities over many clips
    stay as they were computed, with their counts, until they are computed again.

    Args:
        workspace: Where from.
        clip_ids: Those that are not there are left out.
    """
    with workspace.database.write() as connection:
        connection.register("gone_clips", pa.table({"clip_id": pa.array(clip_ids, pa.string())}))
        connection.execute(
            "CREATE TEMP TABLE gone AS SELECT clip_id, segment_id, path FROM gone_clips "
            "JOIN clips USING (clip_id) LEFT JOIN segments USING (clip_id)"
        )
        if connection.execute("SELECT count(*) FROM gone").fetchone() != (0,):
            keep_segment_ids(connection)
        _remove_vectors(connection)
        connection.execute(
            "DELETE FROM failures USING gone WHERE item = gone.clip_id "
            "OR gone.path <> '' AND (item = gone.path OR starts_with(item, gone.path || ' ['))"
        )
        for table, columns in _tables(connection).items():
            for name in ("clip_id", "segment_id"):
                if name in columns:
                    connection.execute(
                        f"DELETE FROM {quote(table)} WHERE {name} IN (SELECT {name} FROM gone)"
                    )
        connection.execute("DELETE FROM clips WHERE clip_id IN (SELECT clip_id FROM gone)")
        connection.execute("DROP TABLE gone")
    remove_unnamed_files(workspace.database)


def delete_diagnosis(workspace: Workspace, student: str, selection: str = "") -> None:
    """Removes what ``usad diagnose`` stored of a student on a selection of clips.

    Args:
        workspace: Where from.
        student: Who was diagnosed.
        selection: As ``diagnosis_runs`` has it; the whole workspace where empty.
    """
    with workspace.database.write() as connection:
        _remove_diagnosis(connection, _tables(connection), student, selection)


def remove_encoder(connection: duckdb.DuckDBPyConnection, encoder: str) -> None:
    """Removes an encoder with its vectors and results, but not what people told of it.

    The view ``embeddings`` has to be made anew afterwards: ``refresh_embeddings_view``.

    Args:
        connection: Within a transaction of the caller.
        encoder: Its name.
    """
    rows = connection.execute("SELECT space_id FROM spaces WHERE encoder = ?", [encoder]).fetchall()
    ids = [space_id for (space_id,) in rows]
    forget_results(connection, encoder)
    for space_id in ids:
        connection.execute(f"DROP TABLE IF EXISTS vectors_{space_id}")
    for table, columns in _tables(connection).items():
        if "space_id" in columns:
            connection.execute(
                f"DELETE FROM {quote(table)} WHERE list_contains(?, space_id)", [ids]
            )
    connection.execute("DELETE FROM encoders WHERE encoder = ?", [encoder])


def forget_results(connection: duckdb.DuckDBPyConnection, encoder: str) -> None:
    """Deletes every row that was computed from the vectors of an encoder.

    Args:
        connection: Within a transaction of the caller.
        encoder: Its name.
    """
    tables = {name: columns for name, columns in _tables(connection).items() if name not in PUT_IN}
    names = [encoder, *_systems_of(connection, encoder)]
    for student, selection in _rows(connection, tables, names, DIAGNOSIS_KEY):
        _remove_diagnosis(connection, tables, student, selection)
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


def refresh_embeddings_view(connection: duckdb.DuckDBPyConnection) -> None:
    """Makes the view ``embeddings`` over the spaces that there are now."""
    spaces = connection.execute(
        "SELECT space_id, encoder, layer, pooling FROM spaces ORDER BY space_id"
    ).fetchall()
    connection.execute(embeddings_view(spaces))


def _remove_diagnosis(
    connection: duckdb.DuckDBPyConnection,
    tables: Mapping[str, Columns],
    student: str,
    selection: str,
) -> None:
    for table in _with_columns(tables, DIAGNOSIS_KEY):
        connection.execute(
            f"DELETE FROM {quote(table)} WHERE student = ? AND selection = ?", [student, selection]
        )


def _remove_vectors(connection: duckdb.DuckDBPyConnection) -> None:
    """Removes the vectors of the segments in ``gone`` from every space."""
    for list_of_spaces in ("spaces", STAGED):
        rows = connection.execute(
            f"SELECT space_id, digest, encoder, layer, pooling FROM {list_of_spaces}"
        ).fetchall()
        for space_id, digest, *space in rows:
            n, of_gone = vector_tables.remove(connection, space_id, "gone")
            if n:
                connection.execute(
                    f"UPDATE {list_of_spaces} SET n = n - ?, digest = ? WHERE space_id = ?",
                    [n, vector_tables.without(digest, of_gone), space_id],
                )
                # An index is of other vectors now and not used; `usad index` takes these out of it.
                # A map keeps its other points; of fewer vectors than are stored it is made again.
                connection.execute(
                    "UPDATE projection_quality SET n = n - ? "
                    "WHERE encoder = ? AND layer = ? AND pooling = ?",
                    [n, *space],
                )


def _tables(connection: duckdb.DuckDBPyConnection) -> dict[str, dict[str, str]]:
    """Tables with the types of their columns; without those of vectors, staged ones and clips."""
    rows = connection.execute(
        "SELECT table_name, column_name, data_type FROM duckdb_columns() "
        "JOIN duckdb_tables() USING (database_name, schema_name, table_name) "
        "WHERE database_name = current_database() AND NOT starts_with(table_name, 'vectors_') "
        "AND table_name NOT IN (?, 'clips')",
        [STAGED],
    ).fetchall()
    tables: dict[str, dict[str, str]] = {}
    for table, column, kind in rows:
        tables.setdefault(table, {})[column] = kind
    return tables


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
    keys: set[tuple[str, ...]] = set()
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
        keys |= set(rows)
    return keys


def _with_columns(tables: Mapping[str, Columns], key: Sequence[str]) -> dict[str, Columns]:
    return {table: columns for table, columns in tables.items() if set(key) <= set(columns)}


def _mentions(columns: Columns) -> str:
    """SQL that is true of a row that has one of ``$names`` in a column of text."""
    conditions = []
    for name, kind in columns.items():
        column = quote(name)
        if kind == "VARCHAR":
            conditions.append(f"list_contains($names, {column})")
        elif kind == "VARCHAR[]":
            conditions.append(f"list_has_any({column}, $names)")
        elif kind.startswith("MAP(VARCHAR"):
            conditions.append(f"list_has_any(map_keys({column}), $names)")
    return " OR ".join(f"coalesce({condition}, false)" for condition in conditions)
