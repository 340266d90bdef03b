"""A run folder has one trainer, and what is damaged in it is named."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.training.conftest import make_teachers, write_corpus
from tests.training.test_data import Loud
from usad_workbench.core.errors import CheckpointError, ConfigError
from usad_workbench.core.locks import FileLock, is_locked
from usad_workbench.core.models.checkpoint import find_checkpoint
from usad_workbench.core.models.encoder import Encoder
from usad_workbench.training import read_log, run_lock, train
from usad_workbench.training.run_folder import LOCK_FILE

Write = Callable[..., Path]
Teachers = dict[str, Encoder]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A recipe, and the folder of a run of three steps."""
    from tests.training.conftest import RECIPE

    folder = tmp_path_factory.mktemp("finished")
    recipe = folder / "recipe.toml"
    text = RECIPE.format(
        manifest=write_corpus(folder, 2), cache=folder / "cache", n_steps=3, dropout=0.0
    )
    recipe.write_text(text)
    train(recipe, folder / "run", teachers=make_teachers())
    return recipe, folder / "run"


@pytest.fixture
def run(finished: tuple[Path, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished[1], tmp_path / "run"))


def test_a_second_trainer_is_told(
    finished: tuple[Path, Path], run: Path, teachers: Teachers
) -> None:
    before = {path: path.read_bytes() for path in run.glob("*.*")}
    lock = FileLock.take(run / LOCK_FILE)
    assert lock is not None
    for resume in (True, False):
        with pytest.raises(CheckpointError, match=r"is being trained in by process \d+"):
            train(finished[0], run, resume=resume, teachers=teachers)
    assert {path: path.read_bytes() for path in run.glob("*.*")} == before
    lock.release()
    assert train(finished[0], run, resume=True, teachers=teachers).step == 3


def test_a_run_lets_go_also_where_it_fails(
    finished: tuple[Path, Path], run: Path, teachers: Teachers
) -> None:
    with pytest.raises(ConfigError, match="another recipe"):
        train(finished[0], run, ["run.seed=3"], resume=True, teachers=teachers)
    assert train(finished[0], run, resume=True, teachers=teachers).step == 3


def test_without_locks_a_log_that_grows_has_a_trainer(
    finished: tuple[Path, Path],
    run: Path,
    monkeypatch: pytest.MonkeyPatch,
    teachers: Teachers,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def unknown(path: Path) -> None:
        raise run_lock.LocksUnknownError(95, "not supported")

    monkeypatch.setattr(FileLock, "take", unknown)
    (run / "log.jsonl").touch()
    with pytest.raises(CheckpointError, match="knows no locks"):
        train(finished[0], run, resume=True, teachers=teachers)
    monkeypatch.setattr(run_lock, "_QUIET_S", 0.0)
    assert train(finished[0], run, resume=True, teachers=teachers).step == 3
    assert "knows no locks" in caplog.text


@pytest.mark.parametrize("text", [b"{", b"[1]", b"\xff\xfe", b"", b"null"])
def test_a_damaged_recipe_is_named(
    finished: tuple[Path, Path], run: Path, teachers: Teachers, text: bytes
) -> None:
    (run / "recipe.json").write_bytes(text)
    with pytest.raises(CheckpointError, match=r"recipe\.json is damaged.*delete this file"):
        train(finished[0], run, resume=True, teachers=teachers)
    (run / "recipe.json").unlink()
    with pytest.raises(CheckpointError, match="holds a run already"):
        train(finished[0], run, teachers=teachers)
    assert train(finished[0], run, resume=True, teachers=teachers).step == 3


@pytest.mark.parametrize("line", ["\udcff\udcfe", "{", "[1]", '{"loss": 1}', '{"step": "two"}', ""])
def test_a_damaged_line_of_the_log_is_said_and_the_others_stay(
    run: Path, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = run / "log.jsonl"
    lines = path.read_bytes().splitlines()
    bad = line.encode(errors="surrogateescape")
    path.write_bytes(b"\n".join([lines[0], bad, *lines[1:], b'{"step": 4, "lo']))
    assert [row["step"] for row in read_log(run)] == [1, 2, 3]
    assert "1 of 4 lines are damaged" in caplog.text and "line 2" in caplog.text


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("config.json", lambda text: text[:100]),
        ("config.json", lambda text: text.replace('"next_step"', '"next"').replace('"log"', '"g"')),
        ("config.json", lambda text: text.replace('"step": 3', '"step": "three"')),
        ("model.safetensors", lambda text: text[:-50]),
    ],
)
def test_a_damaged_checkpoint_says_how_the_run_goes_on(
    finished: tuple[Path, Path],
    run: Path,
    teachers: Teachers,
    name: str,
    change: Callable[[str], str],
) -> None:
    last = find_checkpoint(run)
    path = last / name
    path.write_text(change(path.read_text("latin-1")), "latin-1")
    with pytest.raises(CheckpointError, match=r"step-3 is damaged, delete it"):
        train(finished[0], run, resume=True, teachers=teachers)
    shutil.rmtree(last)
    assert train(finished[0], run, resume=True, teachers=teachers).step == 3
    assert read_log(run)[-1]["loss"] == read_log(finished[1])[-1]["loss"]


