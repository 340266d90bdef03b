"""Shards: the pieces of work that workers take, and what becomes of one whose worker dies.

A worker may die of its machine or of what it works on, and nobody is told which. A shard whose
worker died is given to another one. After the second death it is cut in halves, these after
their first, and so on, until the segment that kills whoever touches it stands alone and is
named. Of 256 segments with one such, eleven workers die and one segment is lost.

Tried and dropped: naming the whole shard after three deaths. It is simpler, and one broken
file costs 255 others their vectors.
"""

import hashlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from usad_workbench.core.errors import WorkerError
from usad_workbench.core.storage.segment_audio import SegmentAudio

SHARD_SEGMENTS = 1024
"""At most so many segments in a shard: 7.9 MB of all layers of whisper-tiny.en."""
SHARD_BYTES = 64 << 20
"""At most so many bytes of vectors, where a segment alone is not more. Shards of 257 MB took the
driver 1.9 GB of memory, those of 64 MB half of it, at the same speed."""
SHARD_S = 10_240.0
"""At most so many seconds of audio; a longer segment is a shard by itself."""
SHARDS_A_WORKER = 4
"""About so many where shards could be larger, so that workers end at about the same time."""
MAX_DEATHS = 2
"""Of workers at one shard, before it is cut or, if it is one segment, given up."""
MAX_DEATHS_IN_A_ROW = 24
"""Of workers without a part made meanwhile, and three times all workers (a lost machine takes
many at once) beside: then it is not the audio."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shard:
    """Segments that one worker embeds at a time."""

    segments: tuple[SegmentAudio, ...]
    n_deaths: int = 0
    """Of workers that had it."""

    def __len__(self) -> int:
        return len(self.segments)

    @property
    def name(self) -> str:
        """Of its part: equal for equal segments of equal audio."""
        rows = [(s.segment_id, s.start_s, s.end_s, s.audio_sha256) for s in self.segments]
        digest = hashlib.sha256(repr(rows).encode()).hexdigest()[:16]
        return f"{self.segments[0].segment_id}-{self.segments[-1].segment_id}-{digest}"


def cut(
    segments: Sequence[SegmentAudio],
    n_workers: int,
    shard_segments: int = SHARD_SEGMENTS,
    segment_bytes: int = 0,
) -> list[Shard]:
    """Segments as shards, in their order.

    Args:
        segments: All that is to be done.
        n_workers: Each is to have several shards.
        shard_segments: At most so many segments in one.
        segment_bytes: Of the vectors of one segment in all layers.

    >>> segments = [SegmentAudio(i, "a.wav", 10.0 * i, 10.0 * i + 10.0, None) for i in range(20)]
    >>> [len(shard) for shard in cut(segments, n_workers=2)]
    [3, 3, 3, 3, 3, 3, 2]
    """
    fair = -(-len(segments) // (SHARDS_A_WORKER * n_workers))
    of_bytes = SHARD_BYTES // max(segment_bytes, 1)
    at_most = max(min(shard_segments, fair, of_bytes), 1)
    shards: list[Shard] = []
    taken: list[SegmentAudio] = []
    seconds = 0.0
    for segment in segments:
        if taken and (len(taken) == at_most or seconds + segment.duration_s > SHARD_S):
            shards.append(Shard(segments=tuple(taken)))
            taken, seconds = [], 0.0
        taken.append(segment)
        seconds += segment.duration_s
    return [*shards, Shard(segments=tuple(taken))] if taken else shards


class ShardQueue:
    """The shards that nobody has in hand.

    Args:
        shards: All of them.
        n_workers: That work at the same time.
    """

    def __init__(self, shards: Sequence[Shard], n_workers: int) -> None:
        self._waiting = deque(shards)
        self._max_deaths_in_a_row = MAX_DEATHS_IN_A_ROW + 3 * n_workers
        self._deaths_in_a_row = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self) -> Shard:
        """The next shard; it is the caller's until ``done`` or ``died``."""
        return self._waiting.popleft()

    def done(self) -> None:
        """Notes that a part of some shard was made."""
        self._deaths_in_a_row = 0

    def put_back(self, shard: Shard) -> None:
        """Takes back a shard that a worker could not do for reasons of its own machine."""
        self._waiting.appendleft(shard)

    def died(self, shard: Shard | None) -> SegmentAudio | None:
        """Notes the death of a worker, and takes back the shard that it had in hand, if any.

        Returns:
            The segment that is given up, if that is what it was.

        Raises:
            WorkerError: workers die one after the other, and none makes a part.
        """
        self._deaths_in_a_row += 1
        if self._deaths_in_a_row > self._max_deaths_in_a_row:
            raise WorkerError(
                f"{self._deaths_in_a_row} workers died one after the other without a part between "
                "them, so it is not one file. Look into Ray's logs for what ends them, such as a "
                "lack of memory (fewer workers: --workers). The same command goes on where it was."
            )
        if shard is None:
            return None
        n_deaths = shard.n_deaths + 1
        if n_deaths < MAX_DEATHS:
            # To the end: if it is the audio, the others are through before its next victim.
            self._waiting.append(Shard(segments=shard.segments, n_deaths=n_deaths))
            return None
        if len(shard) == 1:
            return shard.segments[0]
        middle = len(shard) // 2
        for half in (shard.segments[:middle], shard.segments[middle:]):
            # One that stands alone is given up only for deaths of its own.
            self._waiting.append(Shard(segments=half, n_deaths=int(len(half) > 1)))
        return None
