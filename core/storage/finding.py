"""What lies behind the words after ``usad import``: files, folders, archives and data sets."""

from dataclasses import dataclass, field
from pathlib import Path

from usad_workbench.core.audio.folders import walk
from usad_workbench.core.storage.archives import Archive, is_archive
from usad_workbench.core.storage.hugging_face import SPLITS, find_dataset
from usad_workbench.core.storage.manifests import read_manifest
from usad_workbench.core.storage.packs import Pack
from usad_workbench.core.storage.sources import (
    SourceClip,
    count_ignored,
    find_sources,
    has_audio_files,
)

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
"""Tables that the Hugging Face layout ``audiofolder`` has beside its files."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What one word named."""

    clips: list[SourceClip] = field(default_factory=list)
    packs: list[Pack] = field(default_factory=list)
    ignored: dict[str, int] = field(default_factory=dict)
    """Files of a folder that are not taken, by suffix."""


def find(source: str | Path) -> Found:
    """The audio files, archives and data sets behind a path.

    A folder with audio files is a folder of files, with the fields of the ``metadata.csv`` or
    ``.jsonl`` that lie in it; one without is a data set or holds archives.

    Raises:
        AudioError: nothing there, or a folder without audio.
        UsadError: tables or data sets that cannot be read.
    """
    path = Path(source)
    if path.is_file() and is_archive(path):
        return Found(packs=[Archive(path)])
    if path.is_file() or (path.is_dir() and not has_audio_files(path)):
        dataset = find_dataset(path)
        archives = [Archive(file) for file in sorted(walk(path)) if is_archive(file)]
        packs: list[Pack] = [*([dataset] if dataset else []), *archives]
        if packs:
            return Found(packs=packs)
    if not path.is_dir():
        return Found(clips=find_sources(path))
    clips = find_sources(path)
    tables = [file for file in sorted(walk(path)) if file.name.lower() in METADATA]
    for table in tables:
        clips += _with_split(read_manifest(table), table.parent.name)
    ignored = count_ignored(path)
    for table in tables:
        ignored[table.suffix.lower()] -= 1
    return Found(clips=clips, ignored={suffix: n for suffix, n in ignored.items() if n})


def _with_split(clips: list[SourceClip], folder: str) -> list[SourceClip]:
    """The clips with the split that their folder is called after."""
    if folder.lower() not in SPLITS:
        return clips
    return [
        SourceClip(path=clip.path, fields={"split": folder, **clip.fields}, fault=clip.fault)
        for clip in clips
    ]
