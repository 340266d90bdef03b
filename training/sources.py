"""The recordings that are learned from: any mix of manifests and folders.

A row or a file that cannot be one is kept with its reason, so that it is named with those
that cannot be decoded, and the others are used.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from usad_workbench.core.audio.folders import is_audio_name, walk
from usad_workbench.core.audio.reading import AUDIO_SUFFIXES
from usad_workbench.core.errors import ConfigError, as_usad_error, printable
from usad_workbench.core.files import sha256_of_file
from usad_workbench.core.storage.table_file import Row, read_table, require_columns
from usad_workbench.training.recipe import DataRecipe, SourceRecipe

logger = logging.getLogger(__name__)

COLUMNS = ("clip_id", "path")
"""That a manifest must have; ``domain`` too where its source names none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recording:
    """One row of a manifest, or one file of a folder."""

    clip_id: str
    path: Path
    domain: str
    source: int = 0
    """Position of its source in the recipe."""
    unusable: str = ""
    """Why it is no recording, in words; its path then means nothing."""


def find_recordings(recipe: DataRecipe) -> list[Recording]:
    """The recordings of a recipe's sources, without other domains and excluded content.

    Those that cannot be used come last, each with its reason.

    Raises:
        ConfigError: an unusable source, or a clip_id that occurs twice.
    """
    by_clip: dict[str, Recording] = {}
    unusable: list[Recording] = []
    for at, source in enumerate(recipe.sources):
        for row in read_source(source, at):
            if row.unusable:
                unusable.append(row)
                continue
            if row.domain not in recipe.domains:
                continue
            first = by_clip.setdefault(row.clip_id, row)
            if first is not row:
                raise ConfigError(
                    f"clip_id {row.clip_id} occurs twice in data.sources: {first.path} and "
                    f"{row.path}. Give each its own, or name folders of different names."
                )
    return [*_without_excluded(list(by_clip.values()), recipe.exclude), *unusable]


def read_source(source: SourceRecipe, at: int = 0) -> list[Recording]:
    """The recordings of one source.

    A file of a folder has the clip_id ``FOLDER/PATH/IN/IT``, so that folders of different
    names never collide.

    Raises:
        ConfigError: a folder without audio or domain, or a manifest that cannot be used.
    """
    folder = Path(source.path)
    if not folder.is_dir():
        return read_manifest(folder, source.domain, at)
    if not source.domain:
        raise ConfigError(f"data.sources: the folder {folder} needs a domain. Name its domain.")
    recordings = list(_of_folder(folder, source.domain, at))
    if not recordings:
        raise ConfigError(
            f"data.sources: {folder} is a folder without audio files. Expected files that end "
            f"in {', '.join(sorted(AUDIO_SUFFIXES))}."
        )
    return sorted(recordings, key=lambda row: row.path)


def _of_folder(folder: Path, domain: str, at: int) -> Iterator[Recording]:
    name = folder.resolve().name
    unread: list[OSError] = []

    def recording(path: Path, unusable: str = "") -> Recording:
        clip_id = f"{name}/{path.relative_to(folder).as_posix()}"
        shown = printable(clip_id)
        if shown != clip_id:
            unusable = f"The name {shown} is not UTF-8. Rename it."
        return Recording(clip_id=shown, path=path, domain=domain, source=at, unusable=unusable)

    for path in walk(folder, unread):
        if is_audio_name(path):
            yield recording(path)
    for error in unread:
        yield recording(Path(error.filename), str(as_usad_error(error)))


def read_manifest(path: str | Path, domain: str = "", source: int = 0) -> list[Recording]:
    """The rows of a manifest.

    Args:
        path: A CSV (or Parquet); paths in it are relative to its folder.
        domain: Rows that name none have this one, and rows of others are left out; all
            rows where empty.
        source: Position of the manifest among the sources.

    Raises:
        ConfigError: no such file, a column or domain missing, or a clip_id that occurs twice.
    """
    path = Path(path)
    table = read_table(path)
    require_columns(table, COLUMNS if domain else (*COLUMNS, "domain"))
    rows: dict[str, Recording] = {}
    unusable: list[Recording] = []
    for cells in table.rows:
        row = _of_row(cells, path, domain, source)
        if row.unusable:
            unusable.append(row)
        elif rows.setdefault(row.clip_id, row) is not row:
            raise ConfigError(f"{path}: clip_id {row.clip_id} occurs twice. Give each its own.")
    return [row for row in rows.values() if not domain or row.domain == domain] + unusable


def _of_row(row: Row, path: Path, domain: str, source: int) -> Recording:
    where = f"{path.name}, row {row.number}"
    wanted = {"domain": domain} | {n: row.cells.get(n, "") for n in COLUMNS} | row.cells
    lacking = [name for name in (*COLUMNS, "domain") if not wanted[name]]
    fault = row.fault or (f"It has no {lacking[0]}. Complete it." if lacking else "")
    return Recording(
        clip_id=wanted["clip_id"] or where,
        path=path.parent / wanted["path"],
        domain=wanted["domain"],
        source=source,
        unusable=f"{where}: {fault}" if fault else "",
    )


def _without_excluded(rows: list[Recording], exclude: Sequence[str]) -> list[Recording]:
    excluded = [row for manifest in exclude for row in read_manifest(manifest)]
    # Recordings are told by their content: of one that cannot be read nobody knows which it is.
    contents = ["" if row.unusable else hash_of(row.path) for row in excluded]
    unknown = [row for row, content in zip(excluded, contents, strict=True) if not content]
    if unknown:
        logger.warning(
            "%d of %d recordings of data.exclude cannot be read and so not be excluded, the first "
            "is %s.",
            len(unknown),
            len(excluded),
            unknown[0].clip_id,
        )
    sizes = {size_of(row.path) for row in excluded} - {-1}
    hashes = set(contents) - {""}
    # Files of other sizes differ in content, so most need not be read for this.
    return [
        row for row in rows if size_of(row.path) not in sizes or hash_of(row.path) not in hashes
    ]


def size_of(path: Path) -> int:
    """Bytes of a file; -1 where it cannot be looked at, which decoding reports."""
    try:
        return path.stat().st_size
    except (OSError, ValueError):  # a name that no file system takes
        return -1


def hash_of(path: Path) -> str:
    """The sha256 of a file; empty where it cannot be read, which decoding reports."""
    try:
        return sha256_of_file(path)
    except (OSError, ValueError):
        return ""