@pytest.mark.parametrize("targets", ["cached", "online"])
def test_a_run_goes_on_without_targets_that_are_too_large(
    tmp_path: Path,
    recipe_file: Write,
    teachers: Teachers,
    targets: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Loud, "limit", 0.155)
    teachers["noise"] = Loud("noise", 20.0, 10, pads=True)
    overrides = [
        f"data.targets={targets}",
        "objective.target_scaling=none",
        "run.log_every=3",
        f"data.cache={tmp_path / 'cache'}",
    ]
    caplog.set_level(logging.WARNING)
    result = train(recipe_file(n_steps=6), tmp_path / "run", overrides, teachers=teachers)
    last = read_log(tmp_path / "run")[-1]
    assert result.step == 6 and last["loss"] < 100 and last["n_left_out"] > 0
    assert "noise" in caplog.text and "half precision" in caplog.text
    # The same losses, and the same count, where it goes on from a checkpoint.
    shutil.rmtree(find_checkpoint(tmp_path / "run"))
    train(recipe_file(n_steps=6), tmp_path / "run", overrides, resume=True, teachers=teachers)
    again = read_log(tmp_path / "run")[-1]
    assert {k: v for k, v in again.items() if k != "wall_s"} == {
        k: v for k, v in last.items() if k != "wall_s"
    }
    text = json.dumps(json.loads((find_checkpoint(tmp_path / "run") / "config.json").read_text()))
    assert f'"n_left_out": {int(last["n_left_out"])}' in text


@pytest.mark.parametrize(
    "override",
    [
        "run.seed=-1",
        "run.seed=1e3",
        "student.dim=0",
        "student.n_layers=-2",
        'run.device="nope"',
        'run.device="meta"',
        'run.device="cuda:99"',
        "data.n_loaders=100000",
        "optimiser.peak_lr=nan",
        "optimiser.peak_lr=0",
        "optimiser.beta2=1.0",
        "optimiser.clip_norm=inf",
        "data.batch_s=inf",
        "data.max_left_out=-1",
        "objective.omega=-1",
        "run.log_every=0",
        "student.pos_depth=0",
        "student.conv_channels=0",
        "student.dropout=1",
        "student.ffn_ratio=0",
        "data.gain_db=nan",
        "data.mix_snr_db=[nan, 1]",
        "evaluation.max_clip_s=0",
        "optimiser.accumulate=0",
        "student.max_mel_frames=0",
        "teachers.0.layers=[0, 1, 2, 3]",
        'name=""',
        "student.n_heads=0",
    ],
)
def test_values_that_cannot_be_are_refused_before_anything_is_made(
    tmp_path: Path, recipe_file: Write, teachers: Teachers, override: str
) -> None:
    key = override.split("=")[0].removesuffix(".0.layers").split(".")[-1]
    with pytest.raises(
        ConfigError, match=override.split("=")[1].strip('"') if key == "device" else key
    ):
        train(recipe_file(), tmp_path / "run", [override], teachers=teachers)
    assert not (tmp_path / "run").exists()


def _children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_killed_run_leaves_neither_loaders_nor_its_lock(
    tmp_path: Path, recipe_file: Write
) -> None:
    recipe = recipe_file(n_steps=100_000)
    text = recipe.read_text()
    teachers, data = text.index("[[teachers]]"), text.index("[data]")
    teacher = '[[teachers]]\nname = "untrained-student"\ndomain = "speech"\n\n'
    recipe.write_text(text[:teachers] + teacher + text[data:])
    run = tmp_path / "run"
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "usad_workbench.workbench.cli",
            "train",
            str(recipe),
            "--run",
            str(run),
            "--set",
            "data.n_loaders=2",
            "--set",
            "run.checkpoint_every=100000",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    ends = time.monotonic() + 120
    while process.poll() is None and not read_log(run) and time.monotonic() < ends:
        time.sleep(0.05)
    children = _children(process.pid)
    assert len(children) >= 2 and is_locked(run / LOCK_FILE) is True
    process.kill()
    process.wait()
    # Sooner than torch's own watch would look, which is every 5 s.
    ends = time.monotonic() + 4
    while any(Path(f"/proc/{one}").exists() for one in children) and time.monotonic() < ends:
        time.sleep(0.05)
    assert [one for one in children if Path(f"/proc/{one}").exists()] == []
    assert is_locked(run / LOCK_FILE) is False
