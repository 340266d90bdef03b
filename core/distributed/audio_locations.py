"""Where workers find the audio of a workspace: the paths of the driver, or a URL in their place."""

import fcntl
import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Self

from usad_workbench.core.errors import ConfigError, UsadError, wrap_errors
from usad_workbench.core.files import remove_abandoned
from usad_workbench.core.storage.segment_audio import SegmentAudio
from usad_workbench.core.storage.vector_parts import file_system, url_is_remote

_PREFIX = "usad-audio-"
_FETCHES = 8
"""Files at a time: most of a small one is waiting."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AudioRoot:
    """A folder of the driver's machine, and where workers find the same files.

    >>> root = AudioRoot.parse("/data/sounds=s3://bucket/sounds")
    >>> root.locate("/data/sounds/dogs/1.wav"), root.locate("/data/soundscapes/1.wav")
    ('s3://bucket/sounds/dogs/1.wav', '/data/soundscapes/1.wav')
    """

    folder: str
    url: str
    """Or another folder, where machines see the files under another path."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """From ``FOLDER=URL``.

        Raises:
            ConfigError: text of another form.
        """
        folder, equals, url = text.partition("=")
        if not (folder and equals and url):
            raise ConfigError(
                f"Found the audio root {text!r}, expected FOLDER=URL: a folder of this machine and "
                "where workers find it, such as /data/sounds=s3://bucket/sounds."
            )
        return cls(folder=str(Path(folder).resolve()), url=url.rstrip("/"))

    def locate(self, path: str) -> str:
        """Where workers find a file; the path itself where it is not below the folder."""
        file = PurePosixPath(path)
        if not file.is_relative_to(self.folder):
            return path
        return f"{self.url}/{file.relative_to(self.folder)}"


class AudioFetcher:
    """Files that lie behind URLs, on this machine while a shard needs them.

    A long recording is many segments, often of two shards one after the other: what the
    shard before had fetched is kept for the next one. What workers that were ended have left
    on a machine is removed by the next one there.
    """

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._here: dict[str, Path | UsadError] = {}
        self._n_fetched = 0

    def local(self, segments: Sequence[SegmentAudio]) -> list[SegmentAudio | UsadError]:
        """The segments with paths of this machine, or why one has none."""
        wanted = {s.path for s in segments if url_is_remote(s.path)}
        for url in self._here.keys() - wanted:
            self._forget(url)
        new = sorted(wanted - self._here.keys())
        targets = [self._target(url) for url in new]
        with ThreadPoolExecutor(_FETCHES) as pool:
            self._here |= zip(new, pool.map(_fetch, new, targets), strict=True)
        found: list[SegmentAudio | UsadError] = []
        for segment in segments:
            here = self._here.get(segment.path, Path(segment.path))
            found.append(here if isinstance(here, UsadError) else replace(segment, path=str(here)))
        return found

    def _target(self, url: str) -> Path:
        if self._folder is None:
            self._folder = _own_folder()
        self._n_fetched += 1
        return self._folder / f"{self._n_fetched}{PurePosixPath(url).suffix}"

    def _forget(self, url: str) -> None:
        here = self._here.pop(url)
        if isinstance(here, Path):
            here.unlink(missing_ok=True)


def _fetch(url: str, target: Path) -> Path | UsadError:
    try:
        with wrap_errors(url):
            files, path = file_system(url)
            files.get_file(path, str(target))
    except UsadError as error:
        return error
    return target


def _own_folder() -> Path:
    """A folder that lasts as long as this process: a lock tells the next one whether it lives."""
    parent = Path(tempfile.gettempdir())
    remove_abandoned(parent, _PREFIX)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    fcntl.flock(os.open(folder, os.O_RDONLY | os.O_CLOEXEC), fcntl.LOCK_EX)
    return folder
