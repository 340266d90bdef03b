"""Audio inside archives and data sets becomes files of the workspace: each once, whole, under a safe name."""

import io
import json
import os
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

from tests.conftest import write_tone
from usad_workbench.core.storage import packs
from usad_workbench.core.storage.packs import UNPACKED, unnamed_files
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.indexes.check import check_workspace
from usad_workbench.workbench.cli import main

RATE_HZ = 16_000


def sound(hz: float, suffix: str = "wav", seconds: float = 0.3) -> bytes:
    file = io.BytesIO()
    samples = 0.3 * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE_HZ)) / RATE_HZ)
    soundfile.write(file, samples, RATE_HZ, format=suffix.upper())
    return file.getvalue()


def tar(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Imports into ``w``; gives the exit code, the document and what was said beside it."""

    def called(*words: object) -> tuple[int, dict[str, Any], str]:
        code = main(["import", *map(str, words), "--workspace", str(tmp_path / "w"), "--json"])
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return code, json.loads(said.out) if code < 2 else {}, said.err

    return called


def clips(tmp_path: Path) -> pd.DataFrame:
    found = Workspace.open(tmp_path / "w").clips()
    return found.astype(object).where(found.notna(), None)


SHARD = {
    "b.json": json.dumps({"bpm": 120, "key": "C", "deep": {"x": 1}, "none": None}).encode(),
    "a.flac": sound(300, "flac"),
    "a.cls": b"dog",
    "b.wav": sound(400),
    "a.txt": b"a dog\nbarks",
    "deep/b.mix.ogg": sound(500, "ogg"),
    "deep/b.cls": b"7",
    "notes.pdf": b"x",
    "._a.wav": b"x",
    "__MACOSX/a.wav": b"x",
}


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_files_of_one_stem_belong_together(mode: str, run: Any, tmp_path: Path) -> None:
    name = "shard-0.tar" if mode == "w" else "shard-0.tar.gz"
    code, said, _ = run(tar(tmp_path / name, SHARD, mode))
    assert (code, said["n_added"], said["failed"], said["ignored"]) == (0, 3, [], {".pdf": 1})
    found = clips(tmp_path).set_index("label")
    assert found.dataset.unique().tolist() == ["shard-0"]
    assert found.text["dog"] == "a dog\nbarks" and found.path["dog"].endswith(".flac")
    assert found.path["7"].startswith(f"{UNPACKED}/shard-0/deep-b.mix-")
    assert found[["bpm", "key"]].dropna().values.tolist() == [["120", "C"]]
    for path in found.path:
        assert (tmp_path / "w" / path).is_file()


def test_the_same_archive_again_adds_nothing_and_touches_nothing(run: Any, tmp_path: Path) -> None:
    path = tar(tmp_path / "a.tar", SHARD)
    run(path, path)
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "w" / UNPACKED).rglob("*.*")}
    code, said, _ = run(path)
    assert (code, said["n_added"], said["n_skipped"]) == (0, 0, 3)
    after = {file: file.stat().st_mtime_ns for file in (tmp_path / "w" / UNPACKED).rglob("*.*")}
    assert after == before and len(before) == 3
    assert check_workspace(Workspace.open(tmp_path / "w")) == []


def test_hostile_members_leave_the_folder_alone_and_are_named(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "h.tar"
    with tarfile.open(path, "w") as archive:
        for number, name in enumerate(("../../out.wav", "/abs.wav", "a\nb<script>.wav")):
            data = sound(300 + number)
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for name, kind, target in (
            ("soft.wav", tarfile.SYMTYPE, "/etc/passwd"),
            ("hard.wav", tarfile.LNKTYPE, "../../out.wav"),
            ("fifo.wav", tarfile.FIFOTYPE, ""),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            archive.addfile(info)
        for name, data in {
            "bad.json": b"[1]",
            "large.json": b"x" * 2_000_000,
            "no.wav": b"x",
        }.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    before = set(os.listdir(tmp_path)) | {"w"}
    code, said, _ = run(path)
    assert (code, said["n_added"]) == (1, 3)
    reasons = {one["path"].rsplit(": ", 1)[1]: one["reason"] for one in said["failed"]}
    assert reasons.keys() == {
        "soft.wav", "hard.wav", "fifo.wav", "bad.json", "large.json", "no.wav",
    }  # fmt: skip
    assert "a link" in reasons["soft.wav"] and "a link" in reasons["hard.wav"]
    assert "holds no audio" in reasons["no.wav"] and UNPACKED not in reasons["no.wav"]
    assert set(os.listdir(tmp_path)) == before
    inside = [file for file in (tmp_path / "w" / UNPACKED).rglob("*") if file.is_file()]
    assert len(inside) == 3 and all(file.parent.name == "h" for file in inside)
    kept = Workspace.open(tmp_path / "w").read("SELECT item FROM failures")
    assert kept.item.tolist() == [f"{path}: no.wav"]


def test_what_lies_before_the_damage_is_taken(run: Any, tmp_path: Path) -> None:
    path = tar(tmp_path / "a.tar", {f"{i}.wav": sound(200 + i) for i in range(5)})
    path.write_bytes(path.read_bytes()[:25_000])
    code, said, _ = run(path)
    assert code == 1 and said["n_added"] == 2
    assert all("truncated or damaged" in one["reason"] for one in said["failed"])
    assert str(path) in [one["path"] for one in said["failed"]]  # of what has no name
    whole = tar(tmp_path / "a.tar", {f"{i}.wav": sound(200 + i) for i in range(5)})
    assert run(whole)[1]["n_added"] == 3
    assert len(unnamed_files(Workspace.open(tmp_path / "w"))) == 0


def test_a_full_disk_is_said_before_and_leaves_nothing(
    run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tar(tmp_path / "a.tar", SHARD)
    monkeypatch.setattr(packs, "KEPT_FREE_BYTES", 1 << 60)
    code, _, err = run(path)
    assert code == 2 and "Free some space and run the same command again" in err
    assert not (tmp_path / "w" / UNPACKED).exists()


def test_two_commands_do_not_clear_each_others_files(run: Any, tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "w")
    path = tar(tmp_path / "a.tar", SHARD)
    with packs.unpacked(workspace, [packs_of(path)]) as found:
        assert len(found) == 3
        code, _, err = run(path)
        assert code == 2 and "Another command is unpacking" in err
        assert all(clip.path.is_file() for clip in found)
    assert not (tmp_path / "w" / UNPACKED).exists()  # nobody has named them


def packs_of(path: Path) -> Any:
    from usad_workbench.core.storage.finding import find

    return find(path).packs[0]


def test_equal_sounds_of_one_name_are_clips_of_their_own(run: Any, tmp_path: Path) -> None:
    one = sound(300)
    path = tar(
        tmp_path / "a.tar", {"x/1.wav": one, "x/1.cls": b"dog", "x-1.wav": one, "x-1.cls": b"cat"}
    )
    for n_added in (2, 0):
        code, said, _ = run(path)
        assert (code, said["n_added"], said["n_copies"]) == (0, n_added, n_added // 2)
    assert sorted(clips(tmp_path).label) == ["cat", "dog"]


def test_unpacked_audio_that_no_clip_names_is_found_by_check(run: Any, tmp_path: Path) -> None:
    run(tar(tmp_path / "a.tar", SHARD))
    left = tmp_path / "w" / UNPACKED / "a" / "left.wav"
    left.write_bytes(b"x")
    (problem,) = check_workspace(Workspace.open(tmp_path / "w"))
    assert "a/left.wav was unpacked and no clip names it" in problem
    run(tar(tmp_path / "a.tar", SHARD))
    assert not left.exists()


def test_a_link_to_another_disk_keeps_its_audio(run: Any, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / UNPACKED).symlink_to(tmp_path / "disk")
    assert run(tar(tmp_path / "a.tar", SHARD))[1]["n_added"] == 3
    workspace = Workspace.open(tmp_path / "w")
    assert check_workspace(workspace) == []
    left = tmp_path / "w" / UNPACKED / "a" / "left.wav"
    left.write_bytes(b"x")
    assert unnamed_files(workspace) == [left]


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (b'{"label": "dog", "Label": "cat"}', "would both become 'label'"),
        (b'{"label": "\\ud800"}', "not UTF-8"),
        (b"[" * 100_000, "cannot be read"),
    ],
)
def test_fields_that_cannot_be_used_stop_no_other_sound(
    told: bytes, why: str, run: Any, tmp_path: Path
) -> None:
    members = {
        "1.wav": sound(300),
        "1.json": told,
        "2.wav": sound(400),
        "2.json": b'{"label": NaN}',
    }
    code, said, _ = run(tar(tmp_path / "a.tar", members))
    assert code == 1 and why in said["failed"][0]["reason"] and len(said["failed"]) == 1
    found = clips(tmp_path)
    assert [row.label for row in found.itertuples() if row.clip_id.startswith("2-")] == [None]


@pytest.mark.parametrize("members", [{}, {"1.txt": b"no sound"}])
def test_an_archive_without_sounds_is_named(
    members: dict[str, bytes], run: Any, tmp_path: Path
) -> None:
    code, said, _ = run(tar(tmp_path / "a.tar", members))
    assert code == 1 and "holds no sounds" in said["failed"][0]["reason"]


@pytest.fixture
def dataset() -> Iterator[Any]:
    """A data set with bytes, a path that is a name, one that is none, and an unknown class."""
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    rows = {
        "audio": [
            {"bytes": sound(300 + 10 * i, suffix), "path": name}
            for i, (suffix, name) in enumerate(
                [("wav", "one.wav"), ("flac", None), ("ogg", "../../three.ogg"), ("mp3", "x")]
            )
        ],
        "label": [1, 0, -1, 1],
        "speaker": ["s1", None, "s3", "s4"],
        "rating": [0.5, None, 2.0, 3.0],
        "tags": [["a"], [], ["b"], []],
    }
    plain = datasets.Features(
        {
            "audio": {"bytes": datasets.Value("binary"), "path": datasets.Value("string")},
            "label": datasets.ClassLabel(names=["cat", "dog"]),
            "speaker": datasets.Value("string"),
            "rating": datasets.Value("float64"),
            "tags": datasets.List(datasets.Value("string")),
        }
    )
    made = datasets.Dataset.from_dict(rows, features=plain)
    # Encoding would need torchcodec; a struct of bytes and path is what it would give.
    yield made.cast(datasets.Features({**plain, "audio": datasets.Audio(decode=False)}))


@pytest.mark.parametrize("layout", ["saved", "splits", "parquet", "one file"])
def test_audio_data_sets_on_disk(layout: str, dataset: Any, run: Any, tmp_path: Path) -> None:
    import datasets

    folder = tmp_path / "noises"
    if layout == "saved":
        dataset.save_to_disk(folder)
    elif layout == "splits":
        halves = {"train": dataset.select([0, 1]), "test": dataset.select([2, 3])}
        datasets.DatasetDict(halves).save_to_disk(folder, num_shards={"train": 2, "test": 1})
    else:
        (folder / "data").mkdir(parents=True)
        for split, rows in (("train", [0, 1]), ("test", [2, 3])):
            file = folder / "data" / f"{split}-00000-of-00001.parquet"
            dataset.select(rows).to_parquet(file)
    source = folder / "data/train-00000-of-00001.parquet" if layout == "one file" else folder
    code, said, _ = run(source)
    n = 2 if layout == "one file" else 4
    assert (code, said["n_added"], said["failed"]) == (0, n, [])
    assert said["ignored"] == {"column tags": 1}
    found = clips(tmp_path).sort_values("sample_rate_hz", kind="stable")
    by_suffix = {
        Path(path).suffix: row for path, row in zip(found.path, found.itertuples(), strict=True)
    }
    assert by_suffix[".wav"].label == "dog" and by_suffix[".flac"].label == "cat"
    assert by_suffix[".wav"].speaker == "s1" and by_suffix[".flac"].speaker is None
    assert by_suffix[".wav"].rating == "0.5"
    assert "one-" in by_suffix[".wav"].path
    for row in found.itertuples():  # each label has its own sound
        samples, _ = soundfile.read(tmp_path / "w" / row.path)
        hz = np.abs(np.fft.rfft(samples)).argmax() * RATE_HZ / len(samples)
        assert hz == pytest.approx(
            {".wav": 300, ".flac": 310, ".ogg": 320, ".mp3": 330, ".audio": 330}[
                Path(row.path).suffix
            ],
            abs=6,
        )
    if n == 4:
        assert by_suffix[".ogg"].label is None
        assert sorted(os.listdir(tmp_path)) == ["noises", "w"]
    if layout in ("splits", "parquet"):
        splits = {label: split for label, split in zip(found.speaker, found.split, strict=True)}
        assert splits == {"s1": "train", None: "train", "s3": "test", "s4": "test"}
    assert run(source)[1]["n_added"] == 0


def test_a_data_set_whose_audio_is_files(run: Any, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    write_tone(tmp_path / "a.wav", 300)
    rows = {
        "audio": [{"bytes": None, "path": str(tmp_path / name)} for name in ("a.wav", "gone.wav")]
    }
    (tmp_path / "d").mkdir()
    datasets.Dataset.from_dict(rows).to_parquet(tmp_path / "d" / "train.parquet")
    code, said, _ = run(tmp_path / "d")
    assert (code, said["n_added"]) == (1, 1)
    assert said["failed"][0]["path"].endswith("gone.wav")
    assert clips(tmp_path)[["path", "split"]].values.tolist() == [
        [str(tmp_path / "a.wav"), "train"]
    ]
    assert not (tmp_path / "w" / UNPACKED).exists()


def test_a_shard_that_is_damaged_is_named(dataset: Any, run: Any, tmp_path: Path) -> None:
    dataset.save_to_disk(tmp_path / "d", num_shards=2)
    shard = tmp_path / "d" / "data-00001-of-00002.arrow"
    shard.write_bytes(shard.read_bytes()[:300])
    code, said, _ = run(tmp_path / "d")
    assert (code, said["n_added"], len(said["failed"])) == (1, 2, 1)
    assert "data-00001" in said["failed"][0]["path"]


def test_a_split_that_is_missing_is_named(dataset: Any, run: Any, tmp_path: Path) -> None:
    import datasets

    halves = {"train": dataset.select(range(2)), "test": dataset.select(range(2, 4))}
    datasets.DatasetDict(halves).save_to_disk(tmp_path / "d")
    shutil.rmtree(tmp_path / "d" / "test")
    code, said, _ = run(tmp_path / "d")
    assert (code, said["n_added"]) == (1, 2)
    assert "This split is missing" in said["failed"][0]["reason"]


def test_a_data_set_without_audio_is_named(run: Any, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    datasets.Dataset.from_dict({"text": ["a"]}).save_to_disk(tmp_path / "d")
    code, said, _ = run(tmp_path / "d")
    assert (
        code == 1 and "has the columns text, expected one of audio" in said["failed"][0]["reason"]
    )


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_audiofolder(kind: str, run: Any, tmp_path: Path) -> None:
    for split in ("train", "test"):
        folder = tmp_path / "d" / split
        folder.mkdir(parents=True)
        for i in range(2):
            write_tone(folder / f"{i}.wav", 300 + 10 * i + (split == "test"))
        rows = [{"file_name": f"{i}.wav", "label": f"{split}{i}", "bpm": 60 + i} for i in range(2)]
        if kind == "csv":
            pd.DataFrame(rows).to_csv(folder / "metadata.csv", index=False)
        else:
            lines = "\n".join(json.dumps(row) for row in rows)
            (folder / "metadata.jsonl").write_text(lines, encoding="utf-8")
    code, said, _ = run(tmp_path / "d")
    assert (code, said["n_added"], said["ignored"]) == (0, 4, {})
    found = clips(tmp_path)
    assert sorted(found.label) == ["test0", "test1", "train0", "train1"]
    for row in found.itertuples():
        assert row.label == f"{Path(row.path).parent.name}{Path(row.path).stem}"
        assert (row.split, row.bpm) == (Path(row.path).parent.name, f"6{Path(row.path).stem}")


def test_archives_beside_a_data_set_are_taken(dataset: Any, run: Any, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    dataset.to_parquet(tmp_path / "d" / "train.parquet")
    tar(tmp_path / "d" / "more.tar", {"a.wav": sound(350)})
    assert run(tmp_path / "d")[1]["n_added"] == 5


def test_a_folder_of_archives_is_all_of_them(run: Any, tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    for number in range(2):
        tar(tmp_path / "shards" / f"{number}.tar", {"a.wav": sound(300 + number)})
    assert run(tmp_path / "shards")[1]["n_added"] == 2
