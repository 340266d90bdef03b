"""Files without their end are named, in every container that tells; whole ones never are."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.conftest import write_tone
from usad_workbench.core.audio.reading import read_audio, scan_audio
from usad_workbench.core.errors import AudioError

RATE_HZ = 16_000
WRITERS: dict[str, dict[str, Any]] = {
    "a.wav": {},
    "extensible.wav": {"format": "WAVEX"},
    "big-endian.wav": {"format": "WAV", "endian": "BIG"},
    "a.rf64": {"format": "RF64"},
    "a.w64": {},
    "a.aiff": {},
    "a.au": {},
    "a.caf": {},
    "a.ogg": {},
    "a.opus": {"format": "OGG", "subtype": "OPUS"},
    "a.mp3": {},
}


def _written(folder: Path, name: str) -> Path:
    rng = np.random.default_rng(0)
    noise = 0.1 * rng.normal(size=2 * RATE_HZ)
    soundfile.write(folder / name, noise, RATE_HZ, **WRITERS[name])
    return folder / name


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_without_its_end_is_named_and_a_whole_one_is_not(name: str, tmp_path: Path) -> None:
    path = _written(tmp_path, name)
    assert scan_audio(path).duration_s == pytest.approx(2.0, abs=0.1)
    whole = path.read_bytes()
    for part in (0.5, 0.9):
        path.write_bytes(whole[: int(part * len(whole))])
        for read in (scan_audio, read_audio):
            with pytest.raises(AudioError, match="is truncated"):
                read(path)
        with path.open("rb") as file, pytest.raises(AudioError, match="is truncated"):
            read_audio(file)


@pytest.mark.parametrize("announced", [0, 0xFFFFFFFF, 0x7FFFF000])
def test_a_length_that_a_stream_could_not_know_is_no_promise(
    announced: int, tmp_path: Path
) -> None:
    path = write_tone(tmp_path / "a.wav", 300, 1.0)
    whole = bytearray(path.read_bytes())
    assert whole[36:40] == b"data"
    whole[40:44] = struct.pack("<I", announced)
    path.write_bytes(whole)
    if announced:  # libsndfile finds no samples where the header says none
        assert scan_audio(path).n_samples == RATE_HZ
    else:
        with pytest.raises(AudioError, match="0 samples"):
            scan_audio(path)


def test_a_part_that_is_there_can_be_read(tmp_path: Path) -> None:
    path = write_tone(tmp_path / "a.wav", 300, 2.0)
    part = read_audio(path, end_s=0.5)
    path.write_bytes(path.read_bytes()[:40_000])
    np.testing.assert_array_equal(read_audio(path, end_s=0.5).samples, part.samples)


def test_what_follows_the_audio_is_not_counted_for_it(tmp_path: Path) -> None:
    path = write_tone(tmp_path / "a.wav", 300, 0.5)
    path.write_bytes(path.read_bytes() + b"LIST" + struct.pack("<I", 4) + b"INFO")
    assert scan_audio(path).n_samples == RATE_HZ // 2


def test_the_samples_of_an_mp3_are_counted_not_believed(tmp_path: Path) -> None:
    """Within the tolerance of its header, it is as long as what can be decoded."""
    path = _written(tmp_path, "a.mp3")
    path.write_bytes(path.read_bytes()[:-40])
    counted = scan_audio(path).n_samples
    assert counted == len(read_audio(path).samples) < 2 * RATE_HZ


def test_an_ogg_stream_that_never_ended_is_read(tmp_path: Path) -> None:
    """As recordings of a broadcast are: whole pages, none of which says that it is the last."""
    path = tmp_path / "a.ogg"
    soundfile.write(path, 0.1 * np.random.default_rng(0).normal(size=6 * RATE_HZ), RATE_HZ)
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.rfind(b"OggS")])
    assert 4 * RATE_HZ < scan_audio(path).n_samples < 6 * RATE_HZ
