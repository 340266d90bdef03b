"""The audio of a workspace's segments, read in portions beside the work on the portion before.

Other audio under an old name is an error of that segment and never its audio (``clip_audio``).
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from usad_workbench.core.audio.reading import read_audio
from usad_workbench.core.clips import Clip
from usad_workbench.core.errors import UsadError
from usad_workbench.core.storage.clip_audio import unchanged
from usad_workbench.core.storage.importing import Failure

PORTION_S = 240.0
"""Seconds of audio between two commits; at a real-time factor of 0.03 that is 7 s of work."""
PORTION_SEGMENTS = 256


@dataclass(frozen=True, slots=True)
class SegmentAudio:
    """Where the audio of one segment lies."""

    segment_id: int
    path: str
    """Of the clip's file, relative to the workspace's folder or absolute."""
    start_s: float
    end_s: float
    audio_sha256: str | None
    """Of the file when it was imported; none where that is not known."""

    @property
    def duration_s(self) -> float:
        """Its length in seconds."""
        return self.end_s - self.start_s

    @property
    def name(self) -> str:
        """Path and times, as failures name it."""
        return f"{self.path} [{self.start_s:g} s to {self.end_s:g} s]"


def read_ahead(
    folder: Path, sample_rate_hz: int, segments: Sequence[SegmentAudio]
) -> Iterator[tuple[list[SegmentAudio], list[Clip | Failure]]]:
    """Portions of segments with their audio; the next one is read while the caller works.

    Args:
        folder: Of the workspace.
        sample_rate_hz: What the audio is resampled to.
        segments: In the order in which they come back.

    Yields:
        The segments of a portion and, in the same order, the clip of each or why it has none.
    """

    def read(portion: list[SegmentAudio]) -> list[Clip | Failure]:
        return [_read(folder, segment, sample_rate_hz) for segment in portion]

    portions = list(_portions(segments))
    with ThreadPoolExecutor(max_workers=1) as pool:
        ahead = [pool.submit(read, portion) for portion in portions[:1]]
        for i, portion in enumerate(portions):
            clips = ahead.pop().result()
            if i + 1 < len(portions):
                ahead.append(pool.submit(read, portions[i + 1]))
            yield portion, clips


def _portions(segments: Sequence[SegmentAudio]) -> Iterator[list[SegmentAudio]]:
    portion: list[SegmentAudio] = []
    seconds = 0.0
    for segment in segments:
        is_full = seconds + segment.duration_s > PORTION_S or len(portion) == PORTION_SEGMENTS
        if portion and is_full:
            yield portion
            portion, seconds = [], 0.0
        portion.append(segment)
        seconds += segment.duration_s
    if portion:
        yield portion


def _read(folder: Path, segment: SegmentAudio, sample_rate_hz: int) -> Clip | Failure:
    """The audio of a segment, if its file still holds what was imported."""
    try:
        return read_audio(
            unchanged(folder / segment.path, segment.audio_sha256),
            sample_rate_hz=sample_rate_hz,
            start_s=segment.start_s,
            end_s=segment.end_s,
        )
    except UsadError as error:
        return Failure(path=segment.name, reason=str(error))
