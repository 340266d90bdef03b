"""Portions of audio: the samples of each segment's own file and times, decoded once for all rates."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.conftest import write_tone
from usad_workbench.core.audio.reading import read_audio
from usad_workbench.core.clips import Clip
from usad_workbench.core.files import sha256_of_file
from usad_workbench.core.storage import segment_audio
from usad_workbench.core.storage.importing import Failure
from usad_workbench.core.storage.segment_audio import (
    SegmentAudio,
    in_portions,
    in_stretches,
    read_ahead,
    read_at_rates,
)

RATES_HZ = (16_000, 22_050)


@pytest.fixture
def segments(tmp_path: Path) -> list[SegmentAudio]:
    """Nine short files, and a long one in windows of one second, in the order of their numbers."""
    found = []
    for i in range(9):
        write_tone(tmp_path / f"tone{i}.wav", 20 + 7 * i, 0.5 + 0.02 * i)
        found.append(SegmentAudio(i, f"tone{i}.wav", 0.0, 0.5 + 0.02 * i, None))
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "long.flac", 0.1 * rng.normal(size=24_000 * 20), 24_000)
    found += [SegmentAudio(9 + i, "long.flac", float(i), i + 1.0, None) for i in range(20)]
    return found


def test_each_segment_has_its_own_samples_at_every_rate(
    tmp_path: Path, segments: list[SegmentAudio], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment_audio, "PORTION_S", 3.0)
    monkeypatch.setattr(segment_audio.in_portions, "__defaults__", (3.0, 4))
    monkeypatch.setattr(segment_audio, "PORTION_SEGMENTS", 4)
    seen: list[int] = []
    for portion, audio in read_at_rates(tmp_path, RATES_HZ, segments):
        assert len(portion) <= 4
        for rate in RATES_HZ:
            for segment, clip in zip(portion, audio[rate], strict=True):
                alone = read_audio(
                    tmp_path / segment.path,
                    sample_rate_hz=rate,
                    start_s=segment.start_s,
                    end_s=segment.end_s,
                )
                assert isinstance(clip, Clip)
                np.testing.assert_array_equal(clip.samples, alone.samples)
        seen += [segment.segment_id for segment in portion]
    assert sorted(seen) == list(range(29))
    of_long = [number for number in seen if number >= 9]
    assert of_long == sorted(of_long)


def test_a_file_is_opened_once_for_all_its_segments_and_rates(
    tmp_path: Path, segments: list[SegmentAudio], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    for name in ("read_audio", "read_parts"):
        read = getattr(segment_audio, name)

        def counted(file: Path, *args: object, read: object = read, **how: object) -> object:
            opened.append(file.name)
            return read(file, *args, **how)  # type: ignore[operator]

        monkeypatch.setattr(segment_audio, name, counted)
    monkeypatch.setattr(segment_audio.in_portions, "__defaults__", (3.0, 4))
    assert len(list(read_at_rates(tmp_path, RATES_HZ, segments))) > 5
    assert sorted(opened) == sorted({segment.path for segment in segments})


def test_what_cannot_be_read_is_named_and_the_others_are_read(
    tmp_path: Path, segments: list[SegmentAudio]
) -> None:
    digests = {i: sha256_of_file(tmp_path / segments[i].path) for i in (0, 1, 10)}
    segments = [
        SegmentAudio(s.segment_id, s.path, s.start_s, s.end_s, digests.get(s.segment_id))
        for s in segments
    ]
    write_tone(tmp_path / "tone1.wav", 900.0)
    (tmp_path / "tone2.wav").unlink()
    beyond = SegmentAudio(29, "long.flac", 30.0, 31.0, None)
    failed = {}
    n_clips = 0
    for portion, clips in read_ahead(tmp_path, 16_000, [*segments, beyond]):
        for segment, clip in zip(portion, clips, strict=True):
            n_clips += isinstance(clip, Clip)
            if isinstance(clip, Failure):
                failed[segment.segment_id] = clip
    assert set(failed) == {1, 2, 29} and n_clips == 27
    assert "has changed since it was imported" in failed[1].reason
    assert failed[29].path == "long.flac [30 s to 31 s]"


def test_a_stretch_is_one_portion_of_short_files_or_one_long_file(
    segments: list[SegmentAudio],
) -> None:
    many = [SegmentAudio(i, f"{i}.wav", 0.0, 1.5, None) for i in range(600)]
    long = [SegmentAudio(600 + i, "day.mp3", 10.0 * i, 10.0 * i + 10.0, None) for i in range(300)]
    stretches = list(in_stretches([*many, *long, *segments]))
    assert [s for stretch in stretches for s in stretch] == [*many, *long, *segments]
    assert [len(stretch) for stretch in stretches] == [160, 160, 160, 120, 300, 29]
    assert [len(list(in_portions(stretch))) for stretch in stretches] == [1, 1, 1, 1, 13, 1]
    assert [len(s) for s in in_stretches(long, longest_s=1000.0)] == [100, 100, 100]
    assert list(in_stretches([])) == []
