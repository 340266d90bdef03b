"""Tables of clips as columns say what they said row by row."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from usad_workbench.core.errors import ConfigError
from usad_workbench.core.storage import table_file
from usad_workbench.core.storage.clip_rows import insert_clips
from usad_workbench.core.storage.clips_without_audio import import_clips_without_audio
from usad_workbench.core.storage.table_file import read_table
from usad_workbench.core.storage.workspace import Workspace

HEADER = "clip_id,domain,cluster_id,label\n"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.create(tmp_path / "w")


def written(folder: Path, rows: str, name: str = "m.csv") -> Path:
    (folder / name).write_text(HEADER + rows, encoding="utf-8")
    return folder / name


def test_each_clip_keeps_its_values_and_gets_one_segment_in_order(
    workspace: Workspace, tmp_path: Path
) -> None:
    n = 5000  # more than one group of rows
    first = pd.DataFrame(
        {
            "clip_id": [f"c{i * 7919 % n:05}" for i in range(n)],
            "domain": [["Speech ", "whales"][i % 2] for i in range(n)],
            "cluster_id": [f"k{i % 13}" for i in range(n)],
            "Number": [float(i) if i % 3 else None for i in range(n)],
            "is loud": [i % 5 == 0 for i in range(n)],
            "nothing": [None] * n,
        }
    )
    first.to_parquet(tmp_path / "first.parquet")
    assert import_clips_without_audio(workspace, tmp_path / "first.parquet") == n
    second = first.iloc[::-1].assign(clip_id=lambda t: "d" + t.clip_id, domain="Whales")
    mixed = pd.concat([second, first])
    mixed.to_parquet(tmp_path / "second.parquet")
    assert import_clips_without_audio(workspace, tmp_path / "first.parquet") == 0
    with pytest.raises(ConfigError, match="has the domain 'speech', found 'Whales'"):
        import_clips_without_audio(workspace, _with_domain(first, tmp_path))
    assert import_clips_without_audio(workspace, tmp_path / "second.parquet") == n
    segments = workspace.read("SELECT * FROM segments ORDER BY segment_id")
    assert segments.segment_id.tolist() == list(range(2 * n))
    assert segments.clip_id.tolist() == [*first.clip_id, *second.clip_id]
    assert not segments[["start_s", "end_s"]].any(axis=None)
    clips = workspace.clips().set_index("clip_id")
    assert "nothing" not in clips
    assert set(clips.dataset) == {"first", "second"} and set(clips.path) == {""}
    for row in first.itertuples():
        stored = clips.loc[row.clip_id]
        assert (stored.domain, stored.cluster_id) == (row.domain.strip().lower(), row.cluster_id)
        assert (
            stored.number == str(row.Number) if row.Number == row.Number else pd.isna(stored.number)
        )
        assert stored.is_loud == str(row[5])


def _with_domain(table: pd.DataFrame, folder: Path) -> Path:
    path = folder / "other.parquet"
    table.assign(domain="Whales").to_parquet(path)
    return path


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("a,s,k,\nb,,k,\na,s,k,\n", "Row 2 of .* has no domain"),
        ("a,s,k,\n,,,\na,s,k,\nb,,k,\n", "the clip 'a' twice"),
        ("a,s,k,\n,,,\nb,s,k,x,y\nc,,k,\n", "Row 2 of .* cells beyond its header, 5 for 4"),
        (HEADER, "Row 1 of .* repeats the names"),
        (",s,k,\n", "Row 1 of .* has no clip_id"),
    ],
)
def test_the_first_row_that_cannot_be_used_is_named(
    workspace: Workspace, tmp_path: Path, rows: str, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        import_clips_without_audio(workspace, written(tmp_path, rows))
    assert workspace.clips().empty


def test_rows_keep_their_numbers_over_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_file, "BLOCK_ROWS", 2)
    rows = read_table(written(tmp_path, "a,s,k,\n\n,,,\nb,s,k,x\nc,s\nd,s,k,x,y\n" + HEADER)).rows
    assert [(row.number, row.cells.get("clip_id"), bool(row.fault)) for row in rows] == [
        (1, "a", False),
        (2, "b", False),
        (3, "c", False),
        (4, "d", True),
        (5, "clip_id", True),
    ]


def test_values_that_an_import_put_by_itself_are_filled(
    workspace: Workspace, tmp_path: Path
) -> None:
    clip: dict[str, object] = {"dataset": "folder", "duration_s": 23.0, "domain": "unknown"}
    rows = [{"clip_id": one, "path": f"x/folder/{one}.wav", "cluster_id": one} for one in "abc"]
    insert_clips(workspace, [clip | row for row in rows])
    assert len(workspace.read("SELECT * FROM segments")) == 9
    table = {"clip_id": list("cax"), "domain": ["Sound"] * 3, "cluster_id": ["k", "a", "x"]}
    pq.write_table(pa.table(table | {"dataset": ["esc", "", "esc"]}), tmp_path / "m.parquet")
    assert import_clips_without_audio(workspace, tmp_path / "m.parquet") == 1
    columns = ["clip_id", "domain", "cluster_id", "dataset"]
    assert workspace.clips()[columns].values.tolist() == [
        ["a", "sound", "a", "folder"],
        ["b", "unknown", "b", "folder"],
        ["c", "sound", "k", "esc"],
        ["x", "sound", "x", "esc"],
    ]
    other = written(tmp_path, "b,music,b,\na,music,q,owl\nc,music,k,\n")
    with pytest.raises(ConfigError, match="'a' has the domain 'sound', found 'music'"):
        import_clips_without_audio(workspace, other)
    assert import_clips_without_audio(workspace, other, update=True) == 0
    assert workspace.clips().domain.tolist() == ["music", "music", "music", "sound"]
