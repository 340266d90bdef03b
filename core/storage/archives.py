"""Tar archives of audio, plain or compressed, and the convention of WebDataset.

Files with the same stem belong together: ``a/1.flac`` is the sound of which ``a/1.json`` (an
object), ``a/1.txt`` (its text) and ``a/1.cls`` (its label) tell. A stem ends at the last point, or
at the first one, as in WebDataset, where that finds something. The order of the files is free.

Archives come from strangers. Nothing is extracted under a name of theirs, links and devices are
never followed, a sparse file (terabytes that take no place) is refused, and the disk is asked
before each sound (``packs``).
"""

import json
import lzma
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from usad_workbench.core.audio.folders import FOREIGN_FOLDERS, is_audio_name
from usad_workbench.core.errors import AudioError, ConfigError, printable
from usad_workbench.core.storage.clip_fields import refuse_collisions
from usad_workbench.core.storage.packs import Content, PackedSound
from usad_workbench.core.storage.table_file import text_of

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
FIELD_SUFFIXES = frozenset({".json", ".txt", ".cls"})
FIELD_BYTES = 1 << 20
"""The longest file of fields that is read."""
_DAMAGED = (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError)


def is_archive(path: Path) -> bool:
    """Whether a file is taken for an archive, by its name.

    >>> is_archive(Path("shard-000.TAR")), is_archive(Path("a.wav"))
    (True, False)
    """
    return path.name.lower().endswith(SUFFIXES)


class Archive:
    """A tar as a pack."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lower = path.name.lower()
        self.dataset = path.name[: -len(next(s for s in SUFFIXES if lower.endswith(s)))]
        self.left_out: dict[str, int] = Counter()

    def sounds(self) -> Iterator[PackedSound]:
        """Its sounds in their order, read in one pass; what is damaged is the last one."""
        fields: dict[str, dict[str, str]] = {}
        sounds = []
        try:
            with tarfile.open(self.path, "r|*") as archive:
                for member in archive:
                    archive.members = []  # type: ignore[attr-defined]  # else it keeps all headers
                    sound = self._sound(archive, member, fields)
                    if sound is not None:
                        sounds.append(sound)
                        yield sound
        except _DAMAGED as error:
            yield PackedSound(name="", fault=_damaged(self.path, error))
        for sound in sounds:
            sound.fields.update(_fields_of(sound.name, fields))

    def _sound(
        self, archive: tarfile.TarFile, member: tarfile.TarInfo, fields: dict[str, dict[str, str]]
    ) -> PackedSound | None:
        name = PurePosixPath(member.name)
        is_hidden = any(part.startswith(".") and part != ".." for part in name.parts)
        if member.isdir() or is_hidden or FOREIGN_FOLDERS & set(name.parts):
            return None
        is_sound, suffix = is_audio_name(Path(name)), name.suffix.lower()
        if not is_sound and suffix not in FIELD_SUFFIXES:
            self.left_out[suffix or "no suffix"] += 1
            return None
        if not member.isreg() or member.issparse():
            kind = "a link" if member.issym() or member.islnk() else "a sparse file or a device"
            fault = f"It is {kind}, a file was expected. Pack the file itself."
            return PackedSound(name=member.name, fault=fault)
        content = _Member(archive, member, self.path)
        if is_sound:
            return PackedSound(name=member.name, n_bytes=member.size, content=content)
        if member.size > FIELD_BYTES:
            fault = f"It has {member.size:,} bytes, at most {FIELD_BYTES:,} are read as fields."
            return PackedSound(name=member.name, fault=fault)
        try:
            fields.setdefault(str(name.with_suffix("")), {}).update(
                _read_fields(suffix, content.read(FIELD_BYTES))
            )
        except (AudioError, ConfigError, RecursionError, ValueError) as error:
            return PackedSound(name=member.name, fault=f"It cannot be read: {error}")
        return None


class _Member(Content):
    """The bytes of a member."""

    def __init__(self, archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
        self._file, self._path = archive.extractfile(member), path

    def read(self, n_bytes: int, /) -> bytes:
        try:
            return self._file.read(n_bytes) if self._file else b""
        except _DAMAGED as error:
            raise AudioError(_damaged(self._path, error)) from error


def _damaged(path: Path, error: BaseException) -> str:
    return (
        f"{path} is truncated or damaged: {printable(str(error)).rstrip('.')}. What lies before is "
        "taken; copy or download it again for the rest."
    )


def _read_fields(suffix: str, data: bytes) -> dict[str, str]:
    text = data.decode("utf-8-sig").strip()
    if suffix == ".txt":
        return {"text": text}
    if suffix == ".cls":
        return {"label": text}
    given = json.loads(text)
    if not isinstance(given, dict):
        raise AudioError("it holds no object of names and values")
    single = {
        name: text_of(value) for name, value in given.items() if not isinstance(value, (dict, list))
    }
    refuse_collisions(single, "the object")
    return {name: value for name, value in single.items() if value}


def _fields_of(name: str, fields: dict[str, dict[str, str]]) -> dict[str, str]:
    """What is told of a sound: by its stem, else by the part of its name before the first point.

    >>> _fields_of("a/1.seg.flac", {"a/1": {"label": "dog"}, "a/1.other": {"label": "cat"}})
    {'label': 'dog'}
    """
    path = PurePosixPath(name)
    for stem in (path.with_suffix(""), path.with_name(path.name.split(".", 1)[0] or path.name)):
        if str(stem) in fields:
            return fields[str(stem)]
    return {}
