"""Clips that have no audio, for vectors that were made elsewhere."""

from pathlib import Path

from usad_workbench.core.errors import ConfigError
from usad_workbench.core.storage.clip_fields import (
    MEASURED,
    change_clips,
    column_name,
    new_values,
    refuse_collisions,
    stored_clips,
)
from usad_workbench.core.storage.importing import insert_clips
from usad_workbench.core.storage.schema import CLIP_COLUMNS
from usad_workbench.core.storage.table_file import Table, read_table, require_columns
from usad_workbench.core.storage.workspace import Workspace

NEEDED = ("clip_id", "domain", "cluster_id")


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
    table = read_table(manifest)
    require_columns(table, NEEDED)
    refuse_collisions([name for name in table.columns if name not in MEASURED], table.path)
    rows = _rows(table)
    wanted = {name for row in rows for name in row}
    stored = {str(clip["clip_id"]): clip for clip in stored_clips(workspace, wanted)}
    changes = {}
    for row in rows:
        clip = stored.get(row["clip_id"])
        if clip and (new := new_values(clip, row, update)):
            changes[row["clip_id"]] = new
    n_new = insert_clips(
        workspace,
        [
            {"dataset": table.path.stem, "path": "", **row}
            for row in rows
            if row["clip_id"] not in stored
        ],
    )
    change_clips(workspace, changes)
    return n_new


def new_columns(manifest: str | Path) -> set[str]:
    """The columns that clips of a table have.

    Raises:
        ConfigError: no such table.
    """
    return {column_name(name) for name in read_table(manifest).columns if name}


def _rows(table: Table) -> list[dict[str, str]]:
    """The values of each clip by column; what is measured on audio is left out."""
    rows: dict[str, dict[str, str]] = {}
    for row in table.rows:
        empty = [name for name in NEEDED if not row.cells.get(name)]
        if empty:
            raise ConfigError(
                f"Row {row.number} of {table.path} has no {empty[0]}, expected one. Fill it in."
            )
        if row.fault:
            raise ConfigError(f"Row {row.number} of {table.path} cannot be used. {row.fault}")
        clip_id = row.cells["clip_id"]
        if clip_id in rows:
            raise ConfigError(f"{table.path} has the clip {clip_id!r} twice, expected each once.")
        rows[clip_id] = {
            name if name in CLIP_COLUMNS else column_name(name): value
            for name, value in row.cells.items()
            if name not in MEASURED
        }
    return list(rows.values())
