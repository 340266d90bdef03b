"""Where clips come from: files, folders and manifests."""

import os
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from usad_workbench.core.audio.folders import is_audio_name, walk
from usad_workbench.core.audio.reading import AUDIO_SUFFIXES
from usad_workbench.core.errors import AudioError, as_usad_error, printable


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceClip:
    """A file to add, with what is known of it."""

    path: Path
    fields: Mapping[str, str] = field(default_factory=dict)
    """Values of the manifest's row: contract columns and metadata alike."""
    fault: str = ""
    """Why it cannot be added, found before its audio was looked at; empty where nothing was."""
    shown: str = ""
    """How failures name it where that is not its path: what it was unpacked from."""

    @property
    def name(self) -> str:
        """How failures name it."""
        return printable(self.shown or str(self.path))


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
    unreadable: list[OSError] = []
    for file in walk(path, unreadable):
        if is_audio_name(file):
            sources.append(SourceClip(path=file))
    for error in unreadable:
        where = Path(os.fsdecode(error.filename or path))
        sources.append(SourceClip(path=where, fault=str(as_usad_error(error))))
    if not sources:
        raise AudioError(
            f"{path} is a folder without audio files. Expected files that end in "
            f"{', '.join(sorted(AUDIO_SUFFIXES))}."
        )
    return sorted(sources, key=lambda source: source.path)


def has_audio_files(folder: Path) -> bool:
    """Whether a folder has a file that is taken for audio."""
    return any(is_audio_name(file) for file in walk(folder))


def count_ignored(source: str | Path) -> dict[str, int]:
    """Files of a folder that are not taken for audio, by suffix, most first; hidden ones aside."""
    path = Path(source)
    if not path.is_dir():
        return {}
    counts = Counter(
        file.suffix.lower() or "no suffix" for file in walk(path) if not is_audio_name(file)
    )
    return dict(counts.most_common())


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


def label_folders(clips: Sequence[SourceClip]) -> list[str]:
    """The names of the folders that could be labels: several, of clips that have none.

    >>> clips = [SourceClip(path=Path(name)) for name in ("s/dog/1.wav", "s/cat/1.wav")]
    >>> label_folders(clips), label_folders(clips[:1])
    (['cat', 'dog'], [])
    """
    labelled = _labelled(clips)
    names = {clip.path.absolute().parent.name for clip in clips if clip.path not in labelled}
    return sorted(names) if len(names) > 1 else []


def labelled_by_folder(clips: Sequence[SourceClip]) -> list[SourceClip]:
    """The clips, with their folder's name as label where nothing else says one.

    >>> [clip.fields for clip in labelled_by_folder([SourceClip(path=Path("s/dog/1.wav"))])]
    [{'label': 'dog'}]
    """
    labelled = _labelled(clips)
    return [
        clip
        if clip.path in labelled
        else replace(clip, fields={**clip.fields, "label": clip.path.absolute().parent.name})
        for clip in clips
    ]


def _labelled(clips: Sequence[SourceClip]) -> set[Path]:
    """The files that have a label: a table beside them may say it apart from the file itself."""
    return {clip.path for clip in clips if clip.fields.get("label")}
