"""Parts of one file read in their order are those that are read one by one, and the file is decoded once."""

import io
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.core.audio.test_decoders import HELD, RATE_HZ, _written
from usad_workbench.core.audio import decoders, ffmpeg
from usad_workbench.core.audio.reading import (
    open_sound,
    read_audio,
    read_parts,
    resample,
    scan_audio,
)
from usad_workbench.core.clips import Clip
from usad_workbench.core.errors import AudioError, ConfigError

CONSECUTIVE = [(0.0, 0.7), (0.7, 1.4), (1.4, 2.9)]
OVERLAPPING = [(0.1, 1.1), (0.6, 1.6), (0.6, 0.9), (0.8, 1.8), (2.0, 2.5)]
FILES: dict[str, Callable[[Path], Path]] = {name: HELD[name][0] for name in HELD}
FILES |= {f"a.{suffix}": _written for suffix in ("wav", "flac", "ogg", "mp3")}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("parts", [CONSECUTIVE, OVERLAPPING], ids=["consecutive", "overlapping"])
def test_parts_are_what_is_read_one_by_one(
    name: str, parts: list[tuple[float, float]], tmp_path: Path
) -> None:
    path = FILES[name](tmp_path / name)
    found = list(read_parts(path, parts, sample_rate_hz=16_000))
    whole = read_audio(path).samples
    assert len(found) == len(parts)
    for clip, (start_s, end_s) in zip(found, parts, strict=True):
        assert isinstance(clip, Clip)
        alone = read_audio(path, sample_rate_hz=16_000, start_s=start_s, end_s=end_s)
        assert (clip.start_s, clip.path) == (alone.start_s, alone.path)
        np.testing.assert_allclose(clip.samples, alone.samples, atol=2e-6)
        expected = whole[round(start_s * RATE_HZ) : round(end_s * RATE_HZ)]
        cut = Clip(samples=expected, sample_rate_hz=RATE_HZ)
        np.testing.assert_allclose(clip.samples, resample(cut, 16_000).samples, atol=2e-6)


@pytest.mark.parametrize(
    ("suffix", "rate_hz"), [("mp3", 44_100), ("ogg", 16_000), ("opus", 48_000)]
)
def test_every_window_has_the_samples_of_the_whole_file(
    suffix: str, rate_hz: int, tmp_path: Path
) -> None:
    """Frames of a sweep rest on bits of frames before, and its last page of Vorbis is long."""
    t = np.arange(12 * rate_hz) / rate_hz
    sweep = (0.3 * np.sin(2 * np.pi * (200 + 50 * t) * t)).astype(np.float32)
    path = tmp_path / f"a.{suffix}"
    kind = {"opus": {"format": "OGG", "subtype": "OPUS"}}.get(suffix, {})
    with soundfile.SoundFile(path, "w", rate_hz, 1, **kind) as file:  # type: ignore[arg-type]
        for second in np.split(sweep, 12):
            file.write(second)
    with open_sound(path) as sound:
        whole = sound.read(0, len(sweep))[:, 0]
    blocks = []
    with open_sound(path) as sound:
        while len(block := sound.read(sum(map(len, blocks)), 7_777)):
            blocks.append(block[:, 0])
    np.testing.assert_allclose(np.concatenate(blocks), whole, atol=2e-6)
    with open_sound(path) as sound:
        for first in np.random.default_rng(0).permutation(np.arange(0, len(whole) - 500, 9_001)):
            found = sound.read(int(first), 20_000)[:, 0]
            np.testing.assert_allclose(found, whole[first : first + 20_000], atol=2e-6)


