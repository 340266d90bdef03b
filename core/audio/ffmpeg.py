"""Sound that libsndfile does not read to its end, decoded by FFmpeg's libraries (PyAV).

A file is decoded once, whole, into a nameless temporary file of float32, from which windows are
taken: a window has the samples that the whole file has, whatever the format says about
seeking, and a killed process leaves nothing behind. Tried before: seeking in the container,
which gave other samples than the whole file in AAC and Opus (their decoders start from
nothing), and decoding from the start for every window, quadratic in the length.
"""

import os
import tempfile
import weakref
from collections.abc import Sequence
from types import ModuleType
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

from usad_workbench.core.audio.mpeg_frames import count_frames
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
        _av()
    except MissingExtraError:
        return False
    return True


def decode(source: BinaryIO, name: str) -> DecodedFile:
    """Decodes the first audio stream of a file to its end.

    Raises:
        AudioError: no audio in it, damaged, truncated, or of a rate that changes.
        MissingExtraError: PyAV is not installed.
    """
    av = _av()
    try:
        return _decode(av, source, name)
    except av.error.FFmpegError as error:
        raise no_audio(name, f"FFmpeg says {error.strerror!r}") from error


def no_audio(name: str, why: str) -> AudioError:
    """The error of a file that no decoder takes."""
    return AudioError(
        f"{name} holds no audio that can be read: {why}. Expected WAV, FLAC, OGG, Opus, MP3, M4A "
        "or another format of sound. Convert or remove the file."
    )


def _decode(av: ModuleType, source: BinaryIO, name: str) -> DecodedFile:
    source.seek(0)
    with av.open(
        source, options={"format_whitelist": FORMATS}, metadata_errors="ignore"
    ) as container:
        if not container.streams.audio:
            raise no_audio(name, f"it is {container.format.name} without a sound track")
        if container.format.name == "mp3":
            return _decode_mp3(av, container, source, name)
        decoded, last_byte = _samples(av, container, name)
        if container.format.name == "flac":
            _refuse_lost_frames(flac_samples(source), decoded, name)
        if container.format.name in WITHOUT_LENGTH:
            _refuse_unused(source, last_byte, name)
        elif not container.streams.video:
            _refuse_shorter(_promised_s(container), decoded, name)
    return decoded


def _decode_mp3(av: ModuleType, container: Any, source: BinaryIO, name: str) -> DecodedFile:
    """An MP3 may hold others, with tags between them: what is lost shows in the count of frames."""
    position = source.tell()
    frames = count_frames(source)
    source.seek(position)  # where the container goes on
    if frames.n_bytes < LEAST_FRAMES_SHARE * (frames.n_bytes + frames.n_around):
        raise no_audio(name, "it has no frames of MPEG audio beside its tags")
    decoded, _ = _samples(av, container, name, is_with_tags=True)
    # A tag between two files costs the frames around it: some in a hundred thousand.
    if decoded.n_samples < (1 - SHORTER_SHARE) * frames.n_samples - DELAY_SAMPLES:
        raise AudioError(
            f"{name} is damaged: its frames hold {frames.n_samples} samples, "
            f"{decoded.n_samples} could be read. Export the file again."
        )
    return decoded


def _samples(
    av: ModuleType, container: Any, name: str, is_with_tags: bool = False
) -> tuple[DecodedFile, int]:
    """The samples, and the byte behind the last packet."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as what is returned
    try:
        rate_hz, n_channels, last_byte = _write_samples(av, container, name, file, is_with_tags)
    except BaseException:
        file.close()
        raise
    return DecodedFile(file, rate_hz, n_channels), last_byte


def _write_samples(
    av: ModuleType, container: Any, name: str, file: BinaryIO, is_with_tags: bool
) -> tuple[int, int, int]:
    """Writes the samples; gives their rate in Hz, channels, and the byte behind the last packet."""
    stream = container.streams.audio[0]
    rate_hz = n_channels = last_byte = 0
    try:
        resampler = av.AudioResampler(format="flt")
        for packet in container.demux(stream):
            if packet.pos is not None and packet.size:
                last_byte = max(last_byte, packet.pos + packet.size)
            for frame in _frames(av, packet, is_with_tags):
                layout = frame.sample_rate, frame.layout.nb_channels
                if rate_hz and layout != (rate_hz, n_channels):
                    raise _changes(name, (rate_hz, n_channels), layout)
                rate_hz, n_channels = layout
                file.writelines(part.to_ndarray().tobytes() for part in resampler.resample(frame))
        file.writelines(
            part.to_ndarray().tobytes() for part in (resampler.resample(None) if rate_hz else ())
        )
    except av.error.FFmpegError as error:
        if not rate_hz:
            raise
        seconds = file.tell() / (4 * n_channels * rate_hz)
        raise AudioError(
            f"{name} is truncated or damaged: behind {seconds:.2f} s FFmpeg says "
            f"{error.strerror!r}. Export the file again."
        ) from error
    if not rate_hz:
        raise no_audio(name, "its sound track is empty")
    file.flush()
    return rate_hz, n_channels, last_byte


def _changes(name: str, before: tuple[int, int], after: tuple[int, int]) -> AudioError:
    return AudioError(
        f"{name} changes from {before[0]} Hz, {before[1]} channels to {after[0]} Hz, {after[1]} "
        "channels in the middle. Export its parts one by one."
    )


def _frames(av: ModuleType, packet: Any, is_with_tags: bool) -> Sequence[Any]:
    try:
        return cast(Sequence[Any], packet.decode())
    except av.error.InvalidDataError:
        if is_with_tags:
            return ()
        raise


def _refuse_unused(source: BinaryIO, last_byte: int, name: str) -> None:
    n_bytes = source.seek(0, os.SEEK_END)
    if last_byte and n_bytes - last_byte > UNUSED_BYTES:
        raise AudioError(
            f"{name} has {n_bytes:,} bytes, of which sound could be read up to byte "
            f"{last_byte:,}. The rest is damaged or another stream: cut it off, or convert the "
            "file to WAV."
        )


def _refuse_lost_frames(promised: int, decoded: DecodedFile, name: str) -> None:
    """FFmpeg may lose a frame where one stream ends and the next begins."""
    if decoded.n_samples < promised:
        raise AudioError(
            f"{name} is damaged: its streams promise {promised} samples, {decoded.n_samples} could "
            "be read. Cut it into one file for each stream, or export it again."
        )


def _promised_s(container: Any) -> float:
    stream = container.streams.audio[0]
    if stream.duration:
        return float(stream.duration * stream.time_base)
    return float(container.duration or 0) / 1e6


def _refuse_shorter(promised_s: float, decoded: DecodedFile, name: str) -> None:
    found_s = decoded.n_samples / decoded.sample_rate_hz
    if promised_s - found_s > max(SHORTER_S, SHORTER_SHARE * promised_s):
        raise AudioError(
            f"{name} is truncated: its header promises {promised_s:.2f} s, {found_s:.2f} s could "
            "be read. Export the file again."
        )


def _av() -> ModuleType:
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
