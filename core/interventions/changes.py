"""The changes themselves: ``(samples, rate_hz, rng) -> samples``, mono float32.

All but time stretch and silence trimming keep the length and the time axis, so that what moves an
embedding is the change and not a delay.

MP3 is coded at an average bit rate: at a constant one it comes back late at most rates
(``docs/statistics.md``, "Changes of the sound").
"""

import io
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, oaconvolve, sosfiltfilt

from usad_workbench.core.clips import Samples
from usad_workbench.core.errors import AudioError

Change = Callable[[Samples, int, np.random.Generator], Samples]

GSM_RATE_HZ = 8_000
"""The one rate that GSM 06.10 is defined for (ETSI EN 300 961)."""
OPUS_RATES_HZ = (8_000, 12_000, 16_000, 24_000, 48_000)
"""RFC 6716, section 2."""
OPUS_KBITS = (6.0, 256.0)
"""What libsndfile's compression levels 1 and 0 stand for, for each channel."""
MP3_RATES_HZ = (16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
"""MPEG-1 and MPEG-2 layer III (ISO/IEC 13818-3)."""
MP3_LOW_KBITS, MP3_KBITS = (8.0, 160.0), (32.0, 320.0)
"""Bit rates of layer III below 32 kHz and from there on: compression levels 1 and 0."""
BAND_FILTER_ORDER = 16
"""Applied forwards and backwards: -6 dB at the cut, 80 dB down a third of an octave above."""
PITCH_FRAME_S = 0.064
"""The phase vocoder's window: 4 periods at 62 Hz."""


def gain(decibels: float) -> Change:
    """Louder or softer; nothing clips, samples are floating point."""

    def change(samples: Samples, rate_hz: int, rng: np.random.Generator) -> Samples:
        return _float32(samples * 10 ** (decibels / 20))

    return change


def noise(snr_db: float, exponent: float) -> Change:
    """Noise added at this ratio of the clip's mean power to the noise's.

    Args:
        snr_db: Signal to noise over the whole clip.
        exponent: The noise's power falls as 1 / f ** exponent: 0 white, 1 pink.
    """

    def change(samples: Samples, rate_hz: int, rng: np.random.Generator) -> Samples:
        n = len(samples)
        spectrum = np.fft.rfft(rng.standard_normal(n))
        hz = np.fft.rfftfreq(n, 1 / rate_hz)
        spectrum[1:] *= hz[1:] ** (-exponent / 2)
        spectrum[0] = 0.0
        added = np.fft.irfft(spectrum, n)
        wanted = np.mean(samples.astype(np.float64) ** 2) / 10 ** (snr_db / 10)
        return _float32(samples + added * np.sqrt(wanted / np.mean(added**2)))

    return change


def gsm() -> Change:
    """Coded and decoded with GSM 06.10 full rate, so cut at 4 kHz too."""

    def change(samples: Samples, rate_hz: int, rng: np.random.Generator) -> Samples:
        options = {"format": "WAV", "subtype": "GSM610"}
        return _round_trip(samples, rate_hz, GSM_RATE_HZ, options)

    return change


def opus(kbits: float) -> Change:
    """Coded and decoded with Opus at this bit rate."""

    def change(samples: Samples, rate_hz: int, rng: np.random.Generator) -> Samples:
        options = {
            "format": "OGG",
            "subtype": "OPUS",
            "compression_level": _level(kbits, OPUS_KBITS),
        }
        return _round_trip(samples, rate_hz, _at_least(rate_hz, OPUS_RATES_HZ), options)

    return change


def mp3(kbits: float) -> Change:
    """Coded and decoded with MP3 at this average bit rate."""

    def change(samples: Samples, rate_hz: int, rng: np.random.Generator) -> Samples:
        codec_rate_hz = _at_least(rate_hz, MP3_RATES_HZ)
        limits = MP3_KBITS if codec_rate_hz >= 32_000 else MP3_LOW_KBITS
        options = {
            "format": "MP3",
            "subtype": "MPEG_LAYER_III",
            "bitrate_mode": "AVERAGE",
            "compression_level": _level(kbits, limits),
        }
        return _round_trip(samples, rate_hz, codec_rate_hz, options)

    return change


def band_limit(cut_hz: float) -> Change:
    """Nothing above a frequency, with no delay; unchanged where the clip has nothing there."""

    def change(samples: Samples, rate_hz: int, rng: np.random.Generator) -> Samples:
        if cut_hz >= rate_hz / 2:
            return samples
        sections = butter(BAND_FILTER_ORDER // 2, cut_hz, fs=rate_hz, output="sos")
        padding = min(len(samples) - 1, round(0.05 * rate_hz))
        return _float32(sosfiltfilt(sections, samples, padlen=padding))

    return change


def reverberation(rt60_s: float) -> Change:
    """The direct sound and as much energy of a diffuse tail, at the clip's own energy.

    The tail is Gaussian noise that falls by 60 dB in ``rt60_s`` (Polack 1988); what rings
    on behind the clip's end is cut.
    """

    def change(samples: Samples, rate_hz: int, rng: np.random.Generator) -> Samples:
        seconds = np.arange(1, round(1.5 * rt60_s * rate_hz)) / rate_hz
        tail = rng.standard_normal(len(seconds)) * 10 ** (-3 * seconds / rt60_s)
        response = np.concatenate([[1.0], tail / np.linalg.norm(tail)])
        wet = oaconvolve(samples.astype(np.float64), response)[: len(samples)]
        return _float32(wet * np.linalg.norm(samples) / np.linalg.norm(wet))

    return change


def pitch_shift(semitones: float) -> Change:
    """Higher or lower at the same speed (phase vocoder of librosa)."""

    def change(samples: Samples, rate_hz: int, rng: np.random.Generator) -> Samples:
        from librosa.effects import pitch_shift as shift

        padded, n_fft = _vocoder_input(samples, rate_hz)
        shifted = shift(padded, sr=rate_hz, n_steps=semitones, n_fft=n_fft, res_type="soxr_hq")
        return _float32(shifted[: len(samples)])

    return change


def time_stretch(speed: float) -> Change:
    """Faster or slower at the same pitch (phase vocoder of librosa)."""

    def change(samples: Samples, rate_hz: int, rng: np.random.Generator) -> Samples:
        from librosa.effects import time_stretch as stretch

        padded, n_fft = _vocoder_input(samples, rate_hz)
        stretched = stretch(padded, rate=speed, n_fft=n_fft)
        return _float32(stretched[: max(round(len(samples) / speed), 1)])

    return change


def trim_silence(below_peak_db: float) -> Change:
    """Without what is this far below the loudest part, at the start and at the end."""

    def change(samples: Samples, rate_hz: int, rng: np.random.Generator) -> Samples:
        from librosa.effects import trim

        frame = max(round(0.032 * rate_hz), 2)
        trimmed, _ = trim(
            samples, top_db=below_peak_db, frame_length=frame, hop_length=max(frame // 4, 1)
        )
        return _float32(trimmed)

    return change


def _round_trip(
    samples: Samples, rate_hz: int, codec_rate_hz: int, options: Mapping[str, object]
) -> Samples:
    """Coded and decoded at the codec's rate, back at the clip's rate and length."""
    import soundfile

    file = io.BytesIO()
    try:
        at_codec = _resampled(samples, rate_hz, codec_rate_hz)
        soundfile.write(file, at_codec, codec_rate_hz, **options)
        file.seek(0)
        decoded, _ = soundfile.read(file, dtype="float32")
    except soundfile.LibsndfileError as error:
        raise AudioError(
            f"{options['subtype']} at {codec_rate_hz} Hz cannot be coded here: {error} Expected "
            "libsndfile 1.2 or later with this codec. Install soundfile from its wheel."
        ) from error
    back = _resampled(decoded, codec_rate_hz, rate_hz)[: len(samples)]
    return _float32(np.pad(back, (0, len(samples) - len(back))))


def _resampled(samples: Samples, from_hz: int, to_hz: int) -> NDArray[np.float32]:
    import soxr

    if from_hz == to_hz:
        return samples
    resampled: NDArray[np.float32] = soxr.resample(samples, from_hz, to_hz, quality="HQ")
    return resampled


def _vocoder_input(samples: Samples, rate_hz: int) -> tuple[Samples, int]:
    """The clip with zeros to one window at least, and the window in samples."""
    n_fft = 2 ** round(np.log2(PITCH_FRAME_S * rate_hz))
    return np.pad(samples, (0, max(n_fft - len(samples), 0))), n_fft


def _level(kbits: float, limits: tuple[float, float]) -> float:
    """libsndfile's compression level: 0 the largest bit rate, 1 (not taken) the smallest."""
    low, high = limits
    return min((high - kbits) / (high - low), 0.99)


def _at_least(rate_hz: int, rates_hz: tuple[int, ...]) -> int:
    """The smallest rate of a codec that loses nothing; its largest where none does."""
    return min((rate for rate in rates_hz if rate >= rate_hz), default=rates_hz[-1])


def _float32(samples: NDArray[np.floating]) -> Samples:
    return np.ascontiguousarray(samples, dtype=np.float32)
