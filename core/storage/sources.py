"""Where clips come from: files, folders and manifests."""

import os
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from usad_workbench.core.audio.folders import is_audio_name, walk
from usad_workbench.core.audio.reading import AUDIO_SUFFIXES
from usad_workbench.core.errors import AudioError, ConfigError, as_usad_error
from usad_workbench.core.storage.clip_fields import MEASURED, refuse_collisions
from usad_workbench.core.storage.table_file import Table, read_table

PATH_NAMES = ("path", "file_name", "filename")
"""What manifests call the column with the file, the first that is there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceClip:
    """A file to add, with what is known of it."""

    path: Path
    fields: Mapping[str, str] = field(default_factory=dict)
    """Values of the manifest's row: contract columns and metadata alike."""
    fault: str = ""
    """Why it cannot be added, found before its audio was looked at; empty where nothing was."""


def find_sources(source: str | Path) -> list[SourceClip]:
    """The audio files behind one argument: a file, or every audio file under a folder.

    Links to folders are followed, each folder once. Hidden files and what macOS leaves on
    foreign disks are passed over; a folder that cannot be read is a clip with a fault.

    Raises:
        AudioError: nothing there, or a folder without audio files.
    """
    path = Path(source)
    if path.is_file():
        return [SourceClip(path=path)]
    if not path.is_dir():
        raise AudioError(f"{path} does not exist. Expected an audio file or a folder of them.")
    sources: list[SourceClip] = []
    files = []
    unreadable: list[OSError] = []
    for file in walk(path, unreadable):
        files.append(file)
        if is_audio_name(file):
            sources.append(SourceClip(path=file))
    for error in unreadable:
        where = Path(os.fsdecode(error.filename or path))
        sources.append(SourceClip(path=where, fault=str(as_usad_error(error))))
    if not sources and any(file.suffix == ".arrow" for file in files):
        raise AudioError(
            f"{path} looks like a Hugging Face data set on disk, which cannot be imported yet. "
            "Write its audio to files and import those with a manifest."
        )
    if not sources:
        raise AudioError(
            f"{path} is a folder without audio files. Expected files that end in "
            f"{', '.join(sorted(AUDIO_SUFFIXES))}."
        )
    return sorted(sources, key=lambda source: source.path)


def count_ignored(source: str | Path) -> dict[str, int]:
    """Files of a folder that are not taken for audio, by suffix, most first; hidden ones aside."""
    path = Path(source)
    if not path.is_dir():
        return {}
    counts = Counter(
        file.suffix.lower() or "no suffix" for file in walk(path) if not is_audio_name(file)
    )
    return dict(counts.most_common())


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


def as_on_disk(path: Path) -> Path:
    """The path as the disk spells it: accents may be one character there or two.

    Macs and archives made on them decompose letters, editors compose them; both look alike.
    """
    if not path.exists():
        for form in ("NFC", "NFD"):
            other = Path(unicodedata.normalize(form, str(path)))
            if other.exists():
                return other
    return path
