"""Each change does what its name says, measured on the changed signal."""

import numpy as np
import pytest
from numpy.typing import NDArray

from usad_workbench.core.errors import AudioError, ShapeError
from usad_workbench.core.interventions import (
    INTERVENTIONS,
    Intervention,
    apply_intervention,
    intervention_rng,
)

RATE_HZ = 16_000
SPEECH_BAND_HZ = (200.0, 3000.0)


def named(name: str) -> list[Intervention]:
    return [one for one in INTERVENTIONS if one.name == name]


def changed(
    one: Intervention, x: NDArray[np.float32], rate_hz: int = RATE_HZ
) -> NDArray[np.float32]:
    return apply_intervention(one, x, rate_hz, intervention_rng(0, one, "clip"))


def tone(hz: float, seconds: float = 2.0, rate_hz: int = RATE_HZ) -> NDArray[np.float32]:
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    return (0.3 * np.sin(2 * np.pi * hz * t)).astype(np.float32)


def noise(
    seconds: float = 2.0, rate_hz: int = RATE_HZ, band: tuple[float, float] | None = None
) -> NDArray[np.float32]:
    n = round(seconds * rate_hz)
    spectrum = np.fft.rfft(np.random.default_rng(5).standard_normal(n))
    if band is not None:
        hz = np.fft.rfftfreq(n, 1 / rate_hz)
        spectrum[(hz < band[0]) | (hz > band[1])] = 0
    x = np.fft.irfft(spectrum, n)
    return (0.3 * x / np.abs(x).max()).astype(np.float32)


def power_db(x: NDArray[np.floating]) -> float:
    return float(10 * np.log10(np.mean(np.asarray(x, dtype=np.float64) ** 2)))


def loudest_hz(x: NDArray[np.float32], rate_hz: int = RATE_HZ) -> float:
    spectrum = np.abs(np.fft.rfft(x * np.hanning(len(x)), 8 * len(x)))
    return float(np.fft.rfftfreq(8 * len(x), 1 / rate_hz)[spectrum.argmax()])


@pytest.mark.parametrize("one", named("gain"))
def test_gain_in_db(one: Intervention) -> None:
    x = noise()
    assert power_db(changed(one, x)) - power_db(x) == pytest.approx(one.strength, abs=1e-4)


@pytest.mark.parametrize("one", [*named("white-noise"), *named("pink-noise")])
def test_noise_has_its_ratio_and_its_colour(one: Intervention) -> None:
    x = tone(440.0)
    added = changed(one, x).astype(np.float64) - x
    assert power_db(x) - power_db(added) == pytest.approx(one.strength, abs=0.1)
    spectrum = np.abs(np.fft.rfft(added)) ** 2
    hz = np.fft.rfftfreq(len(added), 1 / RATE_HZ)
    octaves = [spectrum[(hz >= low) & (hz < 2 * low)].sum() for low in (250, 500, 1000, 2000)]
    slope = np.polyfit(range(4), 10 * np.log10(octaves), 1)[0]
    # An octave is twice as wide as the one below: white gains 3 dB, pink stays level.
    assert slope == pytest.approx(3.01 if one.name == "white-noise" else 0.0, abs=0.4)


@pytest.mark.parametrize("name", ["gsm", "opus", "mp3"])
@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 22_050, 44_100, 48_000])
def test_codecs_come_back_without_delay(name: str, rate_hz: int) -> None:
    x = noise(1.0, rate_hz, SPEECH_BAND_HZ)
    (one,) = named(name)
    y = changed(one, x, rate_hz)
    assert len(y) == len(x)
    lags = np.arange(-2000, 2001)
    spectrum = np.fft.rfft(y, 4 * len(x)) * np.conj(np.fft.rfft(x, 4 * len(x)))
    correlation = np.fft.irfft(spectrum)[lags]
    # Broadband noise is coded coarsely: the peak may be a sample or two wide.
    assert abs(lags[correlation.argmax()]) <= rate_hz // 8_000
    assert np.corrcoef(x, y)[0, 1] > 0.5
    assert not np.array_equal(x, y)


