"""From a clip's source to its samples: the one place that knows how each kind of source is opened."""

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np

from usad_workbench.sample_data.audio import decode_bytes, resample
from usad_workbench.sample_data.effects import read_catalogue
from usad_workbench.sample_data.notes import RENDER_RATE_HZ, render_notes
from usad_workbench.sample_data.packages import (
    ARCHIVE_ENDINGS,
    BuildError,
    Package,
    archive_folder,
    unpack_package,
)

NOTE_S = 1.0
NOTE_CLIP_S = 1.25
"""One second of a held note and a quarter second of its release."""
NOTE_RANGE = range(36, 97)
"""MIDI numbers that are rendered per program, C2 to C7."""


class SourceReader:
    """Opens packages once and gives the sound of any source in them."""

    def __init__(self, packages: Mapping[str, Package], work: Path) -> None:
        self._packages = packages
        self._work = work
        self._read_cached = lru_cache(maxsize=2)(self._read)  # cuts of one track come in a row
        self._notes = lru_cache(maxsize=2)(self._render)

    def package(self, name: str) -> Package:
        """The pinned package.

        Raises:
            BuildError: the name is not in the table.
        """
        if name not in self._packages:
            raise BuildError(f"found package '{name}', expected one of {sorted(self._packages)}")
        return self._packages[name]

    def folder(self, name: str) -> Path:
        """Folder of the unpacked package; downloads it when needed."""
        return unpack_package(self.package(name), self._work)

    def read(self, package: str, source_path: str) -> tuple[np.ndarray, int, str]:
        """Samples at 16 kHz, the rate of the source in Hz, and the SHA-256 of its bytes.

        A rendered note has no bytes of its own: its hash is over the package's hash, program and pitch.

        Raises:
            BuildError: the source is missing or not decodable.
        """
        return self._read_cached(package, source_path)

    def _read(self, package: str, source_path: str) -> tuple[np.ndarray, int, str]:
        file, _, part = source_path.partition("#")
        path = self.folder(package) / file
        if path.suffix in ARCHIVE_ENDINGS:
            path, part = archive_folder(path) / part, ""
        if not path.is_file():
            version = self.package(package).version
            raise BuildError(
                f"{package}: found no file {source_path}; expected it in version {version}"
            )
        if path.suffix == ".sf2":
            return self._read_note(package, path, part)
        data = _catalogue(path)[part] if path.suffix == ".cat" else path.read_bytes()
        samples, rate_hz = decode_bytes(data, "entry.wav" if part else path.name)
        return resample(samples, rate_hz), rate_hz, hashlib.sha256(data).hexdigest()

    def _read_note(self, package: str, sound_font: Path, part: str) -> tuple[np.ndarray, int, str]:
        program, pitch = (int(number) for number in part.split(","))
        note = self._notes(sound_font, program)[pitch][: int(NOTE_CLIP_S * RENDER_RATE_HZ)]
        identity = f"{self.package(package).sha256}#{program},{pitch}"
        sha256 = hashlib.sha256(identity.encode()).hexdigest()
        return resample(note, RENDER_RATE_HZ), RENDER_RATE_HZ, sha256

    def _render(self, sound_font: Path, program: int) -> dict[int, np.ndarray]:
        return render_notes(sound_font, program, NOTE_RANGE, NOTE_S, self._work)


@lru_cache(maxsize=1)
def _catalogue(path: Path) -> dict[str, bytes]:
    return {str(entry.number): entry.wav for entry in read_catalogue(path)}
