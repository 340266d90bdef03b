"""Out of a workspace: the same numbers and samples, under names that cannot leave the folder."""

import csv
import importlib
import io
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.parquet as pq
import pytest
import soundfile

from tests.conftest import SpectrumEncoder, write_tone
from usad_workbench.core.embedding import embed
from usad_workbench.core.errors import ConfigError, StoreError, UnknownNameError
from usad_workbench.core.storage import exporting
from usad_workbench.core.storage.annotations import tag_segments
from usad_workbench.core.storage.deletion import delete_clips
from usad_workbench.core.storage.exporting import export_clips, export_space
from usad_workbench.core.storage.importing import SourceClip, import_clips, read_manifest
from usad_workbench.core.storage.projection_tables import MapQuality, replace_map
from usad_workbench.core.storage.space_names import SpaceName
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


@pytest.mark.parametrize("page_rows", [7, 4096])
def test_a_space_brings_what_other_browsers_open(
    embedded: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page_rows: int
) -> None:
    monkeypatch.setattr(exporting, "PAGE_ROWS", page_rows)
    stored = embedded.embeddings("spectrum", 1)
    ids, points = stored.segment_ids[1:], np.arange(2 * len(stored) - 2, dtype=np.float32)
    quality = MapQuality(
        encoder="spectrum",
        layer=1,
        pooling="mean",
        method="pca",
        n=len(ids),
        trustworthiness=0.9,
        n_judged=len(ids),
        seconds=1.0,
    )
    assert replace_map(embedded, quality, stored.space, ids, points.reshape(-1, 2))
    tag_segments(embedded, ids[2:4], "loud", "Ada")

    def nearest(vectors: npt.NDArray[np.float32]) -> tuple[np.ndarray, np.ndarray]:
        assert np.array_equal(vectors, stored.vectors)
        rows = np.arange(len(vectors))
        return np.stack([rows + 1, rows + 2], axis=1), np.zeros((len(rows), 2), np.float32)

    out = export_space(embedded, "spectrum", 1, tmp_path / "out", neighbours=nearest)[-1]
    frame = pd.read_parquet(out)
    clips = embedded.clips().set_index("clip_id").loc[frame["clip_id"]]
    for name in ("label", "domain", "cluster_id"):
        assert frame[name].tolist() == clips[name].tolist()
    assert all(Path(path).is_file() for path in frame["path"])
    assert frame[["x", "y"]].isna().all(axis=1).tolist() == [True] + [False] * len(ids)
    np.testing.assert_array_equal(frame[["x", "y"]][1:], points.reshape(-1, 2))
    assert [list(tags) for tags in frame["tags"]] == [
        ["loud"] if number in (3, 4) else [] for number in range(len(frame))
    ]
    assert [one["ids"].tolist() for one in frame["neighbors"]] == [
        [i + 1, i + 2] for i in range(len(frame))
    ]
    np.testing.assert_array_equal(np.stack(frame["vector"]), stored.vectors)


def test_columns_of_clips_never_stand_for_those_of_the_space(
    embedded: Workspace, tmp_path: Path
) -> None:
    names = ("encoder", "layer", "tags", "clip_tags", "note", "v0", "neighbors")
    with embedded.database.write() as connection:
        for name in names:
            connection.execute(f"ALTER TABLE clips ADD COLUMN {name} VARCHAR DEFAULT 'of {name}'")
    ids = embedded.embeddings("spectrum", 1).segment_ids
    tag_segments(embedded, ids[:1], "loud")
    expected = {
        "encoder": "spectrum",
        "clip_encoder": "of encoder",
        "clip_layer": "of layer",
        "clip_clip_tags": "of tags",
        "clip_tags": "of clip_tags",
        "clip_note": "of note",
        "clip_v0": "of v0",
        "clip_neighbors": "of neighbors",
    }
    first = pd.read_parquet(export_space(embedded, "spectrum", 1, tmp_path / "out")[-1]).iloc[0]
    assert {name: first[name] for name in expected} == expected
    assert (first["layer"], first["note"], list(first["tags"])) == (1, "", ["loud"])
    path = export_space(embedded, "spectrum", 1, tmp_path / "csv", "csv")[-1]
    row = pd.read_csv(path).iloc[0]
    assert {name: row[name] for name in expected} == expected
    assert row["v0"] == pytest.approx(float(first["vector"][0]))


def test_clips_that_go_while_they_are_exported_are_left_out(
    embedded: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = embedded.embeddings("spectrum", 1)
    gone = stored.clip_ids[0]
    read = exporting.segment_frame

    def frame(workspace: Workspace, ids: np.ndarray, name: SpaceName) -> pd.DataFrame:
        delete_clips(workspace, [gone])
        return read(workspace, ids, name)

    def nearest(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros((len(vectors), 1), np.int64), np.zeros((len(vectors), 1), np.float32)

    monkeypatch.setattr(exporting, "segment_frame", frame)
    out = pd.read_parquet(export_space(embedded, "spectrum", 1, tmp_path / "out")[-1])
    is_left = stored.clip_ids != gone
    assert out["segment_id"].tolist() == stored.segment_ids[is_left].tolist()
    np.testing.assert_array_equal(np.stack(out["vector"]), stored.vectors[is_left])
    gone = stored.clip_ids[1]
    with pytest.raises(StoreError, match="came or went"):
        export_space(embedded, "spectrum", 1, tmp_path / "with", neighbours=nearest)


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


def test_embedding_atlas_opens_a_space(embedded: Workspace, tmp_path: Path) -> None:
    """By its own loader, as its command does; it reads places of neighbours from 0 on."""
    atlas = pytest.importorskip(
        "embedding_atlas.cli",
        reason="embedding-atlas brings torch for CUDA along; pip install --no-deps has it tested",
    )
    from usad_workbench.indexes import neighbour_lists

    def nearest(vectors: npt.NDArray[np.float32]) -> tuple[np.ndarray, np.ndarray]:
        found = neighbour_lists(vectors, 3)
        return found.ids, 1 - found.scores

    path = export_space(embedded, "spectrum", 1, tmp_path / "out", neighbours=nearest)[-1]
    frame = atlas.load_datasets([str(path)])
    stored = embedded.embeddings("spectrum", 1)
    assert frame["segment_id"].tolist() == stored.segment_ids.tolist()
    served = pd.read_parquet(io.BytesIO(atlas_utils(atlas).to_parquet_bytes(frame)))
    for row, near in enumerate(served["neighbors"]):
        unit = stored.vectors / np.linalg.norm(stored.vectors, axis=1, keepdims=True)
        cosines = unit[near["ids"]] @ unit[row]
        np.testing.assert_allclose(1 - cosines, near["distances"], atol=1e-5)


def atlas_utils(atlas: ModuleType) -> ModuleType:
    return importlib.import_module(f"{atlas.__package__}.utils")
