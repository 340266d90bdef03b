"""The audio of a workspace's segments, read in portions beside the work on the portions before.

A file is opened once for the segments that follow each other and decoded in their order, so that
an hours-long recording is decoded once; each window is resampled once for each rate that is asked
for. Other audio under an old name is an error of that segment and never its audio
(``clip_audio``).
"""

import itertools
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from usad_workbench.core.audio.reading import read_audio, read_parts, resample
from usad_workbench.core.clips import Clip
from usad_workbench.core.errors import UsadError
from usad_workbench.core.storage.clip_audio import unchanged
from usad_workbench.core.storage.importing import Failure

PORTION_S = 240.0
"""Seconds of audio that are read, embedded and handed to the store together."""
PORTION_SEGMENTS = 256
MAX_READERS = 4
"""Threads that decode: one reads 1,400 s of FLAC a second, resampled from 44,100 Hz."""


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
        return f"{self.path} [{self.start_s:.9g} s to {self.end_s:.9g} s]"


ClipOrFailure: TypeAlias = Clip | Failure
AtRates: TypeAlias = Mapping[int, Sequence[ClipOrFailure]]
"""By sample rate: the clip of each segment of a portion, or why it has none."""
_Read: TypeAlias = tuple[list[SegmentAudio], AtRates]


def read_ahead(
    folder: Path, sample_rate_hz: int, segments: Sequence[SegmentAudio]
) -> Iterator[tuple[list[SegmentAudio], Sequence[ClipOrFailure]]]:
    """Portions of segments with their audio at one rate; others are read while the caller works.

    Args:
        folder: Of the workspace.
        sample_rate_hz: What the audio is resampled to.
        segments: Short before long, for portions of clips of similar length; those of a long file
            after each other.

    Yields:
        The segments of a portion and, in the same order, the clip of each or why it has none.
        Portions of different files come in the order in which they are read.
    """
    for portion, audio in read_at_rates(folder, (sample_rate_hz,), segments):
        yield portion, audio[sample_rate_hz]


def read_at_rates(
    folder: Path, rates_hz: Sequence[int], segments: Iterable[SegmentAudio]
) -> Iterator[_Read]:
    """As ``read_ahead``, with the audio at several rates, decoded once.

    Segments are taken as there is room for their audio.
    """
    stretches = (_read_stretch(folder, rates_hz, one) for one in in_stretches(segments))
    n_readers = min(MAX_READERS, os.cpu_count() or 1)
    # One portion of each of as many stretches as there are readers is all that is in memory.
    ahead: deque[tuple[Iterator[_Read], Future[_Read | None]]] = deque()
    with ThreadPoolExecutor(n_readers) as pool:

        def read_on(stretch: Iterator[_Read]) -> None:
            ahead.append((stretch, pool.submit(next, stretch, None)))

        for stretch in itertools.islice(stretches, n_readers):
            read_on(stretch)
        while ahead:
            stretch, job = ahead.popleft()
            found = job.result()
            if found is not None:
                read_on(stretch)
                yield found
            else:
                for following in itertools.islice(stretches, 1):
                    read_on(following)


def in_stretches(
    segments: Iterable[SegmentAudio], longest_s: float = float("inf")
) -> Iterator[list[SegmentAudio]]:
    """Segments in pieces that are read on their own: a portion of short files, or a long file.

    Args:
        segments: In any order; those of one file that follow each other stay together.
        longest_s: Seconds of audio of a long file in one piece.

    >>> short = [SegmentAudio(i, f"{i}.wav", 0.0, 100.0, None) for i in range(3)]
    >>> long = [SegmentAudio(3 + i, "long.wav", 200.0 * i, 200.0 * i + 200, None) for i in range(3)]
    >>> [[s.segment_id for s in stretch] for stretch in in_stretches([*short, *long])]
    [[0, 1], [2], [3, 4, 5]]
    >>> [len(stretch) for stretch in in_stretches(long, longest_s=400.0)]
    [2, 1]
    """
    stretch: list[SegmentAudio] = []
    seconds = 0.0
    for _, run in itertools.groupby(segments, key=lambda segment: segment.path):
        of_file = list(run)
        of_file_s = sum(segment.duration_s for segment in of_file)
        is_long = of_file_s > PORTION_S or len(of_file) > PORTION_SEGMENTS
        is_full = seconds + of_file_s > PORTION_S or len(stretch) + len(of_file) > PORTION_SEGMENTS
        if stretch and (is_long or is_full):
            yield stretch
            stretch, seconds = [], 0.0
        if is_long:
            yield from in_portions(of_file, longest_s, len(of_file))
        else:
            stretch += of_file
            seconds += of_file_s
    if stretch:
        yield stretch


def in_portions(
    segments: Sequence[SegmentAudio],
    portion_s: float = PORTION_S,
    portion_segments: int = PORTION_SEGMENTS,
) -> Iterator[list[SegmentAudio]]:
    """Segments in pieces of at most so many seconds and so many segments, in their order."""
    portion: list[SegmentAudio] = []
    seconds = 0.0
    for segment in segments:
        is_full = seconds + segment.duration_s > portion_s or len(portion) == portion_segments
        if portion and is_full:
            yield portion
            portion, seconds = [], 0.0
        portion.append(segment)
        seconds += segment.duration_s
    if portion:
        yield portion


def _read_stretch(
    folder: Path, rates_hz: Sequence[int], stretch: Sequence[SegmentAudio]
) -> Iterator[_Read]:
    """A stretch in portions, each with its audio."""
    clips = _clips(folder, stretch)
    for portion in in_portions(stretch):
        found = list(itertools.islice(clips, len(portion)))
        yield portion, {rate: [_at(rate, clip) for clip in found] for rate in rates_hz}


def _at(rate_hz: int, clip: ClipOrFailure) -> ClipOrFailure:
    return resample(clip, rate_hz) if isinstance(clip, Clip) else clip


def _clips(folder: Path, stretch: Sequence[SegmentAudio]) -> Iterator[ClipOrFailure]:
    """The audio of segments at their files' rates, each file opened once for those in a row."""
    for path, run in itertools.groupby(stretch, key=lambda segment: segment.path):
        of_file = list(run)
        try:
            files = [unchanged(folder / path, segment.audio_sha256) for segment in of_file]
        except UsadError as error:
            for segment in of_file:
                yield Failure(path=segment.name, reason=str(error))
            continue
        yield from _parts(files[0], of_file)


def _parts(file: Path, segments: Sequence[SegmentAudio]) -> Iterator[ClipOrFailure]:
    """The audio of segments of one file."""
    in_order = all(a.start_s <= b.start_s for a, b in itertools.pairwise(segments))
    if len(segments) > 1 and in_order:
        times = [(segment.start_s, segment.end_s) for segment in segments]
        for segment, found in zip(segments, read_parts(file, times), strict=True):
            yield (
                found if isinstance(found, Clip) else Failure(path=segment.name, reason=str(found))
            )
        return
    for segment in segments:
        try:
            yield read_audio(file, start_s=segment.start_s, end_s=segment.end_s)
        except UsadError as error:
            yield Failure(path=segment.name, reason=str(error))
