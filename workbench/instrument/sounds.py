"""A segment as sound, as a picture and as a line: exactly the part that was embedded."""

from collections.abc import Callable

import numpy as np

from usad_workbench.core.audio.reading import read_audio
from usad_workbench.core.clips import Clip
from usad_workbench.core.errors import AudioError
from usad_workbench.core.storage.clip_audio import source_of_segment
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.workbench.cache import BoundedCache

MAX_ENTRIES, MAX_BYTES = 512, 256 << 20


class Sounds:
    """Samples of segments and of queries, decoded once while there is room."""

    def __init__(self) -> None:
        self._cache = BoundedCache(max_entries=MAX_ENTRIES, max_bytes=MAX_BYTES)

    def of_segment(self, workspace: Workspace, segment_id: int) -> Clip:
        """The samples of a segment, at the file's own rate.

        Raises:
            UnknownNameError: no such segment.
            AudioError: a clip without audio, or whose file holds other audio by now.
            UsadError: a file that is gone or cannot be read any more.
        """
        source = source_of_segment(workspace, segment_id)
        if source.file is None:
            raise AudioError("This clip was imported without audio: there is nothing to hear.")
        file, stamp = source.file, source.file.stat()
        key = (file, source.start_s, source.end_s, stamp.st_mtime_ns, stamp.st_size)
        read: Callable[[], Clip] = lambda: read_audio(
            file, start_s=source.start_s, end_s=source.end_s
        )
        return self._cache.get(key, read, lambda clip: clip.samples.nbytes)


def peaks(clip: Clip, n: int) -> list[float]:
    """The loudest sample of each of n stretches, beside the loudest of all: 0 to 1."""
    levels = np.abs(clip.samples)
    if not len(levels):
        return []
    n = min(n, len(levels))
    loudest = np.maximum.reduceat(levels, np.arange(n) * len(levels) // n)
    found: list[float] = np.round(loudest / max(float(loudest.max()), 1e-9), 3).tolist()
    return found
