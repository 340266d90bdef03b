"""Every change with its name, strength, unit and source, and the one way to apply it."""

import zlib
from dataclasses import dataclass

import numpy as np

from usad_workbench.core.audio.reading import check_samples
from usad_workbench.core.clips import Samples
from usad_workbench.core.errors import ShapeError
from usad_workbench.core.interventions.changes import (
    Change,
    band_limit,
    gain,
    gsm,
    mp3,
    noise,
    opus,
    pitch_shift,
    reverberation,
    time_stretch,
    trim_silence,
)

CHANGES_VERSION = "1"
"""Raised when the same clip and seed would be changed in another way than before."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Intervention:
    """One change of a clip at one strength."""

    name: str
    strength: float
    unit: str
    change: Change
    source: str = ""
    """Where the change or its strength is defined."""


_SPEED = "Ko et al. 2015, Interspeech (speed and tempo perturbation)"
_SCORE = "Reference SNRs of the invariance score: 20, 10 and 0 dB"

INTERVENTIONS: tuple[Intervention, ...] = (
    *(
        Intervention(name="gain", strength=value, unit="dB", change=gain(value))
        for value in (-12.0, -6.0, 6.0, 12.0)
    ),
    *(
        Intervention(
            name=name, strength=value, unit="dB SNR", change=noise(value, power), source=_SCORE
        )
        for name, power in (("white-noise", 0.0), ("pink-noise", 1.0))
        for value in (20.0, 10.0, 0.0)
    ),
    Intervention(
        name="gsm", strength=13.0, unit="kbit/s", change=gsm(), source="ETSI EN 300 961 (GSM 06.10)"
    ),
    Intervention(name="opus", strength=16.0, unit="kbit/s", change=opus(16.0), source="RFC 6716"),
    Intervention(
        name="mp3", strength=32.0, unit="kbit/s", change=mp3(32.0), source="ISO/IEC 13818-3"
    ),
    Intervention(
        name="band-limit",
        strength=4000.0,
        unit="Hz",
        change=band_limit(4000.0),
        source="What 8 kHz sampling keeps",
    ),
    Intervention(
        name="reverberation",
        strength=0.5,
        unit="s RT60",
        change=reverberation(0.5),
        source="Polack 1988 (exponentially decaying noise)",
    ),
    *(
        Intervention(
            name="pitch-shift", strength=value, unit="semitones", change=pitch_shift(value)
        )
        for value in (-2.0, 2.0)
    ),
    *(
        Intervention(
            name="time-stretch",
            strength=value,
            unit="speed",
            change=time_stretch(value),
            source=_SPEED,
        )
        for value in (0.8, 1.25)
    ),
    Intervention(
        name="trim-silence", strength=30.0, unit="dB below peak", change=trim_silence(30.0)
    ),
)
"""In the order of the panel. Strengths stand in ``unit``."""


def intervention_rng(seed: int, intervention: Intervention, clip_id: str) -> np.random.Generator:
    """Random numbers of one change of one clip: the same for every encoder, in any order."""
    text = f"{intervention.name}|{intervention.strength:g}|{clip_id}"
    return np.random.default_rng([seed, zlib.crc32(text.encode())])


def apply_intervention(
    intervention: Intervention, samples: Samples, rate_hz: int, rng: np.random.Generator
) -> Samples:
    """A changed copy of a clip.

    Args:
        intervention: One of ``INTERVENTIONS``.
        samples: Mono `[sample]`.
        rate_hz: Of the samples, before and after.
        rng: Noise and tails are drawn from it.

    Raises:
        ShapeError: more than one channel.
        AudioError: silent, not finite or shorter than 25 ms, before the change or after.

    >>> tone = np.sin(np.arange(1600) / 5).astype(np.float32)
    >>> louder = apply_intervention(INTERVENTIONS[3], tone, 16000, np.random.default_rng(0))
    >>> round(float(20 * np.log10(np.abs(louder).max() / np.abs(tone).max())), 3)
    12.0
    """
    samples = np.asarray(samples, dtype=np.float32)
    if samples.ndim != 1:
        raise ShapeError(
            f"Found samples of shape {samples.shape}, expected one channel [sample]. "
            "Average the channels first."
        )
    check_samples(samples, rate_hz, "the clip")
    what = f"the clip after {intervention.name} {intervention.strength:g} {intervention.unit}"
    return check_samples(intervention.change(samples, rate_hz, rng), rate_hz, what)
