"""Audio that a container holds and does not count, or that decoders pass over, is named."""

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.conftest import write_tone
from usad_workbench.core.audio.reading import scan_audio
from usad_workbench.core.errors import AudioError

RATE_HZ = 16_000
DATA = 36
"""Where the chunk of audio of a plain WAV begins."""


def _wav(path: Path, seconds: float = 2.0) -> bytearray:
    whole = bytearray(write_tone(path, 300, seconds).read_bytes())
    assert whole[DATA : DATA + 4] == b"data"
    return whole


@pytest.mark.parametrize("share", [0.01, 0.25, 0.9])
def test_a_length_that_was_never_brought_up_to_date_is_named(share: float, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    whole = _wav(path)
    counted = 2 * int(share * RATE_HZ)
    whole[DATA + 4 : DATA + 8] = struct.pack("<I", counted)
    path.write_bytes(whole)
    with pytest.raises(AudioError, match=rf"ends after {counted} bytes, \d+ behind it"):
        scan_audio(path)


def test_audio_in_a_second_chunk_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    whole = _wav(path)
    path.write_bytes(whole + whole[DATA:])
    with pytest.raises(AudioError, match="lie in a second one"):
        scan_audio(path)


@pytest.mark.parametrize(
    "behind",
    [
        bytes(100_000),
        b"TAG" + b"\xff" * 125,
        b"ID3\x03" + b"\x00" * 2000,
        b"\x01\x02\x03\x04" * 500,
        b"LIST" + struct.pack("<I", 300_000) + b"INFO" + b"\xee" * 300_000,
    ],
    ids=["padding", "id3v1", "id3v2", "junk", "list"],
)
def test_tags_and_padding_are_no_audio(behind: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(_wav(path) + behind)
    assert scan_audio(path).n_samples == 2 * RATE_HZ


def _pages(data: bytes) -> list[int]:
    return [i for i in range(len(data)) if data[i : i + 4] == b"OggS"]


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
@pytest.mark.parametrize("harm", ["overwritten", "cut out", "page"])
def test_what_is_lost_inside_an_ogg_file_is_named(subtype: str, harm: str, tmp_path: Path) -> None:
    path = tmp_path / "a.ogg"
    noise = 0.1 * np.random.default_rng(0).normal(size=8 * RATE_HZ)
    soundfile.write(path, noise, RATE_HZ, format="OGG", subtype=subtype)
    assert scan_audio(path).n_samples == pytest.approx(8 * RATE_HZ, abs=2)
    data = path.read_bytes()
    half = len(data) // 2
    pages = _pages(data)
    first, after = pages[len(pages) // 2 : len(pages) // 2 + 2]
    path.write_bytes(
        {
            "overwritten": data[:half] + b"\x55" * 500 + data[half + 500 :],
            "cut out": data[:half] + data[half + 500 :],
            "page": data[:first] + data[after:],
        }[harm]
    )
    with pytest.raises(AudioError, match=r"Ogg pages? (at|are missing)"):
        scan_audio(path)


def test_a_chain_of_flac_streams_is_read_whole_or_named(tmp_path: Path) -> None:
    parts = []
    for hz in (300, 500):
        samples, _ = soundfile.read(write_tone(tmp_path / f"{hz}.wav", hz, 1.0), dtype="float32")
        soundfile.write(tmp_path / f"{hz}.flac", samples, RATE_HZ)
        parts.append((tmp_path / f"{hz}.flac").read_bytes())
    both = tmp_path / "both.flac"
    both.write_bytes(parts[0] + parts[1])
    try:
        assert scan_audio(both).n_samples == 2 * RATE_HZ
    except AudioError as error:
        assert "promise 32000 samples" in str(error)
