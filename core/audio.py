"""Audio files to clips: read, check, mix down, resample, cut.

One way in for every file, so that the same file always gives the same samples.
Decoding is libsndfile's (WAV, FLAC, OGG, Opus, MP3, AIFF, ...), resampling is soxr's
(``HQ``). Both are imported when first used: the model and the trainer work without.
"""

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import BinaryIO

import numpy as np

from usad_workbench.core.clips import Clip, Samples
from usad_workbench.core.cut_short import cut_short
from usad_workbench.core.errors import AudioError, MissingExtraError

AudioSource = str | Path | BinaryIO

MIN_DURATION_S = 0.025
"""Shorter audio has not one analysis window of the students (25 ms, Kaldi's default)."""
SILENCE_PEAK = 1e-5
"""A peak below this (-100 dBFS) is silence: no encoder says anything about it."""
ESTIMATED_LENGTH = frozenset({"MP3", "MPEG"})
"""Formats whose header only estimates the length."""
SCAN_BLOCK_SAMPLES = 1 << 20
AUDIO_SUFFIXES = frozenset(
    [
        ".wav",
        ".flac",
        ".ogg",
        ".oga",
        ".opus",
        ".mp3",
        ".aif",
        ".aiff",
        ".au",
        ".caf",
        ".w64",
        ".rf64",
    ]
)
"""Files of a folder that are taken for audio; a file named outright is always tried."""
MAX_CHANNELS = 64
"""More than this is taken for a damaged header."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AudioInfo:
    """What the header of an audio file says."""

    sample_rate_hz: int
    n_samples: int
    n_channels: int

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.n_samples / self.sample_rate_hz


def probe_audio(source: AudioSource) -> AudioInfo:
    """The header of an audio file, without decoding it.

    Raises:
        AudioError: not a file, or not audio that libsndfile can read.
    """
    soundfile = _soundfile()
    _check_is_file(source)
    try:
        info = soundfile.info(_argument(source))
    except soundfile.LibsndfileError as error:
        raise _unreadable(source, _reason(error)) from error
    return AudioInfo(
        sample_rate_hz=info.samplerate, n_samples=info.frames, n_channels=info.channels
    )


def read_audio(
    source: AudioSource,
    *,
    sample_rate_hz: int | None = None,
    start_s: float = 0.0,
    end_s: float | None = None,
) -> Clip:
    """Mono float32 audio of a file, or of a part of it, checked.

    Channels are averaged. Only the asked part is decoded, so that a window of an
    hours-long recording costs what the window costs.

    Args:
        source: A path or an open binary file.
        sample_rate_hz: Resample to this rate; the file's own where none.
        start_s: Where to start, in seconds.
        end_s: Where to end; the end of the file where none.

    Raises:
        AudioError: not audio, truncated, empty, not finite, silent or too short.
    """
    soundfile = _soundfile()
    _check_is_file(source)
    try:
        with soundfile.SoundFile(_argument(source)) as file:
            if not 1 <= file.channels <= MAX_CHANNELS:
                raise _unreadable(source, f"its header names {file.channels} channels.")
            rate = file.samplerate
            first, last = _sample_range(file.frames, rate, start_s, end_s)
            file.seek(first)
            samples = file.read(last - first, dtype="float32", always_2d=True)
            is_missing = len(samples) < last - first and file.format not in ESTIMATED_LENGTH
            reaches_end = last >= file.frames
    except soundfile.LibsndfileError as error:
        _refuse_cut_short(source)
        raise _unreadable(source, _reason(error)) from error
    if reaches_end:
        _refuse_cut_short(source)
    if is_missing:
        raise _truncated(source, _promise(last - first, len(samples)))
    mono = check_samples(samples.mean(axis=1), rate, _name(source))
    clip = Clip(samples=mono, sample_rate_hz=rate, path=_name(source), start_s=first / rate)
    return clip if sample_rate_hz is None else resample(clip, sample_rate_hz)


def scan_audio(source: AudioSource) -> AudioInfo:
    """What a file really holds, read to its end in blocks: its length is counted, not believed.

    Raises:
        AudioError: as ``read_audio``, for the whole file.
    """
    soundfile = _soundfile()
    _check_is_file(source)
    _refuse_cut_short(source)
    n_samples, peak, is_finite = 0, 0.0, True
    try:
        with soundfile.SoundFile(_argument(source)) as file:
            if not 1 <= file.channels <= MAX_CHANNELS:
                raise _unreadable(source, f"its header names {file.channels} channels.")
            rate, promised, n_channels = file.samplerate, file.frames, file.channels
            is_estimated = file.format in ESTIMATED_LENGTH
            # Not `blocks`, which fills up what the header promises with whatever was in memory.
            while len(block := file.read(SCAN_BLOCK_SAMPLES, dtype="float32", always_2d=True)):
                mono = block.mean(axis=1)
                n_samples += len(mono)
                is_finite = is_finite and bool(np.isfinite(mono).all())
                peak = max(peak, float(np.abs(mono).max(initial=0.0)))
    except soundfile.LibsndfileError as error:
        raise _unreadable(source, _reason(error)) from error
    if n_samples < promised and not is_estimated:
        raise _truncated(source, _promise(promised, n_samples))
    _check(n_samples, peak, is_finite, rate, _name(source))
    return AudioInfo(sample_rate_hz=rate, n_samples=n_samples, n_channels=n_channels)


def resample(clip: Clip, sample_rate_hz: int) -> Clip:
    """The clip at another rate, unchanged if it has it already."""
    if clip.sample_rate_hz == sample_rate_hz:
        return clip
    try:
        import soxr
    except ImportError as error:
        raise MissingExtraError(
            f"Resampling from {clip.sample_rate_hz} to {sample_rate_hz} Hz needs the package "
            "soxr, which is not installed. Install it, or give audio at the encoder's rate."
        ) from error
    samples = soxr.resample(clip.samples, clip.sample_rate_hz, sample_rate_hz, quality="HQ")
    return Clip(
        samples=np.ascontiguousarray(samples, dtype=np.float32),
        sample_rate_hz=sample_rate_hz,
        path=clip.path,
        start_s=clip.start_s,
    )


def check_samples(samples: Samples, sample_rate_hz: int, name: str) -> Samples:
    """The samples, if an encoder can say something about them.

    Raises:
        AudioError: too short, not finite or silent.
    """
    is_finite = bool(np.isfinite(samples).all())
    _check(len(samples), float(np.abs(samples).max(initial=0.0)), is_finite, sample_rate_hz, name)
    return samples


def _check(n_samples: int, peak: float, is_finite: bool, rate_hz: int, name: str) -> None:
    if n_samples < MIN_DURATION_S * rate_hz:
        raise AudioError(
            f"{name} has {n_samples} samples at {rate_hz} Hz, at least "
            f"{MIN_DURATION_S * 1000:.0f} ms are needed. Leave it out or use a longer cut."
        )
    if not is_finite:
        raise AudioError(f"{name} has samples that are not finite numbers. Export the file again.")
    if peak < SILENCE_PEAK:
        raise AudioError(
            f"{name} is silent (peak {peak:.1e}, at least {SILENCE_PEAK:.0e} expected). "
            "Leave it out or use another cut."
        )


def _sample_range(
    n_samples: int, rate_hz: int, start_s: float, end_s: float | None
) -> tuple[int, int]:
    first = round(start_s * rate_hz)
    last = n_samples if end_s is None else min(round(end_s * rate_hz), n_samples)
    if start_s < 0 or first >= last > 0:
        raise AudioError(
            f"Asked for {start_s} s to {'the end' if end_s is None else f'{end_s} s'} of audio "
            f"that is {n_samples / rate_hz:.3f} s long. Ask for a part that lies inside."
        )
    return first, last


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


def _argument(source: AudioSource) -> str | BinaryIO:
    if isinstance(source, (str, Path)):
        return str(source)
    source.seek(0)
    return source


def _check_is_file(source: AudioSource) -> None:
    if isinstance(source, (str, Path)) and not Path(source).is_file():
        what = "a folder" if Path(source).is_dir() else "no file"
        raise AudioError(f"{source} is {what}, an audio file was expected. Check the path.")


def _name(source: AudioSource) -> str:
    return str(source) if isinstance(source, (str, Path)) else "the given audio"


def _refuse_cut_short(source: AudioSource) -> None:
    """Raises where the container shows that the end of the file is missing."""
    if isinstance(source, (str, Path)):
        with open(source, "rb") as file:
            why = cut_short(file)
    else:
        why = cut_short(source)
    if why:
        raise _truncated(source, why)


def _promise(promised: int, found: int) -> str:
    return f"its header promises {promised} samples, {found} could be read"


def _truncated(source: AudioSource, why: str) -> AudioError:
    return AudioError(f"{_name(source)} is truncated: {why}. Export the file again.")


def _reason(error: Exception) -> str:
    """What the library says without the source, which for an open file is the object's repr."""
    return str(getattr(error, "error_string", error))


def _unreadable(source: AudioSource, why: str) -> AudioError:
    return AudioError(
        f"{_name(source)} cannot be read as audio: {why} "
        "Expected WAV, FLAC, OGG, Opus, MP3 or AIFF. Convert or remove the file."
    )
