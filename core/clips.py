"""Clips: what an encoder is given.

A ``Clip`` is mono float32 samples in [-1, 1] with their rate. A ``ClipBatch`` is
several of them, padded with zeros at the end, with the number of valid samples
of each: padding is never mistaken for audio.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from usad_workbench.core.errors import AudioError, ShapeError

Samples = npt.NDArray[np.float32]

SPEECH, SOUND, MUSIC = "speech", "sound", "music"
TEACHER_DOMAINS = (SPEECH, SOUND, MUSIC)
"""The domains that have a teacher; any other name is an unseen domain."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Clip:
    """Mono audio with its rate and where it came from."""

    samples: Samples
    """Float32 in [-1, 1], shape [sample]."""
    sample_rate_hz: int
    path: str = ""
    """Where it was read from; empty for audio that has no file."""
    start_s: float = 0.0
    """Where in that file the first sample lies."""

    def __post_init__(self) -> None:
        if self.samples.ndim != 1 or self.samples.dtype != np.float32:
            raise ShapeError(
                f"A clip needs one axis of float32 samples, found {self.samples.ndim} axes of "
                f"{self.samples.dtype}. Mix down to mono and convert first (read_audio does both)."
            )
        if self.sample_rate_hz <= 0:
            raise AudioError(
                f"A clip needs a sample rate above 0 Hz, found {self.sample_rate_hz}. Give its own."
            )

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.sample_rate_hz

    def cut(self, start_s: float, end_s: float) -> "Clip":
        """The part between two times in seconds, rounded to whole samples.

        >>> Clip(samples=np.ones(100, np.float32), sample_rate_hz=10).cut(2.0, 5.0).duration_s
        3.0
        """
        first, last = (round(t * self.sample_rate_hz) for t in (start_s, end_s))
        return replace(self, samples=self.samples[first:last], start_s=self.start_s + start_s)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ClipBatch:
    """Clips of one sample rate, zero-padded to the longest."""

    samples: Samples
    """Shape [clip, sample]."""
    n_valid: npt.NDArray[np.int64]
    """Valid samples per clip, shape [clip]."""
    sample_rate_hz: int

    def __len__(self) -> int:
        return len(self.samples)

    @staticmethod
    def from_clips(clips: Sequence[Clip]) -> "ClipBatch":
        """Pads clips to a batch.

        Raises:
            AudioError: no clip, an empty one, or clips of different rates.

        >>> one = Clip(samples=np.ones(2, np.float32), sample_rate_hz=8)
        >>> two = Clip(samples=np.ones(3, np.float32), sample_rate_hz=8)
        >>> ClipBatch.from_clips([one, two]).samples.tolist()
        [[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]]
        """
        rates = {clip.sample_rate_hz for clip in clips}
        if len(rates) != 1:
            raise AudioError(
                f"A batch needs clips of one sample rate, found {sorted(rates) or 'no clip'}. "
                "Resample them first."
            )
        n_valid = np.array([len(clip.samples) for clip in clips], dtype=np.int64)
        if n_valid.min() == 0:
            raise AudioError("A batch needs clips with samples, found an empty one. Leave it out.")
        samples = np.zeros((len(clips), int(n_valid.max())), dtype=np.float32)
        for row, clip in zip(samples, clips, strict=True):
            row[: len(clip.samples)] = clip.samples
        return ClipBatch(samples=samples, n_valid=n_valid, sample_rate_hz=rates.pop())
