"""Manifests: tables whose rows name audio files and what is known of them."""

from pathlib import Path

from usad_workbench.core.errors import ConfigError
from usad_workbench.core.storage.clip_fields import MEASURED, refuse_collisions
from usad_workbench.core.storage.sources import SourceClip
from usad_workbench.core.storage.table_file import Table, read_table

PATH_NAMES = ("path", "file_name", "filename")
"""What manifests call the column with the file, the first that is there."""


def read_manifest(manifest: str | Path) -> list[SourceClip]:
    """The rows of a table with a column ``path`` (or ``file_name``), relative to the table.

    A row without a path, or with cells beyond the header, is a clip with a fault.

    Raises:
        ConfigError: no such file, no column with the files, or two columns of one name.
    """
    manifest = Path(manifest)
    if not manifest.is_file():
        raise ConfigError(f"{manifest} does not exist. Expected a CSV with a column 'path'.")
    table = read_table(manifest)
    column = _path_column(table)
    # A table that was exported twice: what was measured now yields to what its manifest said.
    measured = {name for name in MEASURED - {column} if f"meta_{name}" in table.columns}
    refuse_collisions(
        [name for name in table.columns if name != column and name not in measured], manifest
    )
    clips = []
    for row in table.rows:
        fields = {name: cell for name, cell in row.cells.items() if name not in measured}
        path = fields.pop(column, "")
        fault = row.fault or ("" if path else f"It has no {column}. Fill it in or remove the row.")
        if fault:
            where = Path(f"{manifest}, row {row.number}")
            clips.append(SourceClip(path=where, fault=fault))
        else:
            clips.append(SourceClip(path=manifest.parent / path, fields=fields))
    return clips


def _path_column(table: Table) -> str:
    by_name = {name.lower(): name for name in reversed(table.columns)}
    for name in PATH_NAMES:
        if name in by_name:
            return by_name[name]
    raise ConfigError(
        f"{table.path} has the columns {', '.join(table.columns) or 'none'}, expected 'path' among "
        "them: the file of each row, relative to this table. Add or rename it."
    )
