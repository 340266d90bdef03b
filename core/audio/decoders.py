"""Which decoder reads a file to its end, and its samples from there.

libsndfile reads what it reads to its end. What it does not open, or would stop in early, goes to
FFmpeg (``audio.ffmpeg``); without that package it is named as a loss. Whether libsndfile stops
early is told by the container, not by the decoder: frames of an MP3, a second stream.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO, Protocol

import numpy as np
import numpy.typing as npt

from usad_workbench.core.audio.ffmpeg import (
    DELAY_SAMPLES,
    DecodedFile,
    decode,
    is_installed,
    no_audio,
)
from usad_workbench.core.audio.mpeg_frames import count_frames
from usad_workbench.core.audio.truncation import second_stream, truncation_reason
from usad_workbench.core.errors import AudioError, MissingExtraError

AudioSource = str | Path | BinaryIO

MAX_CHANNELS = 64
"""More than this is taken for a damaged header."""
UNKNOWN_LENGTH = 1 << 48
"""Samples from here on stand for a length that the header leaves open."""
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
        if first != self._place:  # a file that is read through never seeks
            self._file.seek(first)
        found: npt.NDArray[np.float32] = self._file.read(n_samples, dtype="float32", always_2d=True)
        self._place = first + len(found)
        return found


class _Decoded:
    """A file that FFmpeg has decoded whole."""

    is_estimated = False
    decoder = "FFmpeg"

    def __init__(self, file: DecodedFile) -> None:
        self.sample_rate_hz, self.n_channels = file.sample_rate_hz, file.n_channels
        self.n_samples = file.n_samples
        self.read = file.read


@contextmanager
def opened(source: AudioSource) -> Iterator[Sound]:
    """A file of sound, by the decoder that reads it to its end.

    Raises:
        AudioError: no audio, damaged, or longer than any decoder here reads.
    """
    soundfile = _soundfile()
    why = _why_not_libsndfile(source)
    if why:
        yield _Decoded(_decoded(source, why))
        return
    try:
        with soundfile.SoundFile(argument(source)) as file:
            if not 1 <= file.channels <= MAX_CHANNELS:
                raise no_audio(
                    name_of(source),
                    f"its header names {file.channels} channels, at most {MAX_CHANNELS} are read",
                )
            yield _Sndfile(file)
    except soundfile.LibsndfileError as error:
        raise AudioError(
            f"{name_of(source)} is damaged: it could not be decoded to its end (libsndfile says "
            f"{_reason(error).rstrip('. ')!r}). Export the file again."
        ) from error


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


def _why_not_libsndfile(source: AudioSource) -> str:
    """Why libsndfile does not read a file to its end; empty where it does."""
    if isinstance(source, (str, Path)):
        return _known_reason(*_identity(source))
    return _found_reason(source)


def _identity(path: str | Path) -> tuple[str, int, int]:
    """A file as it is now: another content has another time or size."""
    state = os.stat(path)
    return str(path), state.st_mtime_ns, state.st_size


@lru_cache(maxsize=MAX_KNOWN_FILES)
def _known_reason(path: str, mtime_ns: int, n_bytes: int) -> str:
    return _found_reason(path)


def _found_reason(source: AudioSource) -> str:
    soundfile = _soundfile()
    with as_bytes(source) as bytes_:
        offset, is_chain = second_stream(bytes_)
    if offset and not is_chain:
        raise AudioError(
            f"{name_of(source)} holds another file from byte {offset:,} on. Expected one recording "
            "a file: cut it there."
        )
    try:
        with soundfile.SoundFile(argument(source)) as file:
            promised, is_mpeg, container = file.frames, _is_mpeg(file), file.format
    except soundfile.LibsndfileError as error:
        return _reason(error).rstrip(". ")
    if not 0 <= promised < UNKNOWN_LENGTH:
        return "its header leaves the length open"
    if is_mpeg and container != "WAV":
        with as_bytes(source) as bytes_:
            held = count_frames(bytes_).n_samples
        if held > promised + DELAY_SAMPLES:
            return f"it announces {promised} samples, its frames hold {held}"
    return f"another stream begins at byte {offset:,}" if offset else ""


def _decoded(source: AudioSource, why: str) -> DecodedFile:
    refuse_truncated(source)
    if not is_installed():
        raise AudioError(
            f"{name_of(source)} is not read to its end by libsndfile: {why}. Install the package "
            "av, which reads more, or convert the file to WAV or FLAC."
        )
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
