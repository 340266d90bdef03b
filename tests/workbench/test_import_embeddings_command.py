"""``usad import-embeddings`` as it is typed: what it prints, and its exit codes."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.workbench.cli import main

N = 12


@pytest.fixture
def files(tmp_path: Path) -> Path:
    clips = [f"x{i:02}" for i in range(N)]
    rng = np.random.default_rng(0)
    pd.DataFrame(
        {
            "clip_id": clips,
            "domain": "speech",
            "cluster_id": [f"k{i % 4}" for i in range(N)],
            "label": [f"l{i % 2}" for i in range(N)],
        }
    ).to_csv(tmp_path / "clips.csv", index=False)
    rows = pd.DataFrame(
        {
            "clip_id": clips,
            "encoder": "mine",
            "layer": 0,
            "vector": [rng.normal(size=3).astype(np.float32) for _ in clips],
        }
    )
    rows.to_parquet(tmp_path / "v.parquet")
    rows.drop(columns="layer").to_parquet(tmp_path / "no-layer.parquet")
    rows.at[5, "vector"] = np.full(3, np.inf, dtype=np.float32)
    rows.assign(encoder="holed").to_parquet(tmp_path / "holed.parquet")
    (tmp_path / "tasks.csv").write_text(
        "task,label_column,domain,group_column,metric\nword,label,speech,cluster_id,accuracy\n"
    )
    return tmp_path


def _typed(capsys: pytest.CaptureFixture[str], folder: Path, name: str, *more: str) -> tuple:
    capsys.readouterr()
    code = main(
        ["import-embeddings", str(folder / name), "--workspace", str(folder / "w"), "--json", *more]
    )
    shown = capsys.readouterr()
    return code, json.loads(shown.out) if shown.out else None, shown.err


def test_one_command_makes_the_workspace(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new = (
        "--role",
        "teacher",
        "--clips",
        str(files / "clips.csv"),
        "--tasks",
        str(files / "tasks.csv"),
    )
    code, found, _ = _typed(capsys, files, "v.parquet", *new)
    assert code == 0
    assert (found["encoders"], found["n_rows"], found["n_clips_added"]) == (["mine"], N, N)
    assert Workspace.open(files / "w").sql("SELECT task FROM tasks").task.tolist() == ["word"]
    code, found, _ = _typed(capsys, files, "v.parquet", *new)
    assert (code, found["n_rows"], found["n_skipped"]) == (0, 0, N)
    assert main(["check", "--workspace", str(files / "w")]) == 0


def test_labels_that_contradict_are_refused_or_taken_with_the_option_that_is_named(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = files / "clips.csv"
    said = ("--role", "teacher", "--clips", str(clips))
    assert _typed(capsys, files, "v.parquet", *said)[0] == 0
    clips.write_text(clips.read_text().replace("l1", "l2"))
    code, found, told = _typed(capsys, files, "v.parquet", *said)
    assert (code, found) == (2, None)
    assert "has the label 'l1', found 'l2'" in told and "--update" in told
    assert set(Workspace.open(files / "w").clips().label) == {"l0", "l1"}
    code, found, _ = _typed(capsys, files, "v.parquet", *said, "--update")
    assert (code, found["n_skipped"]) == (0, N)
    assert Workspace.open(files / "w").clips().label.tolist() == ["l0", "l2"] * (N // 2)


def test_what_failed_is_listed_and_what_is_wrong_refused(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = ("--clips", str(files / "clips.csv"))
    code, found, told = _typed(capsys, files, "holed.parquet", "--role", "control", *clips)
    assert (code, found["n_rows"], len(found["failed"])) == (1, N - 1, 1)
    assert found["failed"][0]["path"] == "holed: x05"
    assert "not finite" in told
    code, found, told = _typed(capsys, files, "no-layer.parquet", "--role", "control")
    assert (code, found) == (2, None)
    assert "Add layer" in told
    assert "Traceback" not in told
    code, _, told = _typed(capsys, files, "v.parquet", "--role", "teacher", "--teachers", "holed")
    assert code == 2
    assert "for students only" in told


@pytest.mark.parametrize(
    ("vectors", "tasks", "more", "said"),
    [
        ("v.parquet", "nonsense\n1\n", (), "has no column task"),
        (
            "v.parquet",
            "task,label_column,domain,group_column,metric\nw,label,,cluster_id,f1\n",
            (),
            "metric 'f1'",
        ),
        (
            "v.parquet",
            "task,label_column,domain,group_column,metric\nw,pitch,,cluster_id,accuracy\n",
            (),
            "the column 'pitch'",
        ),
        ("no-layer.parquet", "", (), "Add layer"),
        ("v.parquet", "", ("--teachers", "nobody"), "has no teacher 'nobody'"),
        ("clips.csv", "", (), "cannot be read as Parquet"),
    ],
)
def test_what_is_refused_adds_no_clips(
    files: Path,
    capsys: pytest.CaptureFixture[str],
    vectors: str,
    tasks: str,
    more: tuple[str, ...],
    said: str,
) -> None:
    Workspace.create(files / "w")
    if tasks:
        (files / "t.csv").write_text(tasks)
        more = (*more, "--tasks", str(files / "t.csv"))
    code, found, told = _typed(
        capsys, files, vectors, "--role", "student", "--clips", str(files / "clips.csv"), *more
    )
    assert (code, found) == (2, None) and said in told
    assert Workspace.open(files / "w").clips().empty


def test_a_header_that_stands_twice_is_no_clip(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = files / "clips.csv"
    clips.write_text(clips.read_text() * 2)
    code, _, told = _typed(capsys, files, "v.parquet", "--role", "control", "--clips", str(clips))
    assert code == 2 and "Row 13" in told and "repeats the names of the columns" in told
