"""Import: what goes in, what is named, and that names are only data."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.conftest import write_tone
from usad_workbench.core.errors import AudioError, ConfigError
from usad_workbench.core.storage import importing
from usad_workbench.core.storage.exporting import export_clips
from usad_workbench.core.storage.importing import (
    SourceClip,
    find_sources,
    import_clips,
    read_manifest,
)
from usad_workbench.core.storage.segments import Segmentation
from usad_workbench.core.storage.workspace import Workspace

SCRIPT_NAME = "<script>window.hacked=1<'script>.wav"


@pytest.fixture
def bad_inputs(tmp_path: Path) -> Path:
    """One folder with twelve kinds of bad or odd input and one good file."""
    folder = tmp_path / "inputs"
    folder.mkdir()
    rng = np.random.default_rng(0)
    noise = (0.1 * rng.normal(size=16_000)).astype(np.float32)
    (folder / "zero_bytes.wav").write_bytes(b"")
    soundfile.write(folder / "no_samples.wav", np.zeros(0), 16_000)
    (folder / "text.wav").write_text("this is not audio")
    soundfile.write(folder / "whole.flac", np.tile(noise, 4), 16_000)
    whole = (folder / "whole.flac").read_bytes()
    (folder / "truncated.flac").write_bytes(whole[: len(whole) // 2])
    (folder / "whole.flac").unlink()
    for name in ("truncated.wav", "truncated.ogg"):
        soundfile.write(folder / name, np.tile(noise, 2), 16_000)
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[: len(whole) // 2])
    broken = noise.copy()
    broken[100] = np.nan
    soundfile.write(folder / "nan.wav", broken, 16_000, subtype="FLOAT")
    soundfile.write(folder / "one_sample.wav", noise[:1], 16_000)
    soundfile.write(folder / "eight_channels.wav", np.stack([noise] * 8, 1), 16_000)
    soundfile.write(folder / "192khz.wav", np.tile(noise, 12), 192_000)
    (folder / "folder.wav").mkdir()
    write_tone(folder / SCRIPT_NAME, 300)
    write_tone(folder / "good.wav", 440)
    return folder


HANDLED = {"eight_channels.wav", "192khz.wav", SCRIPT_NAME, "good.wav"}
REFUSED = {
    "zero_bytes.wav": "holds no audio",
    "no_samples.wav": "0 samples",
    "text.wav": "holds no audio",
    "truncated.flac": "truncated|damaged",
    "truncated.wav": "is truncated or damaged: its header promises 64000 bytes of audio, 31978 are there",
    "truncated.ogg": "is truncated or damaged: its last Ogg page is not whole",
    "nan.wav": "not finite",
    "one_sample.wav": "1 samples",
    "folder.wav": "a folder",
}


def test_bad_inputs_are_handled_or_named(bad_inputs: Path, tmp_path: Path) -> None:
    import re

    workspace = Workspace.create(tmp_path / "w")
    report = import_clips(workspace, find_sources(bad_inputs))
    added = {Path(path).name for path in workspace.clips().path}
    assert added == HANDLED
    named = {Path(failure.path).name: failure.reason for failure in report.failed}
    assert set(named) == set(REFUSED)
    for name, pattern in REFUSED.items():
        assert re.search(pattern, named[name]), (name, named[name])
    assert int(workspace.sql("SELECT count(*) AS n FROM segments").n[0]) == len(HANDLED)


def _kept(workspace: Workspace) -> dict[str, str]:
    """Reason of each file that the table of failures names."""
    rows = workspace.sql("SELECT item, reason FROM failures WHERE step = 'import'")
    return {Path(item).name: reason for item, reason in rows.values}


def test_failures_are_kept_until_the_file_is_imported(bad_inputs: Path, tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "w")
    for _ in range(2):  # said twice, kept once
        report = import_clips(workspace, find_sources(bad_inputs))
        kept = _kept(workspace)
        assert len(workspace.sql("SELECT * FROM failures")) == len(REFUSED)
        assert kept == {Path(one.path).name: one.reason for one in report.failed}
    write_tone(bad_inputs / "text.wav", 500)
    assert import_clips(workspace, find_sources(bad_inputs / "text.wav")).n_added == 1
    assert set(_kept(workspace)) == set(REFUSED) - {"text.wav"}


def test_failures_of_a_file_in_the_workspace_move_with_it(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "w")
    broken = workspace.folder / "a.wav"
    broken.write_text("no audio")
    import_clips(workspace, [SourceClip(path=broken)])
    workspace.folder.rename(tmp_path / "moved")
    moved = Workspace.open(tmp_path / "moved")
    assert set(_kept(moved)) == {"a.wav"}
    write_tone(moved.folder / "a.wav", 300)
    import_clips(moved, [SourceClip(path=moved.folder / "a.wav")])
    assert _kept(moved) == {}


def test_lengths_are_counted_at_the_files_own_rate(bad_inputs: Path, tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "w")
    import_clips(workspace, find_sources(bad_inputs))
    clips = workspace.clips().set_index("dataset")
    by_name = {
        Path(p).name: (d, r) for p, d, r in clips[["path", "duration_s", "sample_rate_hz"]].values
    }
    assert by_name["192khz.wav"] == (1.0, 192_000)
    assert by_name["eight_channels.wav"] == (1.0, 16_000)


def test_ids_are_safe_whatever_the_file_is_called(bad_inputs: Path, tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "w")
    import_clips(workspace, find_sources(bad_inputs))
    for clip_id in workspace.clips().clip_id:
        assert clip_id.isascii()
        assert not set(clip_id) & set("<>/\\'\"&")


def test_second_import_skips_and_changed_audio_is_named(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "w")
    sources = [SourceClip(path=write_tone(tmp_path / "a.wav", 100), fields={"clip_id": "a"})]
    assert import_clips(workspace, sources).n_added == 1
    again = import_clips(workspace, sources)
    assert (again.n_added, again.n_skipped) == (0, 1)
    write_tone(tmp_path / "a.wav", 200)
    changed = import_clips(workspace, sources)
    assert changed.n_added == changed.n_skipped == 0
    assert "already taken by other audio" in changed.failed[0].reason


def test_manifest_fields_become_columns(tmp_path: Path) -> None:
    write_tone(tmp_path / "a.wav", 100)
    write_tone(tmp_path / "b.wav", 150)
    manifest = tmp_path / "m.csv"
    manifest.write_text(
        'path,clip_id,domain,Pitch (MIDI),score,"x""; DROP TABLE clips; --"\n'
        "a.wav,a,music,60,high,1\nb.wav,b,,61,low,2\n"
    )
    workspace = Workspace.create(tmp_path / "w")
    report = import_clips(workspace, read_manifest(manifest), domain="sound")
    assert report.n_added == 2
    clips = workspace.clips()
    assert clips.domain.tolist() == ["music", "sound"]
    assert clips.pitch_midi.tolist() == ["60", "61"]
    assert clips.meta_score.tolist() == ["high", "low"]
    assert clips.x_drop_table_clips.tolist() == ["1", "2"]


def test_manifest_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        read_manifest(tmp_path / "none.csv")
    (tmp_path / "m.csv").write_text("file\na.wav\n")
    with pytest.raises(ConfigError, match="expected 'path'"):
        read_manifest(tmp_path / "m.csv")
    with pytest.raises(AudioError, match="does not exist"):
        find_sources(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(AudioError, match="without audio files"):
        find_sources(tmp_path / "empty")


def test_audio_inside_the_workspace_moves_with_it(tmp_path: Path) -> None:
    folder = tmp_path / "w"
    workspace = Workspace.create(folder)
    (folder / "audio").mkdir()
    import_clips(workspace, [SourceClip(path=write_tone(folder / "audio" / "a.wav", 100))])
    folder.rename(tmp_path / "moved")
    moved = Workspace.open(tmp_path / "moved")
    assert moved.audio_path(moved.clips().path[0]).is_file()


@pytest.mark.parametrize("duration_s", [0.03, 9.99, 10.0, 10.5, 11.0, 20.0, 3600.25])
def test_segments_cover_the_clip_without_gaps(duration_s: float) -> None:
    cut = Segmentation(window_s=10.0, hop_s=10.0).cut(duration_s)
    assert cut[0][0] == 0.0
    assert math.isclose(cut[-1][1], duration_s)
    assert all(math.isclose(a[1], b[0]) for a, b in itertools.pairwise(cut))
    assert all(end - start <= 11.0 for start, end in cut)


@pytest.mark.parametrize("hop_s", [8.0, 0.5, 0.0078125])  # as wide as the window, and narrower
def test_a_clip_has_at_most_100_000_segments(hop_s: float) -> None:
    segmentation = Segmentation(window_s=8.0, hop_s=hop_s)
    most_s = 8.0 + 99_999 * hop_s
    assert 99_999 <= len(segmentation.cut(most_s)) <= 100_000  # a short rest joins the last
    with pytest.raises(AudioError, match="at most 100,000 are cut"):
        segmentation.cut(most_s + 10.0)
    with pytest.raises(AudioError, match="would be inf segments"):
        segmentation.cut(math.inf)


def test_a_file_of_too_many_segments_is_named_and_stops_nothing(tmp_path: Path) -> None:
    write_tone(tmp_path / "long.wav", 300.0, seconds=0.3)
    write_tone(tmp_path / "short.wav", 400.0, seconds=0.1)
    workspace = Workspace.create(tmp_path / "w", Segmentation(window_s=2e-6, hop_s=2e-6))
    report = import_clips(workspace, find_sources(tmp_path))
    (failure,) = report.failed
    assert failure.path.endswith("long.wav") and "150,000 segments" in failure.reason
    assert workspace.clips().path.map(lambda path: Path(path).name).tolist() == ["short.wav"]
    assert len(workspace.read("SELECT segment_id FROM segments")) == 50_000


def test_a_domain_that_comes_late_is_filled_in(workspace: Workspace, tmp_path: Path) -> None:
    source = SourceClip(path=write_tone(tmp_path / "late.wav", 300, 1.0), fields={"clip_id": "a"})
    import_clips(workspace, [source])
    report = import_clips(workspace, [source], domain="Speech")
    assert (report.n_filled, report.failed) == (1, [])
    assert workspace.clips("clip_id = 'a'").domain.tolist() == ["speech"]
    report = import_clips(workspace, [source], domain="music")
    assert len(report.failed) == 1 and "has the domain 'speech'" in report.failed[0].reason
    assert import_clips(workspace, [source], domain="music", update=True).n_filled == 1
    assert workspace.clips("clip_id = 'a'").domain.tolist() == ["music"]


@pytest.mark.parametrize(
    ("label", "hz", "n_failed"), [("dog", 300, 0), ("cat", 300, 1), ("dog", 400, 1)]
)
def test_what_another_import_added_meanwhile_is_counted_or_named(
    workspace: Workspace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    label: str,
    hz: int,
    n_failed: int,
) -> None:
    for name in ("mine", "other"):
        (tmp_path / name).mkdir()
    mine = write_tone(tmp_path / "mine" / "a.wav", 300, 1.0)
    other = write_tone(tmp_path / "other" / "a.wav", hz, 1.0)
    insert = importing.insert_clips

    def after_another(where: Workspace, rows: list[dict[str, object]]) -> int:
        monkeypatch.setattr(importing, "insert_clips", insert)
        import_clips(where, [SourceClip(path=other, fields={"clip_id": "x", "label": label})])
        return insert(where, rows)

    monkeypatch.setattr(importing, "insert_clips", after_another)
    report = import_clips(
        workspace, [SourceClip(path=mine, fields={"clip_id": "x", "label": "dog"})]
    )
    assert (report.n_added, report.n_skipped, len(report.failed)) == (0, 1 - n_failed, n_failed)
    assert all("Run the same command again" in one.reason for one in report.failed)
    assert workspace.clips("clip_id = 'x'").label.tolist() == [label]


def test_an_export_of_an_import_of_an_export_can_be_imported(tmp_path: Path) -> None:
    source = write_tone(tmp_path / "a.wav", 300, 1.0)
    clips = [SourceClip(path=source, fields={"clip_id": "a", "label": "dog"})]
    for number in range(3):
        one = Workspace.create(tmp_path / f"w{number}")
        assert import_clips(one, clips).n_added == 1
        export_clips(one, "true", tmp_path / f"out{number}")
        clips = read_manifest(tmp_path / f"out{number}" / "manifest.csv")
    columns = one.clips().columns.tolist()
    assert "meta_audio_sha256" in columns and "meta_meta_audio_sha256" not in columns


def test_copies_are_named_whatever_file_holds_their_sound(tmp_path: Path) -> None:
    first = write_tone(tmp_path / "a.wav", 300, 1.0)
    samples, rate_hz = soundfile.read(first)
    (tmp_path / "b.wav").write_bytes(first.read_bytes())
    soundfile.write(tmp_path / "c.flac", samples, rate_hz)  # the same samples, other bytes
    soundfile.write(tmp_path / "d.wav", samples, rate_hz // 2)  # the same at another speed
    soundfile.write(tmp_path / "e.wav", np.stack([samples, samples], 1), rate_hz)
    soundfile.write(tmp_path / "f.wav", samples / 2, rate_hz)
    workspace = Workspace.create(tmp_path / "w")
    names = [tmp_path / name for name in ("a.wav", "b.wav", "c.flac", "d.wav", "e.wav", "f.wav")]
    sources = [SourceClip(path=path, fields={"clip_id": path.stem}) for path in names]
    report = import_clips(workspace, sources)
    assert [(one.clip_id, one.of, one.kind) for one in report.copies] == [
        ("b", "a", "file"),
        ("c", "a", "samples"),
    ]
    assert (report.n_added, report.n_copies) == (6, 2)
    assert workspace.clips().samples_digest.nunique() == 4


def test_what_an_earlier_version_did_not_measure_is_filled_in(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "w")
    source = SourceClip(path=write_tone(tmp_path / "a.wav", 300, 1.0))
    import_clips(workspace, [source])
    measured = workspace.clips().samples_digest[0]
    with workspace.database.write() as connection:
        connection.execute("UPDATE clips SET samples_digest = NULL")
    report = import_clips(workspace, [source])
    assert (report.n_skipped, report.n_filled) == (1, 0)
    assert workspace.clips().samples_digest[0] == measured


def test_clips_come_in_the_order_of_their_sources_however_long_each_takes(tmp_path: Path) -> None:
    seconds = np.random.default_rng(0).permutation(np.linspace(0.05, 8, 30))
    for number, length in enumerate(seconds):
        write_tone(tmp_path / f"{number:02d}.wav", 200 + number, float(length))
    workspace = Workspace.create(tmp_path / "w")
    import_clips(workspace, find_sources(tmp_path))
    rows = workspace.read("SELECT path FROM clips ORDER BY rowid")
    assert [Path(path).stem for path in rows.path] == [f"{n:02d}" for n in range(30)]
    starts = workspace.read(
        "SELECT path, duration_s FROM segments_of_clips ORDER BY segment_id"
    ).path
    assert starts.tolist() == rows.path.tolist()
