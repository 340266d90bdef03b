"""Reading audio: parts, channels, rates, and what is refused."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.conftest import write_tone
from usad_workbench.core.audio.reading import probe_audio, read_audio, resample, scan_audio
from usad_workbench.core.clips import Clip, ClipBatch
from usad_workbench.core.encoders.registry import load_encoder
from usad_workbench.core.errors import AudioError, ShapeError, UsadError
from usad_workbench.core.models.batching import BatchPlan, plan_batches


def test_a_part_is_the_same_samples_as_the_whole(tmp_path: Path) -> None:
    path = write_tone(tmp_path / "a.wav", 440, 3.0, 8_000)
    whole = read_audio(path)
    part = read_audio(path, start_s=1.0, end_s=2.5)
    np.testing.assert_array_equal(part.samples, whole.samples[8_000:20_000])
    assert (part.start_s, part.duration_s) == (1.0, 1.5)
    np.testing.assert_array_equal(whole.cut(1.0, 2.5).samples, part.samples)


def test_channels_are_averaged(tmp_path: Path) -> None:
    left = np.linspace(-0.5, 0.5, 4_000)
    soundfile.write(tmp_path / "a.wav", np.stack([left, np.full(4_000, 0.25)], 1), 8_000, "FLOAT")
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav").samples, (left + 0.25) / 2, atol=1e-7)


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 44_100, 48_000, 192_000])
def test_resampling_keeps_a_tone(tmp_path: Path, rate_hz: int) -> None:
    """A tone keeps its frequency, level and length at any rate that can hold it."""
    t = np.arange(rate_hz) / rate_hz
    clip = Clip(samples=np.sin(2 * np.pi * 1000 * t).astype(np.float32), sample_rate_hz=rate_hz)
    back = resample(clip, 16_000)
    assert abs(len(back.samples) - 16_000) <= 1
    middle = back.samples[2_000:14_000].astype(np.float64)
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    assert np.argmax(spectrum) == round(1000 * len(middle) / 16_000)
    assert np.sqrt(2 * np.mean(middle**2)) == pytest.approx(1.0, abs=1e-3)


def test_an_open_file_reads_like_a_path(tmp_path: Path) -> None:
    path = write_tone(tmp_path / "a.flac", 300)
    stream = io.BytesIO(path.read_bytes())
    stream.read(100)  # wherever it stands
    np.testing.assert_array_equal(read_audio(stream).samples, read_audio(path).samples)
    assert probe_audio(stream).duration_s == 1.0


def test_scan_counts_what_is_there(tmp_path: Path) -> None:
    path = write_tone(tmp_path / "a.ogg", 300, 2.0)
    assert scan_audio(path).n_samples == 32_000
    path = write_tone(tmp_path / "a.mp3", 300, 2.0)
    assert scan_audio(path).duration_s == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize(("start_s", "end_s"), [(-1.0, None), (2.0, 3.0), (0.5, 0.5), (0.7, 0.2)])
def test_parts_outside_are_refused(tmp_path: Path, start_s: float, end_s: float | None) -> None:
    path = write_tone(tmp_path / "a.wav", 440, 1.0)
    with pytest.raises(AudioError, match="lies inside"):
        read_audio(path, start_s=start_s, end_s=end_s)


def test_silence_is_named(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "s.wav", np.zeros(8_000), 8_000)
    for read in (read_audio, scan_audio):
        with pytest.raises(AudioError, match="is silent"):
            read(tmp_path / "s.wav")


def test_errors_are_users_errors_and_builtin_ones(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no file") as caught:
        read_audio(tmp_path / "none.wav")
    assert isinstance(caught.value, UsadError)
    with pytest.raises(ShapeError, match="one axis of float32"):
        Clip(samples=np.zeros((2, 3), np.float32), sample_rate_hz=8_000)
    with pytest.raises(AudioError, match="no clip"):
        ClipBatch.from_clips([])


def test_a_plan_is_the_encoders_on_a_cpu_and_the_devices_elsewhere() -> None:
    assert BatchPlan.on("cpu", 4.0).max_batch_s == 4.0
    assert BatchPlan.on("cuda:1", 4.0).max_batch_s == BatchPlan.on("cuda", 60.0).max_batch_s == 240


def test_batches_hold_each_clip_once_and_keep_their_limits() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.choice([16_000, 20_000, 50_000, 160_000], 200).tolist()
    for pads in (True, False):
        batches = list(plan_batches(lengths, 16_000, pads, BatchPlan()))
        assert sorted(i for batch in batches for i in batch) == list(range(200))
        for batch in batches:
            longest = max(lengths[i] for i in batch)
            assert len(batch) * longest <= 60 * 16_000
            assert pads or len({lengths[i] for i in batch}) == 1


@pytest.mark.parametrize(
    ("scale", "said"), [(np.nan, "not finite"), (32767.0, "scale of integers"), (0.0, "is silent")]
)
def test_samples_that_are_handed_in_are_looked_at_like_a_file(scale: float, said: str) -> None:
    tone = np.sin(np.arange(16_000) / 7).astype(np.float32)
    clip = Clip(samples=(scale * tone).astype(np.float32), sample_rate_hz=16_000)
    encoder = load_encoder("log-mel-statistics")
    for take in (encoder.encode, encoder.embed):
        with pytest.raises(AudioError, match=said):
            take(clip)


@pytest.mark.parametrize("rate_hz", [0, -1])
def test_a_clip_has_a_rate(rate_hz: int) -> None:
    with pytest.raises(AudioError, match="sample rate above 0 Hz"):
        Clip(samples=np.ones(10, np.float32), sample_rate_hz=rate_hz)