def _count_decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Gets the length of each block that FFmpeg decodes from now on."""
    lengths: list[int] = []
    blocks = ffmpeg.SoundStream.blocks

    def counted(self: ffmpeg.SoundStream):  # type: ignore[no-untyped-def]
        for block in blocks(self):
            lengths.append(len(block))
            yield block

    monkeypatch.setattr(ffmpeg.SoundStream, "blocks", counted)
    return lengths


def test_a_file_is_decoded_once_and_no_further_than_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = FILES["a.m4a"](tmp_path / "a.m4a")
    lengths = _count_decoded(monkeypatch)
    assert len(list(read_parts(path, OVERLAPPING))) == len(OVERLAPPING)
    assert 2.5 * RATE_HZ <= sum(lengths) < 2.6 * RATE_HZ
    lengths.clear()
    n_samples = scan_audio(path).n_samples
    assert sum(lengths) == n_samples


def test_a_part_without_sound_stops_no_other(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).normal(size=3 * RATE_HZ) / 10
    samples[RATE_HZ : 2 * RATE_HZ] = 0
    soundfile.write(tmp_path / "a.wav", samples, RATE_HZ)
    first, second, third, fourth = read_parts(tmp_path / "a.wav", [(0, 1), (1, 2), (2, 3), (8, 9)])
    assert isinstance(first, Clip) and isinstance(third, Clip)
    assert isinstance(second, AudioError) and "is silent" in str(second)
    assert isinstance(fourth, AudioError) and "3.000 s long" in str(fourth)


@pytest.mark.parametrize("name", ["a.wav", "a.m4a"])
def test_a_file_that_cannot_be_read_is_an_error_of_every_part(name: str, tmp_path: Path) -> None:
    path = FILES[name](tmp_path / name)
    path.write_bytes(path.read_bytes()[:5_000])
    found = list(read_parts(path, [(0.0, 1.0), (1.0, 2.0), (2.0, 3.0)]))
    assert len(found) == 3 and any(isinstance(one, AudioError) for one in found)
    missing = list(read_parts(tmp_path / "none.wav", [(0, 1), (1, 2)]))
    assert all("is no file" in str(one) for one in missing) and len(missing) == 2


def test_parts_out_of_order_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="order of their starts"):
        list(read_parts(_written(tmp_path / "a.wav"), [(1.0, 2.0), (0.0, 1.0)]))


def test_what_ffmpeg_says_in_the_middle_is_said_of_all_that_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = FILES["a.m4a"](tmp_path / "a.m4a")
    blocks = ffmpeg.SoundStream.blocks

    def broken(self: ffmpeg.SoundStream):  # type: ignore[no-untyped-def]
        for block in blocks(self):
            if self.n_samples > RATE_HZ:
                raise AudioError("damaged behind 1 s")
            yield block

    monkeypatch.setattr(ffmpeg.SoundStream, "blocks", broken)
    first, second, third = read_parts(path, [(0.0, 0.5), (0.5, 1.5), (2.0, 3.0)])
    assert isinstance(first, Clip)
    assert str(second) == str(third) == "damaged behind 1 s"


def test_open_files_are_read_in_order_too(tmp_path: Path) -> None:
    stream = io.BytesIO(FILES["a.m4a"](tmp_path / "a.m4a").read_bytes())
    (clip,) = read_parts(stream, [(1.0, 2.0)])
    assert isinstance(clip, Clip) and len(clip.samples) == RATE_HZ


HOURS = 2


@pytest.fixture(scope="module")
def long_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hours at 8 kHz whose every second is another one, in four formats."""
    folder = tmp_path_factory.mktemp("long")
    files = [
        soundfile.SoundFile(folder / f"a.{suffix}", "w", 8_000, 1)
        for suffix in ("wav", "flac", "ogg", "mp3")
    ]
    noise = np.random.default_rng(0)
    for _ in range(HOURS * 360):  # of much more at once libsndfile makes no Vorbis, but a crash
        block = noise.uniform(-0.3, 0.3, 10 * 800).repeat(10).astype(np.float32)
        for file in files:
            file.write(block)
    for file in files:
        file.close()
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_a_window_hours_into_a_file_is_that_of_the_whole(suffix: str, long_files: Path) -> None:
    path = long_files / f"a.{suffix}"
    start = 7_100 * 8_000
    with open_sound(path, in_order=True) as sound:
        assert sound.decoder == "libsndfile"
        whole = np.concatenate(
            [sound.read(i * 8_000_000, 8_000_000)[:, 0] for i in range(HOURS * 4)]
        )
    found = read_audio(path, start_s=7_100, end_s=7_110).samples
    expected = whole[start : start + 80_000]
    assert np.abs(found - expected).max() <= (0 if suffix in ("wav", "flac") else 1e-4)
    others = [np.abs(found - whole[start + k : start + k + 80_000]).max() for k in (-1, 1)]
    assert min(others) > 1e-2  # a sample early or late would show


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length(long_files: Path) -> None:
    decoders._reasons.clear()
    tracemalloc.start()
    try:
        assert scan_audio(long_files / "a.flac").duration_s == HOURS * 3600
        for clip in read_parts(long_files / "a.flac", [(i, i + 10) for i in range(0, 7_200, 10)]):
            assert isinstance(clip, Clip)
        assert tracemalloc.get_traced_memory()[1] < 60e6
    finally:
        tracemalloc.stop()
