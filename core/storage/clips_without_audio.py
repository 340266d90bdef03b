"""Clips that have no audio, for vectors that were made elsewhere, as columns.

What a table says of a million clips is compared with what is stored by joins. Rows are looked at
one by one only where a stored value may contradict, by the rule that imports of audio have too.

Measured on a Parquet file of 200,000 clips, processor seconds: 0.5 and 127 MB more memory, the same
again 0.3; as dictionaries it was 2.4 and 408 MB, and 3.1. A million: 2.2 and 354 MB, again 1.2.
"""

from collections.abc import Sequence
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from usad_workbench.core.errors import ConfigError
from usad_workbench.core.storage.clip_fields import (
    MEASURED,
    UNKNOWN_DOMAIN,
    column_name,
    domain_of,
    new_values,
    refuse_collisions,
    set_fields,
)
from usad_workbench.core.storage.clip_rows import insert_table
from usad_workbench.core.storage.rows import stored_columns
from usad_workbench.core.storage.schema import CLIP_COLUMNS, literal, quote
from usad_workbench.core.storage.table_file import Table, read_table, require_columns
from usad_workbench.core.storage.workspace import Workspace

NEEDED = ("clip_id", "domain", "cluster_id")
ROW = "row number"
"""A column that no table of clips can have: names of theirs hold no blank."""
BLOCK_ROWS = 1024


def import_clips_without_audio(
    workspace: Workspace, manifest: str | Path, update: bool = False
) -> int:
    """Adds clips that have no audio, from a CSV or Parquet table.

    Clips that are there, with audio or without, get the values that they do not have yet.

    Args:
        workspace: Where to.
        manifest: ``clip_id, domain, cluster_id`` and any others; those that clips do not
            have become columns of their own.
        update: Values replace others that are stored.

    Returns:
        How many were new.

    Raises:
        ConfigError: no such table, a missing column, a clip without id or domain, or a value
            that contradicts a stored one.
    """
    found = _found_clips(manifest)
    with workspace.database.read() as connection:
        fresh, changes = _compared(connection, found, update)
    n_new = insert_table(workspace, _completed(fresh, Path(manifest).stem))
    set_fields(workspace, changes)
    return n_new


def new_columns(manifest: str | Path) -> set[str]:
    """The columns that clips of a table have.

    Raises:
        ConfigError: no such table.
    """
    return {column_name(name) for name in read_table(manifest).columns if name}


def _found_clips(manifest: str | Path) -> pa.Table:
    """The values of each clip by column; what is measured on audio is left out."""
    table = read_table(manifest)
    require_columns(table, NEEDED)
    names = [name for name in table.columns if name not in MEASURED]
    refuse_collisions(names, table.path)
    _refuse_rows(table)
    names = [name for name in names if name]
    columns = [name if name in CLIP_COLUMNS else column_name(name) for name in names]
    return table.cells.select(names).rename_columns(columns)


def _refuse_rows(table: Table) -> None:
    """Raises for the first row that cannot be used, or has the clip of one before it."""
    is_bad = np.zeros(len(table.cells), dtype=np.bool_)
    for name in NEEDED:
        is_bad |= table.cells[name].is_null().to_numpy()
    is_bad[list(table.faults)] = True
    n_good = int(is_bad.argmax()) if is_bad.any() else len(is_bad)
    clip_ids = table.cells["clip_id"].slice(0, n_good)
    if len(pc.unique(clip_ids)) < n_good:
        seen: set[str] = set()
        for clip_id in clip_ids.to_pylist():
            if clip_id in seen:
                raise ConfigError(
                    f"{table.path} has the clip {clip_id!r} twice, expected each once."
                )
            seen.add(clip_id)
    if n_good == len(is_bad):
        return
    row = table.row(n_good)
    empty = [name for name in NEEDED if name not in row.cells]
    if empty:
        raise ConfigError(
            f"Row {row.number} of {table.path} has no {empty[0]}, expected one. Fill it in."
        )
    raise ConfigError(f"Row {row.number} of {table.path} cannot be used. {row.fault}")


def _completed(fresh: pa.Table, dataset: str) -> pa.Table:
    """New clips with what every clip has, without columns in which none has a value."""
    whole = {
        "dataset": pa.repeat(pa.scalar(dataset), len(fresh)),
        "path": pa.repeat(pa.scalar(""), len(fresh)),
    }
    for name, column in zip(fresh.column_names, fresh.columns, strict=True):
        if column.null_count < len(column):
            whole[name] = pc.fill_null(column, dataset) if name == "dataset" else column
    return pa.table(whole)