def test_band_limit_leaves_nothing_above() -> None:
    (one,) = named("band-limit")
    x = noise(2.0, 44_100)
    y = changed(one, x, 44_100)
    hz = np.fft.rfftfreq(len(x), 1 / 44_100)
    before, after = (np.abs(np.fft.rfft(v)) ** 2 for v in (x, y))
    # What is left is the jump at both ends of the cut noise.
    assert after[hz > 5000].sum() < 1e-4 * before[hz > 5000].sum()
    assert after[hz < 3000].sum() == pytest.approx(before[hz < 3000].sum(), rel=0.02)
    assert np.array_equal(changed(one, noise(1.0, 8_000), 8_000), noise(1.0, 8_000))


def test_reverberation_decays_in_its_rt60() -> None:
    """Schroeder's backward integral of the response, fitted from -10 to -30 dB."""
    (one,) = named("reverberation")
    impulse = np.zeros(RATE_HZ, dtype=np.float32)
    impulse[0] = 0.5
    response = changed(one, impulse).astype(np.float64)
    energy = np.cumsum(response[::-1] ** 2)[::-1]
    level = 10 * np.log10(energy / energy[0] + 1e-12)
    part = np.flatnonzero((level < -10) & (level > -30))
    slope = np.polyfit(part / RATE_HZ, level[part], 1)[0]
    assert -60 / slope == pytest.approx(one.strength, rel=0.1)
    x = noise()
    assert power_db(changed(one, x)) == pytest.approx(power_db(x), abs=0.01)


@pytest.mark.parametrize("one", named("pitch-shift"))
def test_pitch_moves_by_semitones_and_length_does_not(one: Intervention) -> None:
    y = changed(one, tone(440.0))
    assert 12 * np.log2(loudest_hz(y) / 440.0) == pytest.approx(one.strength, abs=0.1)
    assert len(y) == 2 * RATE_HZ


@pytest.mark.parametrize("one", named("time-stretch"))
def test_stretch_changes_length_and_not_pitch(one: Intervention) -> None:
    y = changed(one, tone(440.0))
    assert len(y) == round(2 * RATE_HZ / one.strength)
    assert loudest_hz(y) == pytest.approx(440.0, abs=4)


def test_trimming_takes_silence_at_both_ends() -> None:
    (one,) = named("trim-silence")
    quiet = np.zeros(RATE_HZ // 2, dtype=np.float32)
    y = changed(one, np.concatenate([quiet, tone(440.0, 1.0), quiet]))
    assert len(y) / RATE_HZ == pytest.approx(1.0, abs=0.05)
    np.testing.assert_array_equal(changed(one, tone(440.0)), tone(440.0))


@pytest.mark.parametrize("one", INTERVENTIONS, ids=lambda one: f"{one.name}{one.strength:g}")
def test_the_same_seed_gives_the_same_and_the_input_is_left_alone(one: Intervention) -> None:
    x = noise(0.5)
    kept = x.copy()
    np.testing.assert_array_equal(changed(one, x), changed(one, x))
    np.testing.assert_array_equal(x, kept)
    assert changed(one, x).dtype == np.float32


@pytest.mark.parametrize("one", INTERVENTIONS, ids=lambda one: f"{one.name}{one.strength:g}")
def test_degenerate_clips_are_named(one: Intervention) -> None:
    for bad in (np.zeros(RATE_HZ), np.ones(1), np.full(RATE_HZ, np.nan), np.zeros(0)):
        with pytest.raises(AudioError):
            changed(one, bad.astype(np.float32))
    with pytest.raises(ShapeError):
        changed(one, np.ones((2, RATE_HZ), dtype=np.float32))
    assert np.isfinite(changed(one, noise(0.04))).all()


def test_noise_differs_between_clips() -> None:
    one = named("white-noise")[0]
    x = noise(0.5)
    other = apply_intervention(one, x, RATE_HZ, intervention_rng(0, one, "another"))
    assert not np.allclose(changed(one, x), other)
