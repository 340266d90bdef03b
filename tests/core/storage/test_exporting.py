"""Out of a workspace: the same numbers and samples, under names that cannot leave the folder."""

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from tests.conftest import SpectrumEncoder, write_tone
from usad_workbench.core.embedding import embed
from usad_workbench.core.errors import ConfigError, UnknownNameError
from usad_workbench.core.storage import exporting
from usad_workbench.core.storage.exporting import export_clips, export_space
from usad_workbench.core.storage.importing import SourceClip, import_clips, read_manifest
from usad_workbench.core.storage.vector_tables import matrix_of
from usad_workbench.core.storage.workspace import QueryError, Workspace

HOSTILE = "../../escape/é\n=1+1"


@pytest.fixture
def embedded(workspace: Workspace, tmp_path: Path) -> Workspace:
    hostile = SourceClip(
        path=write_tone(tmp_path / "hostile.wav", 333, 0.7, rate_hz=22_050),
        fields={"clip_id": HOSTILE, "domain": "music", "cluster_id": "h", "label": "low"},
    )
    import_clips(workspace, [hostile])
    embed(workspace, SpectrumEncoder())
    return workspace


@pytest.mark.parametrize("page_rows", [7, 4096])
def test_vectors_come_back_as_they_were(
    embedded: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page_rows: int
) -> None:
    monkeypatch.setattr(exporting, "PAGE_ROWS", page_rows)
    stored = embedded.embeddings("spectrum", -1, where="label = 'low'")
    told: list[int] = []
    files = export_space(
        embedded,
        "spectrum",
        -1,
        tmp_path / "out",
        where="label = 'low'",
        progress=lambda done, total, what: told.append(done),
    )
    assert [file.name for file in files] == ["space.json", "vectors.parquet"]
    table = pq.read_table(files[1])
    assert np.array_equal(matrix_of(table["vector"]), stored.vectors)
    assert table["clip_id"].to_pylist() == stored.clip_ids.tolist()
    assert table["segment_id"].to_pylist() == stored.segment_ids.tolist()
    assert {*table["encoder"].to_pylist()} == {"spectrum"} and {*table["layer"].to_pylist()} == {1}
    assert told[-1] == len(stored) == 16
    record = json.loads(files[0].read_text())
    assert record == json.loads(table.schema.metadata[b"usad_space"])
    assert record["weights_sha256"] == "0" * 64 and record["sample_rate_hz"] == 16_000


def test_csv_holds_the_same_numbers(embedded: Workspace, tmp_path: Path) -> None:
    stored = embedded.embeddings("spectrum", 0)
    path = export_space(embedded, "spectrum", 0, tmp_path / "out", "csv")[-1]
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found = np.array([[row[f"v{i}"] for i in range(8)] for row in rows]).astype(np.float32)
    assert np.array_equal(found, stored.vectors)
    assert [row["clip_id"] for row in rows] == stored.clip_ids.tolist()
    assert HOSTILE in stored.clip_ids


def test_audio_can_be_imported_again(embedded: Workspace, tmp_path: Path) -> None:
    files, failed = export_clips(embedded, "domain = 'music'", tmp_path / "deep" / "out")
    assert failed == []
    assert {file.parent for file in files} == {tmp_path / "deep" / "out"}
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]
    again = Workspace.create(tmp_path / "again")
    report = import_clips(again, read_manifest(tmp_path / "deep" / "out" / "manifest.csv"))
    assert (report.n_added, report.failed) == (11, [])
    old, new = embedded.clips("domain = 'music'"), again.clips()
    assert old.clip_id.tolist() == new.clip_id.tolist() and HOSTILE in set(new.clip_id)
    for before, after in zip(old.to_dict("records"), new.to_dict("records"), strict=True):
        assert before["label"] == after["label"] and before["cluster_id"] == after["cluster_id"]
        samples, rate = soundfile.read(embedded.audio_path(before["path"]), dtype="float32")
        copied, same_rate = soundfile.read(again.audio_path(after["path"]), dtype="float32")
        assert np.array_equal(samples, copied) and rate == same_rate


def test_what_cannot_be_read_is_named(embedded: Workspace, tmp_path: Path) -> None:
    (tmp_path / "hostile.wav").write_bytes(b"RIFFnothing")
    files, failed = export_clips(embedded, "cluster_id IN ('h', 'c1')", tmp_path / "out")
    assert [Path(failure.path).name for failure in failed] == ["hostile.wav"]
    assert sum(file.suffix == ".wav" for file in files) == 3
    (table,), _ = export_clips(embedded, "true", tmp_path / "table", "parquet")
    assert pq.read_table(table).num_rows == 31


def test_wrong_questions_leave_nothing(embedded: Workspace, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    with pytest.raises(QueryError):
        export_space(embedded, "spectrum", 0, tmp_path / "out", where="no sql at all")
    with pytest.raises(QueryError):
        export_clips(
            embedded, "true) UNION (SELECT * FROM read_csv('/etc/passwd'))", tmp_path / "o"
        )
    with pytest.raises(UnknownNameError):
        export_space(embedded, "spectrum", 5, tmp_path / "out")
    with pytest.raises(ConfigError, match="No clip"):
        export_clips(embedded, "false", tmp_path / "out")
    for kind in ("parquet", "csv"):
        with pytest.raises(ConfigError, match="No vector of spectrum layer 0"):
            export_space(embedded, "spectrum", 0, tmp_path / "out", kind, where="domain = 'Sp'")
    assert sorted(tmp_path.iterdir()) == before


def test_what_ffmpeg_decoded_leaves_whole(workspace: Workspace, tmp_path: Path) -> None:
    tones = [write_tone(tmp_path / f"{hz}.wav", hz, 1.0) for hz in (300, 500)]
    parts = []
    for tone in tones:
        samples, rate_hz = soundfile.read(tone, dtype="float32")
        soundfile.write(tone.with_suffix(".mp3"), samples, rate_hz)
        parts.append(tone.with_suffix(".mp3").read_bytes())
    both = tmp_path / "both.mp3"
    both.write_bytes(parts[0] + parts[1])
    report = import_clips(workspace, [SourceClip(path=both, fields={"clip_id": "both"})])
    assert report.n_by_ffmpeg == 1
    files, failed = export_clips(workspace, "clip_id = 'both'", tmp_path / "out")
    assert failed == []
    samples, _ = soundfile.read(files[0])
    assert len(samples) == round(workspace.clips("clip_id = 'both'").duration_s[0] * rate_hz)
    assert len(samples) > 1.5 * rate_hz


def test_audio_that_changed_is_not_exported_as_its_clip(
    workspace: Workspace, tmp_path: Path
) -> None:
    tone = write_tone(tmp_path / "tone.wav", 300, 1.0)
    import_clips(workspace, [SourceClip(path=tone, fields={"clip_id": "tone"})])
    write_tone(tone, 700, 1.0)
    files, failed = export_clips(workspace, "clip_id = 'tone'", tmp_path / "out")
    assert [file.name for file in files] == ["manifest.csv"]
    assert len(failed) == 1 and "changed since it was imported" in failed[0].reason
