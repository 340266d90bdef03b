"""Sound that libsndfile does not read to its end, decoded by FFmpeg's libraries (PyAV).

What reads a file from its first sample to its last takes the blocks of a ``SoundStream``. For a
window of its own the file is decoded once, whole, into a nameless temporary file of float32: a
window has the samples that the whole file has, whatever the format says about seeking, and a
killed process leaves nothing behind. Of AAC in an MP4 most windows can be sought instead
(``seeking``). Tried before: seeking in any container, which gave other samples than the whole
file, and decoding from the start for every window, quadratic in the length.
"""

import os
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

from usad_workbench.core.audio.mpeg_frames import FrameCount, count_frames
from usad_workbench.core.audio.truncation import flac_samples
from usad_workbench.core.errors import AudioError, MissingExtraError

FORMATS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dts,eac3,flac,flv,matroska,mov,mp3,mpc,mpc8,mpeg,mpegts,"
    "nistsphere,ogg,rm,shn,tak,tta,voc,w64,wav,webm,wv"
)
"""Containers that are opened. Play lists and the like name other files and addresses: never."""
WITHOUT_LENGTH = frozenset({"aac", "ac3", "amr", "dts", "eac3", "flac"})
"""Streams whose header promises no length: all their bytes have to be used instead."""
UNUSED_BYTES = 65_536
"""Of a stream without a length: as much may be tags behind it."""
SHORTER_S = 0.2
SHORTER_SHARE = 0.01
"""By how much less than promised may be decoded: headers count delays of encoders and pictures."""
LEAST_FRAMES_SHARE = 0.5
"""Of a file without tags that has to be frames to be an MP3: other bytes look like one, too."""
DELAY_SAMPLES = 4 * 1152
"""Of an MP3: so many of those that its frames hold are no sound, or are lost where two meet."""


class DecodedFile:
    """The samples of a whole file, on disk for as long as this object lives."""

    def __init__(self, file: BinaryIO, sample_rate_hz: int, n_channels: int) -> None:
        self._file = file
        weakref.finalize(self, file.close)
        self.sample_rate_hz, self.n_channels = sample_rate_hz, n_channels
        self.n_samples = os.fstat(file.fileno()).st_size // (4 * n_channels)

    def read(self, first: int, n_samples: int) -> npt.NDArray[np.float32]:
        """Samples from ``first`` on, shape [sample, channel]; fewer at the end."""
        width = 4 * self.n_channels
        data = os.pread(self._file.fileno(), n_samples * width, first * width)
        return np.frombuffer(data, dtype=np.float32).reshape(-1, self.n_channels)


def is_installed() -> bool:
    """Whether PyAV is there."""
    try:
        import_av()
    except MissingExtraError:
        return False
    return True


def decode(source: BinaryIO, name: str) -> DecodedFile:
    """Decodes the first audio stream of a file to its end, onto the disk.

    Raises:
        AudioError: no audio in it, damaged, truncated, or of a rate that changes.
        MissingExtraError: PyAV is not installed.
    """
    with decoding(source, name) as stream:
        file = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as what is returned
        try:
            file.writelines(block.data for block in stream.blocks())
            file.flush()
        except BaseException:
            file.close()
            raise
        return DecodedFile(file, stream.sample_rate_hz, stream.n_channels)


@contextmanager
def decoding(source: BinaryIO, name: str) -> Iterator["SoundStream"]:
    """The first audio stream of a file, to be read from its first sample to its last.

    Raises:
        AudioError: no audio in it; what is wrong further on is raised where it is read.
        MissingExtraError: PyAV is not installed.
    """
    av = import_av()
    try:
        source.seek(0)
        with av.open(
            source, "r", options={"format_whitelist": FORMATS}, metadata_errors="ignore"
        ) as container:
            if not container.streams.audio:
                raise no_audio(name, f"it is {container.format.name} without a sound track")
            yield SoundStream(av, container, source, name)
    except av.error.FFmpegError as error:
        raise no_audio(name, f"FFmpeg says {error.strerror!r}") from error


def no_audio(name: str, why: str) -> AudioError:
    """The error of a file that no decoder takes."""
    return AudioError(
        f"{name} holds no audio that can be read: {why}. Expected WAV, FLAC, OGG, Opus, MP3, M4A "
        "or another format of sound. Convert or remove the file."
    )


