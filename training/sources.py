"""The recordings that are learned from: any mix of manifests and folders."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from usad_workbench.core.audio import AUDIO_SUFFIXES
from usad_workbench.core.errors import ConfigError
from usad_workbench.core.hashing import sha256_of_file
from usad_workbench.core.names import did_you_mean
from usad_workbench.training.recipe import DataRecipe, SourceRecipe

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


def find_recordings(recipe: DataRecipe) -> list[Recording]:
    """The recordings of a recipe's sources, without other domains and excluded content.

    Raises:
        ConfigError: an unusable source, or a clip_id that occurs twice.
    """
    found: dict[str, Recording] = {}
    for at, source in enumerate(recipe.sources):
        for row in read_source(source, at):
            if row.domain not in recipe.domains:
                continue
            first = found.setdefault(row.clip_id, row)
            if first is not row:
                raise ConfigError(
                    f"clip_id {row.clip_id} occurs twice in data.sources: {first.path} and "
                    f"{row.path}. Give each its own, or name folders of different names."
                )
    return _without_excluded(list(found.values()), recipe.exclude)


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
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES)
    if not files:
        raise ConfigError(
            f"data.sources: {folder} is a folder without audio files. Expected files that end "
            f"in {', '.join(sorted(AUDIO_SUFFIXES))}."
        )
    name = folder.resolve().name
    return [
        Recording(
            clip_id=f"{name}/{file.relative_to(folder).as_posix()}",
            path=file,
            domain=source.domain,
            source=at,
        )
        for file in files
    ]


def read_manifest(path: str | Path, domain: str = "", source: int = 0) -> list[Recording]:
    """The rows of a manifest.

    Args:
        path: A CSV; paths in it are relative to its folder.
        domain: Rows that name none have this one, and rows of others are left out; all
            rows where empty.
        source: Position of the manifest among the sources.

    Raises:
        ConfigError: no such file, a column or domain missing, or a clip_id that occurs twice.
    """
    path = Path(path)
    needed = COLUMNS if domain else (*COLUMNS, "domain")
    rows: dict[str, Recording] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or []
            missing = [name for name in needed if name not in columns]
            if missing:
                raise ConfigError(
                    f"{path} has no column {missing[0]}. {did_you_mean(missing[0], columns)}"
                )
            for row in reader:
                name, of_row = row["clip_id"], row.get("domain") or domain
                if name in rows:
                    raise ConfigError(f"{path}: clip_id {name} occurs twice. Give each its own.")
                rows[name] = Recording(
                    clip_id=name, path=path.parent / row["path"], domain=of_row, source=source
                )
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"The manifest {path} cannot be read: {error}. Give a folder of audio, or a CSV "
            f"with the columns {', '.join(needed)}."
        ) from error
    return [row for row in rows.values() if not domain or row.domain == domain]


def _without_excluded(rows: list[Recording], exclude: Sequence[str]) -> list[Recording]:
    paths = [row.path for manifest in exclude for row in read_manifest(manifest)]
    sizes = {size_of(path) for path in paths} - {-1}
    hashes = {hash_of(path) for path in paths}
    # Files of other sizes differ in content, so most need not be read for this.
    return [
        row for row in rows if size_of(row.path) not in sizes or hash_of(row.path) not in hashes
    ]


def size_of(path: Path) -> int:
    """Bytes of a file; -1 where it cannot be looked at, which decoding reports."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def hash_of(path: Path) -> str:
    """The sha256 of a file; empty where it cannot be read, which decoding reports."""
    try:
        return sha256_of_file(path)
    except OSError:
        return ""