def _compared(
    connection: duckdb.DuckDBPyConnection, found: pa.Table, update: bool
) -> tuple[pa.Table, pa.Table]:
    """The clips that are not there, and the values that those that are there do not have yet.

    Raises:
        ConfigError: other values are stored, and they are not to be replaced.
    """
    connection.register("found", found.append_column(ROW, pa.array(np.arange(len(found)))))
    rows = connection.execute(
        f"SELECT f.{quote(ROW)} AS row FROM found f SEMI JOIN clips USING (clip_id)"
    ).fetchnumpy()["row"]
    is_new = np.ones(len(found), dtype=np.bool_)
    is_new[rows] = False
    if is_new.all():
        return found, pa.table({"clip_id": pa.array([], pa.string())})
    joined = _Joined(connection, found.column_names)
    if not update:
        joined.refuse_contradictions()
    return found.filter(pa.array(is_new)), joined.changes()


class _Joined:
    """Clips that a table and the workspace have both: ``found`` joined to ``clips``."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, names: Sequence[str]) -> None:
        self._connection = connection
        self._names = names
        stored = stored_columns(connection, "clips")
        self._stored = [name for name in stored if name in CLIP_COLUMNS or name in names]
        pairs = connection.execute(
            "SELECT DISTINCT c.domain, f.domain FROM found f JOIN clips c USING (clip_id) "
            "WHERE c.domain <> f.domain"
        ).fetchall()
        text = pa.string()
        settled = {
            "stored": pa.array([pair[0] for pair in pairs], text),
            "found": pa.array([pair[1] for pair in pairs], text),
            "name": pa.array([domain_of(*pair) for pair in pairs], text),
        }
        connection.register("settled", pa.table(settled))
        self._source = (
            "found f JOIN clips c USING (clip_id) "
            "LEFT JOIN settled s ON s.stored = c.domain AND s.found = f.domain"
        )

    def refuse_contradictions(self) -> None:
        """Raises for the first clip with another value than the stored one.

        Values that an import puts by itself contradict nothing: the clips that may are told by SQL,
        whether they do by ``new_values``.
        """
        by_itself = {"domain": literal(UNKNOWN_DOMAIN), "cluster_id": "c.clip_id"}
        may_clash = [
            f"({self._have(name)} <> {self._found(name)} AND {self._have(name)} "
            f"NOT IN ('', {by_itself.get(name, literal(''))}))"
            for name in self._names
        ]
        columns = [f"c.{quote(name)}" for name in self._stored]
        columns += [f"f.{quote(name)}" for name in self._names]
        rows = self._connection.execute(
            f"SELECT {', '.join(columns)} FROM {self._source} WHERE {' OR '.join(may_clash)} "
            f"ORDER BY f.{quote(ROW)}"
        )
        n_stored = len(self._stored)
        while block := rows.fetchmany(BLOCK_ROWS):
            for row in block:
                clip = dict(zip(self._stored, row[:n_stored], strict=True))
                found = zip(self._names, row[n_stored:], strict=True)
                new_values(clip, {k: v for k, v in found if v is not None}, update=False)

    def changes(self) -> pa.Table:
        """What clips do not have yet, by column; of those alone that lack something."""
        values = {
            name: f"CASE WHEN {self._found(name)} IS DISTINCT FROM {self._have(name)} "
            f"THEN {self._found(name)} END"
            for name in self._names
            if name != "clip_id"
        }
        columns = ", ".join(f"{value} AS {quote(name)}" for name, value in values.items())
        is_any = " OR ".join(f"({value}) IS NOT NULL" for value in values.values())
        changes = self._connection.sql(
            f"SELECT f.clip_id, {columns} FROM {self._source} WHERE {is_any}"
        ).to_arrow_table()
        kept = [name for name in changes.column_names if changes[name].null_count < len(changes)]
        return changes.select(kept)

    def _found(self, name: str) -> str:
        return "coalesce(s.name, f.domain)" if name == "domain" else f"f.{quote(name)}"

    def _have(self, name: str) -> str:
        return f"c.{quote(name)}" if name in self._stored else "NULL::VARCHAR"
