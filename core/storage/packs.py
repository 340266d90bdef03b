"""Audio that lies inside other files: what a pack gives, and where it is unpacked.

A pack is an archive or a data set whose audio is no file yet. Each of its sounds becomes a file
below the workspace's folder ``unpacked``, under a name made of its own and the hash of its
content: a command that was killed finds what it has unpacked, and nothing is there twice. A file
takes its name when it is whole. At the end those go that no clip names: sounds that could not be
used, those of a killed import, those of clips that were deleted.

Tried before: importing from memory without files. Every other part of the workbench (player,
embedding, export, check) reads a clip's file, and would have had to know every kind of pack.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from usad_workbench.core.audio.reading import AUDIO_SUFFIXES
from usad_workbench.core.errors import AudioError, FileError, StoreError, printable
from usad_workbench.core.locks import try_lock
from usad_workbench.core.progress import Progress, no_progress
from usad_workbench.core.storage.slugs import readable_slug
from usad_workbench.core.storage.sources import SourceClip
from usad_workbench.core.storage.workspace import Workspace

UNPACKED = "unpacked"
"""The folder of a workspace with audio from packs; all in it is this package's own."""
KEPT_FREE_BYTES = 256 << 20
"""On the disk, for the database."""
_PARTIAL = ".part"
_BLOCK_BYTES = 1 << 20
_MAGIC = {b"RIFF": ".wav", b"fLaC": ".flac", b"OggS": ".ogg", b"ID3": ".mp3", b"FORM": ".aiff"}


class Content(Protocol):
    """What a sound is read from."""

    def read(self, n_bytes: int, /) -> bytes:
        """So many bytes; none at the end."""


@dataclass(kw_only=True, slots=True)
class PackedSound:
    """One sound of a pack."""

    name: str
    """With its suffix, as the pack has it: data, never a path that is written to. Empty for the
    pack itself."""
    n_bytes: int = 0
    content: Content | None = None
    """Until the next one is asked for; none where ``path`` or ``fault`` is given."""
    path: Path | None = None
    """The file, where the pack only names it."""
    fields: dict[str, str] = field(default_factory=dict)
    """What is known of it, complete when the pack was read to its end."""
    fault: str = ""
    """Why it cannot be used."""


class Pack(Protocol):
    """An archive or data set."""

    path: Path
    dataset: str
    left_out: dict[str, int]
    """What was not taken, by suffix or kind; complete when the pack was read to its end."""

    def sounds(self) -> Iterator[PackedSound]:
        """Its sounds, one at a time."""


@contextmanager
def unpacked(
    workspace: Workspace, packs: Sequence[Pack], progress: Progress = no_progress
) -> Iterator[list[SourceClip]]:
    """The sounds of packs as files of the workspace, to be imported within the block.

    Args:
        workspace: Where to.
        packs: Archives and data sets, each once.
        progress: Called after each pack.

    Raises:
        FileError: the disk is too full.
        StoreError: another command is unpacking into this workspace.
    """
    if not packs:
        yield []
        return
    folder = workspace.folder / UNPACKED
    folder.mkdir(exist_ok=True)
    with _alone(folder):
        try:
            clips: list[SourceClip] = []
            for done, pack in enumerate(packs, start=1):
                clips += _unpack(pack, folder)
                progress(done, len(packs), f"unpack {printable(pack.path.name)}")
            yield clips
        finally:
            for path in unnamed_files(workspace):
                path.unlink(missing_ok=True)
            _remove_empty(folder)


def unnamed_files(workspace: Workspace) -> list[Path]:
    """Unpacked files that no clip names, by name."""
    folder = workspace.folder / UNPACKED
    if not folder.is_dir():
        return []
    real = folder.resolve()  # it may be a link to another disk: clips have the paths there
    paths = workspace.read(
        "SELECT path FROM clips WHERE starts_with(path, ?) OR starts_with(path, ?)",
        [f"{UNPACKED}/", f"{real}/"],
    )
    named = {real / path.removeprefix(f"{UNPACKED}/") for path in paths.path}
    files = (path for path in real.rglob("*") if path.is_file() and path not in named)
    return sorted(folder / path.relative_to(real) for path in files)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Holds the folder for this process; nobody else then takes a file for left over."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        is_alone = True
        with suppress(OSError):  # a file system without locks
            is_alone = try_lock(descriptor)
        if not is_alone:
            raise StoreError(
                f"Another command is unpacking audio into {folder}. Wait for its end and run "
                "this one again."
            )
        yield
    finally:
        os.close(descriptor)


def _unpack(pack: Pack, folder: Path) -> Iterator[SourceClip]:
    where = folder / (readable_slug(pack.dataset) or "data")
    where.mkdir(exist_ok=True)
    found: list[tuple[PackedSound, Path, str]] = []
    taken: set[Path] = set()
    for sound in pack.sounds():
        path, fault = sound.path or pack.path / printable(sound.name), sound.fault
        if sound.content is not None:
            try:
                path = _place(sound, pack.path, where, taken)
                taken.add(path)
            except AudioError as error:
                fault = str(error)
        found.append((sound, path, fault))
    if not found:
        fault = "It holds no sounds. Expected an archive or data set with audio; name another."
        yield SourceClip(path=pack.path, fault=fault)
    for sound, path, fault in found:
        yield SourceClip(
            path=path,
            fields={"dataset": pack.dataset, **sound.fields},
            fault=fault,
            shown="" if sound.path else _shown(pack, sound),
        )


def _shown(pack: Pack, sound: PackedSound) -> str:
    """How failures name a sound; what has no name is said of the pack."""
    return f"{pack.path}: {printable(sound.name)}" if sound.name else str(pack.path)


def _place(sound: PackedSound, pack: Path, where: Path, taken: set[Path]) -> Path:
    """Writes a sound to a file that is named after it and its content."""
    free = shutil.disk_usage(where).free
    if sound.n_bytes + KEPT_FREE_BYTES > free:
        raise FileError(
            f"{pack}: {printable(sound.name)} has {sound.n_bytes / 1e6:,.0f} MB, on the disk of "
            f"{where} {free / 1e6:,.0f} MB are free, of which {KEPT_FREE_BYTES / 1e6:,.0f} are "
            "kept. Free some space and run the same command again."
        )
    partial = where.parent / _PARTIAL
    digest, first = hashlib.sha256(), b""
    with partial.open("wb") as file:
        while block := sound.content.read(_BLOCK_BYTES) if sound.content else b"":
            first = first or block[:4]
            digest.update(block)
            file.write(block)
    name = Path(sound.name)
    suffix = name.suffix.lower()
    if suffix not in AUDIO_SUFFIXES:
        suffix = next((s for magic, s in _MAGIC.items() if first.startswith(magic)), ".audio")
    start = f"{readable_slug(str(name.with_suffix(''))) or 'clip'}-{digest.hexdigest()[:8]}"
    path, number = where / f"{start}{suffix}", 1
    while path in taken:  # the same sound under the same name again: a clip of its own
        number += 1
        path = where / f"{start}-{number}{suffix}"
    if path.is_file() and path.stat().st_size == partial.stat().st_size:
        partial.unlink()
    else:
        os.replace(partial, path)
    return path


def _remove_empty(folder: Path) -> None:
    for path in [*folder.iterdir(), folder]:
        if path.is_dir():
            with suppress(OSError):  # not empty
                path.rmdir()
