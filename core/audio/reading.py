"""Audio files to clips: read, check, mix down, resample, cut.

One way in for every file, so that the same file always gives the same samples. Decoding is
libsndfile's, and FFmpeg's for what that does not read to its end (``audio.decoders``);
resampling is soxr's (``HQ``). All are imported when first used: the model and the trainer work
without.

Channels are averaged. Where that leaves next to nothing of them, as where one was turned over,
the file is refused: an encoder would hear the rounding of the samples.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from usad_workbench.core.audio.decoders import AudioSource, Sound, name_of, opened, refuse_truncated
from usad_workbench.core.clips import Clip, Samples
from usad_workbench.core.errors import (
    AudioError,
    ConfigError,
    MissingExtraError,
    UsadError,
    wrap_errors,
)

__all__ = [
    "AUDIO_SUFFIXES",
    "AudioInfo",
    "AudioSource",
    "all_blocks",
    "check_samples",
    "open_sound",
    "probe_audio",
    "read_audio",
    "read_parts",
    "resample",
    "scan_audio",
]

MIN_DURATION_S = 0.025
"""Shorter audio has not one analysis window of the students (25 ms, Kaldi's default)."""
SILENCE_PEAK = 1e-5
"""A peak below this (-100 dBFS) is silence: no encoder says anything about it."""
LOUDEST_PEAK = 16.0
"""Samples beyond (24 dB above full scale) are on another scale, such as that of 16 bits."""
LEAST_MIX = 0.1
"""Of the channels' level that has to be left of them in their mean. Of 64 channels that have
nothing in common 0.125 is left; of two of which one is turned over and 2 dB weaker, 0.1."""
MIN_RATE_HZ, MAX_RATE_HZ = 1_000, 10_000_000
"""Rates of sound. At others a damaged header lasts months on paper, in millions of segments."""
SCAN_BLOCK_SAMPLES = 1 << 20
"""Of all channels together."""
Read = Callable[[int, int], npt.NDArray[np.float32]]
"""Reads samples [sample, channel] from the first on, as ``Sound.read``."""
AUDIO_SUFFIXES = frozenset(
    [
        ".wav",
        ".wave",
        ".bwf",
        ".rf64",
        ".w64",
        ".flac",
        ".ogg",
        ".oga",
        ".opus",
        ".spx",
        ".mp1",
        ".mp2",
        ".mp3",
        ".mpa",
        ".mpga",
        ".aif",
        ".aiff",
        ".aifc",
        ".afc",
        ".au",
        ".snd",
        ".caf",
        ".voc",
        ".sph",
        ".nist",
        ".wve",
        ".sd2",
        ".paf",
        ".pvf",
        ".avr",
        ".ircam",
        ".sf",
        ".xi",
        ".m4a",
        ".m4b",
        ".m4r",
        ".mp4",
        ".3gp",
        ".3ga",
        ".aac",
        ".adts",
        ".ac3",
        ".eac3",
        ".dts",
        ".webm",
        ".weba",
        ".mka",
        ".wma",
        ".wv",
        ".ape",
        ".tta",
        ".tak",
        ".mpc",
        ".shn",
        ".amr",
        ".awb",
        ".ra",
    ]
)
"""Files of a folder that are taken for audio; a file named outright is always tried."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AudioInfo:
    """What the header of an audio file says."""

    sample_rate_hz: int
    n_samples: int
    n_channels: int
    decoder: str
    """libsndfile, or FFmpeg for what that does not read to its end."""
    samples_digest: str = ""
    """XXH3 (128 bits) of the samples of all channels as float32, with their rate: equal for equal
    sound in another container or with other tags. Empty where nothing was decoded."""

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.n_samples / self.sample_rate_hz


def probe_audio(source: AudioSource) -> AudioInfo:
    """The header of an audio file, without decoding it where libsndfile reads it.

    Raises:
        AudioError: not a file, or not audio that can be read to its end.
    """
    with open_sound(source) as sound:
        return AudioInfo(
            sample_rate_hz=sound.sample_rate_hz,
            n_samples=sound.n_samples,
            n_channels=sound.n_channels,
            decoder=sound.decoder,
        )


def read_audio(
    source: AudioSource,
    *,
    sample_rate_hz: int | None = None,
    start_s: float = 0.0,
    end_s: float | None = None,
) -> Clip:
    """Mono float32 audio of a file, or of a part of it, checked.

    Channels are averaged. Only the asked part is decoded, so that a window of an hours-long
    recording costs what the window costs; the first look at a file in a process goes through its
    bytes, or decodes it whole where libsndfile would not read it to its end and the window cannot
    be sought (``seeking``).

    Args:
        source: A path or an open binary file.
        sample_rate_hz: Resample to this rate; the file's own where none.
        start_s: Where to start, in seconds.
        end_s: Where to end; the end of the file where none.

    Raises:
        AudioError: not audio, truncated, empty, not finite, silent or too short; channels that
            cancel out, or samples on the scale of integers.
    """
    with open_sound(source, end_s=end_s) as sound:
        clip = _clip(source, sound, sound.read, start_s, end_s)
    return clip if sample_rate_hz is None else resample(clip, sample_rate_hz)


def read_parts(
    source: AudioSource,
    parts: Sequence[tuple[float, float]],
    *,
    sample_rate_hz: int | None = None,
) -> Iterator[Clip | AudioError]:
    """Parts of one file in their order, each as ``read_audio`` gives it; the file is decoded once.

    Nothing but the part in hand is kept in memory, whatever the length of the file. Parts may
    overlap and leave out what lies between them.

    Args:
        source: A path or an open binary file.
        parts: Start and end in seconds of each, by ascending start.
        sample_rate_hz: Resample each to this rate; the file's own where none.

    Yields:
        For each part its clip, or why it has none; where the file cannot be read on, for all that
        are left.

    Raises:
        ConfigError: parts in another order.

    >>> import io, soundfile
    >>> file = io.BytesIO()
    >>> soundfile.write(file, np.tile([0.5, -0.5], 8_000), 8_000, format="WAV")
    >>> [len(clip.samples) for clip in read_parts(file, [(0.0, 1.0), (0.5, 2.0)])]
    [8000, 12000]
    """
    if any(first[0] > then[0] for first, then in itertools.pairwise(parts)):
        raise ConfigError(f"The parts of {name_of(source)} are not in the order of their starts.")
    done = 0
    try:
        with open_sound(source, in_order=True) as sound:
            read = _keeping_the_last(sound)
            for start_s, end_s in parts:
                given = _clip_or_error(source, sound, read, start_s, end_s)
                if isinstance(given, Clip) and sample_rate_hz is not None:
                    given = resample(given, sample_rate_hz)
                done += 1
                yield given
    except AudioError as error:
        for _ in parts[done:]:
            yield error


def _keeping_the_last(sound: Sound) -> Read:
    """Reads an open file, and what parts have in common once; never back."""
    start, held = 0, np.empty((0, sound.n_channels), dtype=np.float32)

    def read(first: int, n_samples: int) -> npt.NDArray[np.float32]:
        nonlocal start, held
        start, held = first, held[first - start :]
        if len(held) < n_samples:
            more = sound.read(first + len(held), n_samples - len(held))
            held = np.concatenate([held, more]) if len(held) else more
        return held[:n_samples]

    return read


def _clip_or_error(
    source: AudioSource, sound: Sound, read: Read, start_s: float, end_s: float
) -> Clip | AudioError:
    try:
        return _clip(source, sound, read, start_s, end_s)
    except AudioError as error:
        return error


def _clip(
    source: AudioSource, sound: Sound, read: Read, start_s: float, end_s: float | None
) -> Clip:
    """A part of an open file, mixed down and checked."""
    rate = sound.sample_rate_hz
    first, last = _sample_range(sound.n_samples, rate, start_s, end_s)
    if last >= sound.n_samples:
        refuse_truncated(source)
    channels = read(first, last - first)
    if len(channels) < last - first and not sound.is_estimated:
        raise _truncated(source, last - first, len(channels))
    levels = _Levels()
    mono = levels.mixed(channels)
    levels.check(rate, name_of(source))
    return Clip(samples=mono, sample_rate_hz=rate, path=name_of(source), start_s=first / rate)


def scan_audio(source: AudioSource) -> AudioInfo:
    """What a file really holds, read to its end in blocks: its length is counted, not believed.

    Raises:
        AudioError: as ``read_audio``, for the whole file.
    """
    import xxhash

    levels = _Levels()
    with open_sound(source, in_order=True) as sound:
        digest = xxhash.xxh3_128(f"{sound.sample_rate_hz} Hz, {sound.n_channels}".encode())
        for block in all_blocks(source, sound):
            levels.mixed(block)
            digest.update(block.data)
    levels.check(sound.sample_rate_hz, name_of(source))
    return AudioInfo(
        sample_rate_hz=sound.sample_rate_hz,
        n_samples=levels.n_samples,
        n_channels=sound.n_channels,
        decoder=sound.decoder,
        samples_digest=digest.hexdigest(),
    )


def all_blocks(source: AudioSource, sound: Sound) -> Iterator[npt.NDArray[np.float32]]:
    """The samples of an open file to its end, in blocks of shape [sample, channel].

    Raises:
        AudioError: the end of the file is missing.
    """
    refuse_truncated(source)
    n_samples = 0
    n_at_once = SCAN_BLOCK_SAMPLES // sound.n_channels
    # Not soundfile's `blocks`, which fills up what is missing with whatever was in memory.
    while len(block := sound.read(n_samples, n_at_once)):
        n_samples += len(block)
        yield block
    if n_samples < sound.n_samples and not sound.is_estimated:
        raise _truncated(source, sound.n_samples, n_samples)


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
        AudioError: too short, not finite, silent, or on the scale of integers.
    """
    levels = _Levels()
    levels.mixed(samples[:, np.newaxis])
    levels.check(sample_rate_hz, name)
    return samples


@dataclass(kw_only=True, slots=True)
class _Levels:
    """What blocks of sound add up to."""

    n_samples: int = 0
    peak: float = 0.0
    """Of the mean of the channels."""
    peak_of_channels: float = 0.0
    power_of_mean: float = 0.0
    power_of_channels: float = 0.0
    """Sums of squares, both of one channel."""
    is_finite: bool = True
    is_whole: bool = True
    """Whether all samples are whole numbers."""

    def mixed(self, channels: npt.NDArray[np.float32]) -> Samples:
        """The mean of the channels of a block [sample, channel], which is added up."""
        mean: Samples = channels[:, 0] if channels.shape[1] == 1 else channels.mean(axis=1)
        self.n_samples += len(mean)
        self.is_finite = self.is_finite and bool(np.isfinite(mean).all())
        self.peak = max(self.peak, float(np.abs(mean).max(initial=0.0)))
        self.peak_of_channels = max(self.peak_of_channels, float(np.abs(channels).max(initial=0.0)))
        if self.is_finite and channels.shape[1] > 1:
            self.power_of_mean += float(np.square(mean, dtype=np.float64).sum())
            power = np.square(channels, dtype=np.float64).sum()
            self.power_of_channels += float(power) / channels.shape[1]
        self.is_whole = self.is_whole and bool((channels == np.rint(channels)).all())
        return np.ascontiguousarray(mean)

    def check(self, rate_hz: int, name: str) -> None:
        """Raises where an encoder could say nothing about this sound."""
        if self.n_samples < MIN_DURATION_S * rate_hz:
            raise AudioError(
                f"{name} has {self.n_samples} samples at {rate_hz} Hz, at least "
                f"{MIN_DURATION_S * 1000:.0f} ms are needed. Leave it out or use a longer cut."
            )
        if not self.is_finite:
            raise AudioError(
                f"{name} has samples that are not finite numbers. Export the file again."
            )
        if self.peak_of_channels > LOUDEST_PEAK or (self.is_whole and self.peak_of_channels > 1):
            raise AudioError(
                f"{name} has samples up to {self.peak_of_channels:.6g}, full scale is 1: they "
                "are on a scale of integers. Divide them, by 32768 for 16 bits, or export the "
                "file again."
            )
        if self.peak_of_channels >= SILENCE_PEAK and self._left_of_channels() < LEAST_MIX:
            raise AudioError(
                f"The channels of {name} cancel out: {self._left_of_channels():.2g} of their level "
                f"is left in the mean, at least {LEAST_MIX} expected. One of them is turned over "
                "(opposite phase): turn it back, or export one channel."
            )
        if self.peak < SILENCE_PEAK:
            raise AudioError(
                f"{name} is silent (peak {self.peak:.1e}, at least {SILENCE_PEAK:.0e} expected). "
                "Leave it out or use another cut."
            )

    def _left_of_channels(self) -> float:
        if not self.power_of_channels:
            return 1.0
        return float(np.sqrt(self.power_of_mean / self.power_of_channels))


@contextmanager
def open_sound(
    source: AudioSource, *, in_order: bool = False, end_s: float | None = None
) -> Iterator[Sound]:
    """An open file, by the decoder that reads it to its end.

    Args:
        source: A path or an open binary file.
        in_order: It is read from its beginning to its end, never back: nothing of it is decoded
            beforehand.
        end_s: Nothing behind this time is read, of one part alone.

    Raises:
        AudioError: whatever the system or the decoder says of it.
    """
    name = name_of(source)
    try:
        with wrap_errors(name):
            _check_is_file(source)
            with opened(source, in_order=in_order, end_s=end_s) as sound:
                if not MIN_RATE_HZ <= sound.sample_rate_hz <= MAX_RATE_HZ:
                    raise AudioError(
                        f"{name} has a sample rate of {sound.sample_rate_hz} Hz, expected "
                        f"{MIN_RATE_HZ:,} to {MAX_RATE_HZ:,} Hz. Mend its header, or resample it."
                    )
                yield sound
    except (AudioError, MissingExtraError):
        raise
    except UsadError as error:
        raise AudioError(str(error)) from error


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


def _check_is_file(source: AudioSource) -> None:
    if hasattr(source, "read") and hasattr(source, "seek"):
        return
    if not isinstance(source, (str, Path)):
        raise AudioError(
            f"Found {type(source).__name__} where audio was expected. Give a path, an open binary "
            "file, or Clip(samples=..., sample_rate_hz=...) of mono float32 samples: samples "
            "alone do not say their rate."
        )
    path = Path(source)
    if not path.is_file():
        what = "a folder" if path.is_dir() else "no file"
        raise AudioError(f"{source} is {what}, an audio file was expected. Check the path.")


def _truncated(source: AudioSource, promised: int, found: int) -> AudioError:
    return AudioError(
        f"{name_of(source)} is truncated: its header promises {promised} samples, {found} could "
        "be read. Export the file again."
    )
