"""The sha256 that weights, audio and index files are known by."""

import hashlib
from pathlib import Path

from usad_workbench.core.errors import AudioError


def sha256_of_file(path: Path) -> str:
    """The sha256 of a file's bytes in hexadecimal, read in blocks: recordings are long."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def refuse_changed(path: Path, audio_sha256: str | None, known: dict[str, str]) -> None:
    """Raises where a file no longer holds the audio that was imported from it.

    Args:
        path: The file.
        audio_sha256: What it held; none where that is not known.
        known: Of the files that were hashed already: each is once.

    Raises:
        AudioError: it holds other audio.
        OSError: it cannot be read.
    """
    if not audio_sha256:
        return
    name = str(path)
    if name not in known:
        known[name] = sha256_of_file(path)
    if known[name] != audio_sha256:
        raise AudioError(
            f"{path} has changed since it was imported: it holds other audio than its clip. Put "
            "the audio of then back, or import the new file under another name."
        )
