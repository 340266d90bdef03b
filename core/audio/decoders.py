"""Which decoder reads a file to its end, and its samples from there.

libsndfile reads what it reads to its end. What it does not open, or would stop in early, goes to
FFmpeg (``audio.ffmpeg``); without that package it is named as a loss. Whether libsndfile stops
early is told by the container, not by the decoder: frames of an MP3, a second stream.

A window has the samples that the whole file has. Measured with libsndfile 1.2.2: seeking right to
it gave other ones in every window of an MP3 (up to 3,000 samples of silence or noise) and in the
last page of Vorbis (some samples beside), so decoding begins before it: 0.3 ms more a window of
an MP3, 0.1 ms of Vorbis, 3 ms in its last seconds.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO, Protocol

import numpy as np
import numpy.typing as npt

from usad_workbench.core.audio.ffmpeg import (
    DELAY_SAMPLES,
    DecodedFile,
    SoundStream,
    decode,
    decoding,
    is_installed,
    no_audio,
)
from usad_workbench.core.audio.mpeg_frames import count_frames
from usad_workbench.core.audio.seeking import FrameTimes, frame_times, window
from usad_workbench.core.audio.truncation import second_stream, truncation_reason
from usad_workbench.core.errors import AudioError, MissingExtraError

AudioSource = str | Path | BinaryIO

MAX_CHANNELS = 64
"""More than this is taken for a damaged header."""
UNKNOWN_LENGTH = 1 << 48
"""Samples from here on stand for a length that the header leaves open."""
MPEG_LEAD_SAMPLES = 16_384
"""Decoded before a window of an MP3: its frames rest on bits of up to nine frames before."""
OGG_LEAD_SAMPLES = 8_192
"""Decoded before a window of Vorbis or Opus: its largest block."""
OGG_PAGE_SAMPLES = 255 * 1_024
"""The longest last page of Vorbis, in which libsndfile 1.2.2 would land some samples beside."""
SKIPPED_SAMPLES = 1 << 16
"""At once, on the way to a window."""
MAX_DECODED_FILES = 4
"""That are kept on disk for their next windows."""
MAX_KNOWN_FILES = 4096
"""Whose decoder is remembered."""


class Sound(Protocol):
    """An open file of sound."""

    sample_rate_hz: int
    n_channels: int
    n_samples: int
    """As the header promises."""
    is_estimated: bool
    """Whether that is an estimate only."""
    decoder: str
    """Whose samples these are."""

    def read(self, first: int, n_samples: int) -> npt.NDArray[np.float32]:
        """Samples from ``first`` on, shape [sample, channel]; fewer at the end."""


class _Sndfile:
    """A file that libsndfile reads."""

    decoder = "libsndfile"

    def __init__(self, file: Any) -> None:
        self._file = file
        self._place = 0
        self.sample_rate_hz: int = file.samplerate
        self.n_channels: int = file.channels
        self.n_samples: int = file.frames
        self.is_estimated = _is_mpeg(file)

    def read(self, first: int, n_samples: int) -> npt.NDArray[np.float32]:
        if first != self._place:
            self._go_to(first)
        found: npt.NDArray[np.float32] = self._file.read(n_samples, dtype="float32", always_2d=True)
        self._place += len(found)
        return found

    def _go_to(self, first: int) -> None:
        landing = self._landing(first)
        if not landing <= self._place < first:
            self._file.seek(0)  # of a short jump forward Vorbis comes out wrong
            self._file.seek(landing)
            self._place = landing
        while self._place < first:
            n_samples = min(first - self._place, SKIPPED_SAMPLES)
            n_read = len(self._file.read(n_samples, dtype="float32", always_2d=True))
            self._place += n_read
            if n_read < n_samples:
                return

    def _landing(self, first: int) -> int:
        """Where to seek so that from ``first`` on the samples are those of the whole file."""
        if self.is_estimated:
            return max(first - MPEG_LEAD_SAMPLES, 0)
        if self._file.format == "OGG":
            return max(min(first - OGG_LEAD_SAMPLES, self.n_samples - OGG_PAGE_SAMPLES), 0)
        return first


@cache
def _straight() -> Any:
    """The class of files that are read on from where they are.

    ``SoundFile.read`` seeks to the place behind what it has read. That is where libsndfile is
    already, and of an MP3 it makes silence and errors of thousands of samples.
    """

    class Straight(_soundfile().SoundFile):  # type: ignore[misc]
        def seekable(self) -> bool:
            return False

    return Straight


class _Decoded:
    """A file that FFmpeg has decoded whole."""

    is_estimated = False
    decoder = "FFmpeg"

    def __init__(self, file: DecodedFile) -> None:
        self.sample_rate_hz, self.n_channels = file.sample_rate_hz, file.n_channels
        self.n_samples = file.n_samples
        self.read = file.read


class _Sought:
    """A file of which FFmpeg decodes only what is read, where that is what the whole file has."""

    is_estimated = False
    decoder = "FFmpeg"

    def __init__(self, path: str | Path, times: FrameTimes) -> None:
        self._path, self._times = path, times
        self.sample_rate_hz, self.n_channels = times.sample_rate_hz, times.n_channels
        self.n_samples = times.n_samples

    def read(self, first: int, n_samples: int) -> npt.NDArray[np.float32]:
        identity = _identity(self._path)
        if _frame_times.get(identity) is not None:
            with open(self._path, "rb") as file:
                found = window(file, self._times, first, n_samples)
            if found is not None:
                return found
            _frame_times[identity] = None  # its next windows come from the whole file at once
        return _decoded(self._path).read(first, n_samples)


class _InOrder:
    """A file that FFmpeg decodes while it is read, from its first sample on and never back."""

    n_samples = UNKNOWN_LENGTH
    is_estimated = True
    decoder = "FFmpeg"

    def __init__(self, stream: SoundStream) -> None:
        self._blocks = stream.blocks()
        self._rest = next(self._blocks, np.empty((0, 1), dtype=np.float32))
        self._place = 0
        """Of the first sample of the rest."""
        self._error: AudioError | None = None
        self.sample_rate_hz, self.n_channels = stream.sample_rate_hz, stream.n_channels

    def read(self, first: int, n_samples: int) -> npt.NDArray[np.float32]:
        parts = []
        last = first + n_samples
        while len(self._rest):
            parts.append(self._rest[max(first - self._place, 0) : last - self._place])
            if last <= self._place + len(self._rest):
                break
            self._go_on()
        return np.concatenate(parts) if parts else self._rest

    def _go_on(self) -> None:
        if self._error is not None:  # what is behind it cannot be read either
            raise self._error
        try:
            following = next(self._blocks, self._rest[:0])
        except AudioError as error:
            self._error = error
            raise
        self._place += len(self._rest)
        self._rest = following


@contextmanager
def opened(
    source: AudioSource, *, in_order: bool = False, end_s: float | None = None
) -> Iterator[Sound]:
    """A file of sound, by the decoder that reads it to its end.

    Args:
        source: A path or an open binary file.
        in_order: Each read begins where the one before ended, or behind it. Then nothing has to
            be decoded beforehand, and the length may not be known.
        end_s: Nothing behind this time is read. Then what lies before the first read may not have
            to be decoded either.

    Raises:
        AudioError: no audio, damaged, or longer than any decoder here reads.
    """
    try:
        file, why = _by_libsndfile(source)
        if file is not None:
            with file:
                if not 1 <= file.channels <= MAX_CHANNELS:
                    raise no_audio(
                        name_of(source),
                        f"its header names {file.channels} channels, at most {MAX_CHANNELS} are "
                        "read",
                    )
                yield _Sndfile(file)
            return
    except _soundfile().LibsndfileError as error:
        raise AudioError(
            f"{name_of(source)} is damaged: it could not be decoded to its end (libsndfile says "
            f"{_reason(error).rstrip('. ')!r}). Export the file again."
        ) from error
    _refuse_without_ffmpeg(source, why)
    if in_order:
        with as_bytes(source) as bytes_, decoding(bytes_, name_of(source)) as stream:
            yield _InOrder(stream)
    elif sought := _sought(source, end_s):
        yield sought
    else:
        yield _Decoded(_decoded(source))


def name_of(source: AudioSource) -> str:
    """How messages name a source."""
    return str(source) if isinstance(source, (str, Path)) else "the given audio"


def argument(source: AudioSource) -> str | BinaryIO:
    """The source as libraries take it; an open file from its beginning."""
    if isinstance(source, (str, Path)):
        return str(source)
    source.seek(0)
    return source


@contextmanager
def as_bytes(source: AudioSource) -> Iterator[BinaryIO]:
    """The bytes of a source; an open file is left at the place where it was."""
    if isinstance(source, (str, Path)):
        with open(source, "rb") as file:
            yield file
        return
    offset = source.tell()
    try:
        yield source
    finally:
        source.seek(offset)


def refuse_truncated(source: AudioSource) -> None:
    """Raises where the container shows that the end of the file is missing."""
    with as_bytes(source) as file:
        why = truncation_reason(file)
    if why:
        raise AudioError(
            f"{name_of(source)} is truncated or damaged: {why}. Export the file again."
        )


Identity = tuple[str, int, int]


def _identity(path: str | Path) -> Identity:
    """A file as it is now: another content has another time or size."""
    state = os.stat(path)
    return str(path), state.st_mtime_ns, state.st_size


_reasons: dict[Identity, str] = {}
"""Why libsndfile does not read a file to its end; empty where it does."""


def _by_libsndfile(source: AudioSource) -> tuple[Any, str]:
    """The file as libsndfile has opened it, or none and why it does not read it to its end.

    Opened once also where it is looked at for the first time: of a short Ogg file that is as much
    work as decoding it.
    """
    identity = _identity(source) if isinstance(source, (str, Path)) else None
    known = _reasons.get(identity) if identity is not None else None
    if known:
        return None, known
    offset = 0 if known is not None else _second_stream(source)
    try:
        file = _straight()(argument(source))
    except _soundfile().LibsndfileError as error:
        if known is not None:
            raise
        file, why = None, _reason(error).rstrip(". ")
    else:
        why = known if known is not None else _stops_early(source, file, offset)
    if identity is not None:
        if len(_reasons) >= MAX_KNOWN_FILES:
            _reasons.clear()
        _reasons[identity] = why
    if why and file is not None:
        file.close()
        file = None
    return file, why


def _second_stream(source: AudioSource) -> int:
    """The byte at which another stream of the same recording begins; 0 where none does."""
    with as_bytes(source) as bytes_:
        offset, is_chain = second_stream(bytes_)
    if offset and not is_chain:
        raise AudioError(
            f"{name_of(source)} holds another file from byte {offset:,} on. Expected one recording "
            "a file: cut it there."
        )
    return offset


def _stops_early(source: AudioSource, file: Any, offset: int) -> str:
    """Why libsndfile ends before a file that it has opened does; empty where it does not."""
    if not 0 <= file.frames < UNKNOWN_LENGTH:
        return "its header leaves the length open"
    if _is_mpeg(file) and file.format != "WAV":
        with as_bytes(source) as bytes_:
            held = count_frames(bytes_).n_samples
        if held > file.frames + DELAY_SAMPLES:
            return f"it announces {file.frames} samples, its frames hold {held}"
    return f"another stream begins at byte {offset:,}" if offset else ""


def _refuse_without_ffmpeg(source: AudioSource, why: str) -> None:
    refuse_truncated(source)
    if not is_installed():
        raise AudioError(
            f"{name_of(source)} is not read to its end by libsndfile: {why}. Install the package "
            "av, which reads more, or convert the file to WAV or FLAC."
        )


_frame_times: dict[Identity, FrameTimes | None] = {}
"""Of files whose windows are sought; none of those that are decoded whole."""


def _sought(source: AudioSource, end_s: float | None) -> _Sought | None:
    """A file of which a window that ends so early can be sought."""
    if end_s is None or not isinstance(source, (str, Path)):
        return None
    identity = _identity(source)
    if identity not in _frame_times:
        if len(_frame_times) >= MAX_KNOWN_FILES:
            _frame_times.clear()
        with open(source, "rb") as file:
            _frame_times[identity] = frame_times(file)
    times = _frame_times[identity]
    if times is None or round(end_s * times.sample_rate_hz) >= times.n_samples:
        return None
    return _Sought(source, times)


def _decoded(source: AudioSource) -> DecodedFile:
    if isinstance(source, (str, Path)):
        return _known_decoded(*_identity(source))
    return decode(source, name_of(source))


@lru_cache(maxsize=MAX_DECODED_FILES)
def _known_decoded(path: str, mtime_ns: int, n_bytes: int) -> DecodedFile:
    with open(path, "rb") as file:
        return decode(file, path)


def _is_mpeg(file: Any) -> bool:
    """Whether a header only estimates the length; an MP3 may lie in a WAV."""
    return file.format in ("MP3", "MPEG") or str(file.subtype).startswith("MPEG")


def _reason(error: Exception) -> str:
    """What the library says without the source, which for an open file is the object's repr."""
    return str(getattr(error, "error_string", error))


def _soundfile() -> ModuleType:
    try:
        import soundfile
    except ImportError as error:
        raise MissingExtraError(
            "Reading audio files needs the package soundfile, which is not installed. "
            "Install it, or hand in a Clip of samples."
        ) from error
    module: ModuleType = soundfile
    return module