class SoundStream:
    """An audio stream on its way through the decoder."""

    def __init__(self, av: ModuleType, container: Any, source: BinaryIO, name: str) -> None:
        self._av, self._container, self._source, self._name = av, container, source, name
        self._format: str = container.format.name
        self._last_byte = 0
        self.sample_rate_hz = self.n_channels = 0
        """Both 0 until the first block is there: headers name others in some AAC."""
        self.n_samples = 0
        """So far."""

    def blocks(self) -> Iterator[npt.NDArray[np.float32]]:
        """Its samples in blocks [sample, channel], each once.

        Raises:
            AudioError: damaged, truncated, or of a rate that changes.
        """
        frames = self._counted_frames() if self._format == "mp3" else None
        try:
            for part in self._resampled():
                block = part.to_ndarray().reshape(-1, self.n_channels)
                self.n_samples += len(block)
                if len(block):
                    yield block
        except self._av.error.FFmpegError as error:
            if not self.sample_rate_hz:
                raise
            raise AudioError(
                f"{self._name} is truncated or damaged: behind "
                f"{self.n_samples / self.sample_rate_hz:.2f} s FFmpeg says "
                f"{error.strerror!r}. Export the file again."
            ) from error
        if not self.sample_rate_hz:
            raise no_audio(self._name, "its sound track is empty")
        self._refuse_lost_end(frames)

    def _resampled(self) -> Iterator[Any]:
        """Frames of float32, channel beside channel."""
        resampler = self._av.AudioResampler(format="flt")
        for packet in self._container.demux(self._container.streams.audio[0]):
            if packet.pos is not None and packet.size:
                self._last_byte = max(self._last_byte, packet.pos + packet.size)
            for frame in self._frames(packet):
                self._note_layout(frame.sample_rate, frame.layout.nb_channels)
                yield from resampler.resample(frame)
        if self.sample_rate_hz:
            yield from resampler.resample(None)

    def _frames(self, packet: Any) -> Sequence[Any]:
        try:
            return cast(Sequence[Any], packet.decode())
        except self._av.error.InvalidDataError:
            if self._format == "mp3":  # tags in the middle
                return ()
            raise

    def _note_layout(self, rate_hz: int, n_channels: int) -> None:
        before = self.sample_rate_hz, self.n_channels
        if self.sample_rate_hz and before != (rate_hz, n_channels):
            raise AudioError(
                f"{self._name} changes from {before[0]} Hz, {before[1]} channels to {rate_hz} Hz, "
                f"{n_channels} channels in the middle. Export its parts one by one."
            )
        self.sample_rate_hz, self.n_channels = rate_hz, n_channels

    def _counted_frames(self) -> FrameCount:
        """An MP3 may hold others, with tags between them: a loss shows in the count of frames."""
        position = self._source.tell()
        frames = count_frames(self._source)
        self._source.seek(position)  # where the container goes on
        if frames.n_bytes < LEAST_FRAMES_SHARE * (frames.n_bytes + frames.n_around):
            raise no_audio(self._name, "it has no frames of MPEG audio beside its tags")
        return frames

    def _refuse_lost_end(self, frames: FrameCount | None) -> None:
        if frames is not None:
            # A tag between two files costs the frames around it: some in a hundred thousand.
            if self.n_samples < (1 - SHORTER_SHARE) * frames.n_samples - DELAY_SAMPLES:
                raise AudioError(
                    f"{self._name} is damaged: its frames hold {frames.n_samples} samples, "
                    f"{self.n_samples} could be read. Export the file again."
                )
            return
        if self._format == "flac":
            _refuse_lost_frames(flac_samples(self._source), self.n_samples, self._name)
        if self._format in WITHOUT_LENGTH:
            _refuse_unused(self._source, self._last_byte, self._name)
        elif not self._container.streams.video:
            found_s = self.n_samples / self.sample_rate_hz
            _refuse_shorter(_promised_s(self._container), found_s, self._name)


def _refuse_unused(source: BinaryIO, last_byte: int, name: str) -> None:
    n_bytes = source.seek(0, os.SEEK_END)
    if last_byte and n_bytes - last_byte > UNUSED_BYTES:
        raise AudioError(
            f"{name} has {n_bytes:,} bytes, of which sound could be read up to byte "
            f"{last_byte:,}. The rest is damaged or another stream: cut it off, or convert the "
            "file to WAV."
        )


def _refuse_lost_frames(promised: int, n_samples: int, name: str) -> None:
    """FFmpeg may lose a frame where one stream ends and the next begins."""
    if n_samples < promised:
        raise AudioError(
            f"{name} is damaged: its streams promise {promised} samples, {n_samples} could "
            "be read. Cut it into one file for each stream, or export it again."
        )


def _promised_s(container: Any) -> float:
    stream = container.streams.audio[0]
    if stream.duration:
        return float(stream.duration * stream.time_base)
    return float(container.duration or 0) / 1e6


def _refuse_shorter(promised_s: float, found_s: float, name: str) -> None:
    if promised_s - found_s > max(SHORTER_S, SHORTER_SHARE * promised_s):
        raise AudioError(
            f"{name} is truncated: its header promises {promised_s:.2f} s, {found_s:.2f} s could "
            "be read. Export the file again."
        )


def import_av() -> ModuleType:
    """The package ``av``.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import av
        import av.error
    except ImportError as error:
        raise MissingExtraError(
            "Reading this file needs the package av, which is not installed. Install it, or "
            "convert the file to WAV or FLAC."
        ) from error
    av.logging.set_level(av.logging.PANIC)
    module: ModuleType = av
    return module
