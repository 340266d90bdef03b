"""A window of an AAC or Apple Lossless file in an MP4, without what lies before it.

A frame of AAC is heard together with the one before, so decoding begins some frames before the
window. That alone is not enough: noise substitution draws from a generator that runs on since the
first frame of the file, and prediction looks far back. So the frames are decoded twice by one
decoder, which comes to the second pass from another place: where both give the same bits, what
lay before has no part in them, and the window is that of the whole file. Where they do not,
nothing is given, and the file is decoded whole.

Measured on 200 windows of 2 s in five files of FFmpeg's AAC encoder: both passes agreed in 178, all
of them equal to the whole file bit for bit; the other 22 differed from it, 21 of them in the two
files with noise substitution, one in the file with long-term prediction. Tried before: one pass,
which gave other samples in up to a quarter of the windows with noise, whatever the lead; Opus and
AC-3, of which no window was equal; Matroska, whose times are rounded to a millisecond.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from types import ModuleType
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from usad_workbench.core.audio.ffmpeg import FORMATS, import_av

LEAD_SAMPLES = 4 * 1024
"""Decoded before a window; one frame would do."""
LOST_S = 0.2
"""So much less than promised may be there, as where a file is decoded whole."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameTimes:
    """When the frames of a file sound, where that is known to the sample."""

    sample_rate_hz: int
    n_channels: int
    first_time: int
    """Of the first sample that is heard, in samples."""
    n_samples: int
    """Up to the last frame, which may be cut."""


def frame_times(source: BinaryIO) -> FrameTimes | None:
    """What the index of an MP4 says of its frames; none where windows of it cannot be sought.

    Reads the file without decoding more than its first frame.
    """
    av = import_av()
    try:
        with _opened(av, source) as container:
            stream = container.streams.audio[0]
            codec = stream.codec_context
            is_known = codec.name == "alac" or (codec.name == "aac" and codec.profile == "LC")
            if not container.format.name.startswith("mov") or not is_known:
                return None
            first = next(container.decode(stream))
            if stream.time_base != Fraction(1, first.sample_rate):
                return None
            container.seek(first.pts, stream=stream, backward=True)
            following, last = first.pts, first.pts
            for packet in container.demux(stream):
                if packet.pts is None or packet.pts < first.pts:
                    continue
                if packet.pts != following or packet.is_discard:
                    return None
                last, following = following, packet.pts + packet.duration
    except (av.error.FFmpegError, StopIteration, IndexError):
        return None  # decoding it whole says what is wrong
    if (stream.duration or 0) - following > LOST_S * first.sample_rate:
        return None
    return FrameTimes(
        sample_rate_hz=first.sample_rate,
        n_channels=first.layout.nb_channels,
        first_time=first.pts,
        n_samples=last - first.pts,
    )


def window(
    source: BinaryIO, times: FrameTimes, first: int, n_samples: int
) -> npt.NDArray[np.float32] | None:
    """Samples from ``first`` on, [sample, channel], as the whole file has them; none where unsure.

    Args:
        source: The file.
        times: Of its frames.
        first: Of the samples of the whole file.
        n_samples: All of them before ``times.n_samples``.
    """
    av = import_av()
    try:
        with _opened(av, source) as container:
            stream = container.streams.audio[0]
            begin = times.first_time + first
            is_first = first <= LEAD_SAMPLES
            if not is_first:
                container.seek(begin - LEAD_SAMPLES, stream=stream, backward=True)
            packets = list(_until(container, stream, begin + n_samples))
            # From the first packet on a pass is what decoding the whole file begins with.
            n_passes = 1 if is_first else 2
            passes = [_decoded(av, packets, begin, n_samples) for _ in range(n_passes)]
    except av.error.FFmpegError:
        return None
    is_sure = len(passes[0]) == n_samples and np.array_equal(passes[0], passes[-1])
    return passes[0] if is_sure else None


def _until(container: Any, stream: Any, end: int) -> Iterator[Any]:
    for packet in container.demux(stream):
        if packet.pts is None:
            return
        yield packet
        if packet.pts >= end:
            return


def _decoded(
    av: ModuleType, packets: list[Any], begin: int, n_samples: int
) -> npt.NDArray[np.float32]:
    """The window of what packets decode to; fewer samples where one is missing."""
    to_float = av.AudioResampler(format="flt")
    blocks, following = [], None
    for packet in packets:
        for frame in packet.decode():
            start = frame.pts
            if following is not None and start != following:
                blocks.clear()  # the last of the pass before, or a gap: what follows decides
            following = start + frame.samples
            for part in to_float.resample(frame):
                block = part.to_ndarray().reshape(-1, frame.layout.nb_channels)
                blocks.append(block[max(begin - start, 0) : max(begin + n_samples - start, 0)])
    found = np.concatenate(blocks) if blocks else np.empty((0, 1), dtype=np.float32)
    return found[:n_samples]


def _opened(av: ModuleType, source: BinaryIO) -> Any:
    source.seek(0)
    return av.open(source, "r", options={"format_whitelist": FORMATS}, metadata_errors="ignore")
