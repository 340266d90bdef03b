"""The file behind a clip, for whoever computes from its audio, plays it or copies it.

A path says where a clip's audio was, the hash of its import what it was. A file that holds other
audio by now is no clip's: vectors of it, or its sound beside the old vectors, would be wrong.

Measured: 0.85 ms for the hash of ten seconds at 44,100 Hz, whose reading takes 5 ms. It is kept
for the life of the process, as long as nothing has touched the file.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from usad_workbench.core.errors import AudioError, UnknownNameError, wrap_errors
from usad_workbench.core.files import sha256_of_file
from usad_workbench.core.storage.workspace import Workspace


def unchanged(file: Path, audio_sha256: object) -> Path:
    """The file, if it still holds what was imported.

    Args:
        file: Of a clip.
        audio_sha256: The hash of its import; of one that is not known nothing can be said.

    Raises:
        AudioError: it holds other audio.
        UsadError: it is gone or cannot be read.
    """
    with wrap_errors(file):
        there = file.stat()
        touched = (there.st_dev, there.st_ino, there.st_size, there.st_mtime_ns, there.st_ctime_ns)
        if isinstance(audio_sha256, str) and _digest(file, touched) != audio_sha256:
            raise AudioError(
                f"{file} has changed since it was imported: it holds other audio than its clip. "
                "Put the audio of then back, or import the new file under another name."
            )
    return file


def file_of_clip(workspace: Workspace, path: str) -> Path:
    """The file of a clip by the path that is stored of it, if it still holds what was imported.

    Raises:
        UnknownNameError: no clip has this path.
        AudioError: it holds other audio.
        UsadError: it is gone or cannot be read.
    """
    stored = workspace.read("SELECT audio_sha256 FROM clips WHERE path = ? LIMIT 1", [path])
    if stored.empty:
        raise UnknownNameError(f"No clip of the workspace has its audio in {path}.")
    return unchanged(workspace.audio_path(path), stored.audio_sha256[0])


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentSource:
    """Where the samples of a segment are."""

    file: Path | None
    """None of a clip that was imported without audio."""
    start_s: float
    end_s: float


def source_of_segment(workspace: Workspace, segment_id: int) -> SegmentSource:
    """The file of a segment, if it still holds what was imported, and the part that it is.

    Raises:
        UnknownNameError: no such segment.
        AudioError: it holds other audio.
        UsadError: it is gone or cannot be read.
    """
    with workspace.database.read() as connection:
        # Two look-ups, the second by the primary key: a join reads every clip.
        segment = connection.execute(
            "SELECT clip_id, start_s, end_s FROM segments WHERE segment_id = ?", [segment_id]
        ).fetchone()
        if segment is None:
            raise UnknownNameError(
                f"The workspace has no segment {segment_id}, or not any more. Choose another."
            )
        clip_id, start_s, end_s = segment
        ((path, audio_sha256),) = connection.execute(
            "SELECT path, audio_sha256 FROM clips WHERE clip_id = ?", [clip_id]
        ).fetchall()
    file = unchanged(workspace.audio_path(path), audio_sha256) if path else None
    return SegmentSource(file=file, start_s=start_s, end_s=end_s)


@lru_cache(maxsize=100_000)
def _digest(file: Path, touched: tuple[int, ...]) -> str:
    """The hash of a file as it was when it was last touched."""
    return sha256_of_file(file)
