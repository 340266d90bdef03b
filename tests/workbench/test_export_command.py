"""``usad export`` as a user types it."""

import json
from pathlib import Path

import pytest

from tests.conftest import SpectrumEncoder, write_tone
from usad_workbench.core.embedding import embed
from usad_workbench.core.storage.importing import SourceClip, import_clips
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.workbench.cli import main


@pytest.fixture
def collection(tmp_path: Path) -> str:
    made = Workspace.create(tmp_path / "w")
    paths = [write_tone(tmp_path / f"t{i}.wav", 100 * (i + 1)) for i in range(3)]
    import_clips(made, [SourceClip(path=path) for path in paths])
    embed(made, SpectrumEncoder(name="run:runs/a"))
    return str(made.folder)


def _files(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[Path]:
    capsys.readouterr()
    assert main(["export", *arguments, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["failed"] == []
    files = [Path(name) for name in document["files"]]
    assert all(file.is_file() for file in files)
    return files


def test_student_space_and_clips(
    collection: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    hub = _files(capsys, "--student", "usad-demo", "--format", "huggingface", "--out", f"{out}/hub")
    assert {"config.json", "model.safetensors", "README.md"} <= {file.name for file in hub}
    assert "CC-BY-SA-4.0" in (out / "hub" / "README.md").read_text()
    space = _files(
        capsys,
        "--workspace",
        collection,
        "--space",
        "run:runs/a/-1",
        "--format",
        "csv",
        "--out",
        f"{out}/space",
    )
    assert len((out / "space" / "vectors.csv").read_text().splitlines()) == 4
    sound = _files(
        capsys,
        "--workspace",
        collection,
        "--clips",
        "duration_s > 0",
        "--format",
        "wav",
        "--out",
        f"{out}/sound",
    )
    assert sum(file.suffix == ".wav" for file in sound) == 3
    assert {file.parent for file in (*hub, *space, *sound)} == set(out.iterdir())


@pytest.mark.parametrize(
    "arguments",
    [
        ("--student", "no-such-student", "--format", "onnx"),
        ("--student", "run:nowhere", "--format", "huggingface"),
        ("--student", "usad-demo", "--format", "wav"),
        ("--student", "usad-demo", "--format", "onnx", "--layers", "99"),
        ("--space", "run:runs/a/1", "--format", "csv"),
        ("--space", "a", "--format", "csv", "--workspace", "W"),
        ("--space", "a/b", "--format", "csv", "--workspace", "W"),
        ("--space", "b/0", "--format", "parquet", "--workspace", "W"),
        ("--clips", "no sql", "--format", "wav", "--workspace", "W"),
    ],
)
def test_mistakes_are_one_sentence_and_leave_nothing(
    arguments: tuple[str, ...], collection: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [collection if word == "W" else word for word in arguments]
    assert main(["export", *given, "--out", str(tmp_path / "out"), "--json"]) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.startswith("usad export: ")
    assert not (tmp_path / "out").exists()


def test_damaged_audio_is_named(
    collection: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t1.wav").write_bytes(b"nothing")
    out = str(tmp_path / "out")
    words = [
        "export",
        "--workspace",
        collection,
        "--clips",
        "true",
        "--format",
        "wav",
        "--out",
        out,
    ]
    assert main([*words, "--json"]) == 1
    (failure,) = json.loads(capsys.readouterr().out)["failed"]
    assert failure["path"].endswith("t1.wav")
