"""Real processes, killed at any moment, end where an undisturbed one ends, bit by bit."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from usad_workbench.core.encoders.registry import load_encoder
from usad_workbench.core.errors import Cancelled, ConfigError
from usad_workbench.core.models.checkpoint import (
    CHECKPOINTS,
    find_checkpoint,
    load_student,
    read_student_folder,
)
from usad_workbench.core.models.encoder import Encoder
from usad_workbench.core.models.student import StudentEncoder, build_student
from usad_workbench.training import read_log, train
from usad_workbench.training.recipe import load_recipe

Write = Callable[..., Path]
Teachers = dict[str, Encoder]

ODD = ["run.log_every=2", "optimiser.accumulate=2", "optimiser.ema_decay=0.9"]
"""Lines of the log that begin before a checkpoint and end behind it, parts, an average."""


def rows(run: Path) -> list[dict[str, float]]:
    return [{k: v for k, v in row.items() if k != "wall_s"} for row in read_log(run)]


def assert_same_end(one: Path, other: Path) -> None:
    """Log, weights, heads, optimiser and average: every bit; but for the time it took."""
    assert rows(one) == rows(other)
    ends = [find_checkpoint(run) for run in (one, other)]
    assert ends[0].name == ends[1].name
    described = [read_student_folder(end) for end in ends]
    # Equal sha256 of equal files; the tensors are compared so that a failure says which.
    for name in described[0].sha256:
        ours, theirs = (load_file(end / name) for end in ends)
        assert ours.keys() == theirs.keys()
        assert [key for key in ours if not torch.equal(ours[key], theirs[key])] == []
    assert described[0].sha256 == described[1].sha256
    says = [{k: v for k, v in d.provenance.items() if k != "wall_s"} for d in described]
    assert says[0] == says[1]


def stop_at(step: int) -> Callable[[int, int, str], None]:
    def progress(done: int, total: int, what: str) -> None:
        if what.startswith("loss") and done == step:
            raise Cancelled("stopped")

    return progress


@pytest.mark.parametrize("step", [4, 5])
def test_a_stopped_run_goes_on_bit_by_bit(
    tmp_path: Path, recipe_file: Write, teachers: Teachers, step: int
) -> None:
    recipe = recipe_file(n_steps=8, dropout=0.1)
    train(recipe, tmp_path / "whole", ODD, teachers=teachers)
    with pytest.raises(Cancelled):
        train(recipe, tmp_path / "part", ODD, progress=stop_at(step), teachers=teachers)
    # What a kill while writing and while deleting leaves, and half a line of the log.
    checkpoints = tmp_path / "part" / CHECKPOINTS
    for name in (".step-6.partial-4711", "step-6", "step-1"):
        shutil.copytree(checkpoints / "step-3", checkpoints / name)
    for name in ("step-6", "step-1"):
        (checkpoints / name / "config.json").unlink()
    (checkpoints / ".step-6.partial-4711" / "model.safetensors").write_bytes(b"half")
    with (tmp_path / "part/log.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')
    train(recipe, tmp_path / "part", ODD, resume=True, teachers=teachers)
    assert_same_end(tmp_path / "whole", tmp_path / "part")
    assert sorted(path.name for path in checkpoints.iterdir()) == ["step-6", "step-8"]
    # A recipe of before there was a key: its default was in force.
    resolved = tmp_path / "part/recipe.json"
    recorded = json.loads(resolved.read_text())
    del recorded["run"]["compile"]
    resolved.write_text(json.dumps(recorded))
    train(recipe, tmp_path / "part", ODD, resume=True, teachers=teachers)
    with pytest.raises(ConfigError, match=r"optimiser.accumulate \(2, 1\).*run.seed \(0, 5\)"):
        train(
            recipe,
            tmp_path / "part",
            [*ODD, "optimiser.accumulate=1", "run.seed=5"],
            resume=True,
            teachers=teachers,
        )


def test_parts_of_a_batch_give_its_loss(
    tmp_path: Path, recipe_file: Write, teachers: Teachers
) -> None:
    recipe = recipe_file(n_steps=6, dropout=0.0)
    for n in (1, 3):
        train(recipe, tmp_path / f"{n}", [f"optimiser.accumulate={n}"], teachers=teachers)
    for whole, parts in zip(rows(tmp_path / "1"), rows(tmp_path / "3"), strict=True):
        assert whole.keys() == parts.keys()
        for key, value in whole.items():
            assert parts[key] == pytest.approx(value, rel=1e-5), key


def test_the_average_is_its_recursion_and_is_what_is_kept(
    tmp_path: Path, recipe_file: Write, teachers: Teachers
) -> None:
    recipe, run = recipe_file(n_steps=4, dropout=0.0), tmp_path / "run"
    overrides = ["run.checkpoint_every=1", "run.keep_checkpoints=4", "optimiser.ema_decay=0.75"]
    train(recipe, run, overrides, teachers=teachers)
    average = build_student(load_recipe(recipe).student, 0).state_dict()
    for step in range(1, 5):
        folder = run / f"checkpoints/step-{step}"
        live, kept = (load_file(folder / f"{n}.safetensors") for n in ("live", "model"))
        average = {key: 0.75 * old + 0.25 * live[key] for key, old in average.items()}
        for key, value in average.items():
            torch.testing.assert_close(kept[key], value, rtol=1e-5, atol=1e-7)
    moved = [key for key in live if not torch.allclose(live[key], kept[key])]
    assert len(moved) > 40
    kept = load_file(find_checkpoint(run) / "model.safetensors")
    encoder = load_encoder(f"run:{run}")
    assert isinstance(encoder, StudentEncoder)
    for name, parameter in encoder.student.named_parameters():
        assert torch.equal(parameter, kept[name])
    for name, parameter in load_student(run / "student").student.named_parameters():
        assert torch.equal(parameter, kept[name].half().float())


def last_step(run: Path) -> float:
    return max((row["step"] for row in read_log(run)), default=0)


class Killed:
    """`usad train … --resume` in a process of its own, killed again and again."""

    def __init__(self, recipe: Path, seed: int) -> None:
        self.recipe, self.random = recipe, random.Random(seed)
        self.n_kills = 0

    def start(self, run: Path) -> subprocess.Popen[bytes]:
        command = ["-m", "usad_workbench.workbench.cli", "train", str(self.recipe)]
        with (run.parent / f"{run.name}.err").open("wb") as errors:
            return subprocess.Popen(
                [sys.executable, *command, "--run", str(run), "--resume"],
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )

    def finish(self, run: Path) -> None:
        process = self.start(run)
        assert process.wait() == 0, (run.parent / f"{run.name}.err").read_text()[-3000:]

    def kill_after(self, run: Path, seconds: float) -> None:
        """At a random time since the start: while loading, decoding or caching too."""
        process = self.start(run)
        time.sleep(seconds)
        self.kill(process)

    def kill_within(self, run: Path, n_steps: int) -> None:
        """After a random number of steps, at any point of a step or a checkpoint."""
        wanted = last_step(run) + self.random.randint(1, n_steps)
        process = self.start(run)
        while process.poll() is None and last_step(run) < wanted:
            time.sleep(0.002)
        time.sleep(self.random.uniform(0.0, 0.05))
        self.kill(process)

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            self.n_kills += 1
        process.wait()


@pytest.fixture
def command_line_recipe(recipe_file: Write) -> Callable[[int], Path]:
    """A recipe whose only teacher needs no weights, so that the command line can load it.

    Each run keeps its own audio and targets, so that kills find it decoding and caching.
    """

    def write(n_steps: int) -> Path:
        path = recipe_file(n_steps=n_steps, dropout=0.1)
        text = path.read_text()
        teachers, data = text.index("[[teachers]]"), text.index("[data]")
        teacher = '[[teachers]]\nname = "untrained-student"\ndomain = "speech"\n\n'
        text = re.sub("\ncache = .*\n", "\n", text[:teachers] + teacher + text[data:])
        path.write_text(text.replace("log_every = 1", "log_every = 2"))
        return path

    return write


def test_kill_and_resume_end_as_an_undisturbed_run(
    tmp_path: Path, command_line_recipe: Callable[[int], Path]
) -> None:
    killed = Killed(command_line_recipe(30), seed=0)
    killed.finish(tmp_path / "whole")
    for n_steps in (9, 12):
        killed.kill_within(tmp_path / "part", n_steps)
    killed.finish(tmp_path / "part")
    assert killed.n_kills == 2
    assert_same_end(tmp_path / "whole", tmp_path / "part")


@pytest.mark.slow
def test_twenty_kills_end_as_an_undisturbed_run(
    tmp_path: Path, command_line_recipe: Callable[[int], Path]
) -> None:
    """Half at a random time before the first steps, half after a random number of steps."""
    killed = Killed(command_line_recipe(600), seed=1)
    started = time.monotonic()
    process = killed.start(tmp_path / "whole")
    while process.poll() is None and not last_step(tmp_path / "whole"):
        time.sleep(0.01)
    loading_s = time.monotonic() - started
    assert process.wait() == 0
    for _ in range(10):
        killed.kill_after(tmp_path / "part", killed.random.uniform(0.1, 1.0) * loading_s)
        killed.kill_within(tmp_path / "part", 20)
    killed.finish(tmp_path / "part")
    assert killed.n_kills == 20
    assert_same_end(tmp_path / "whole", tmp_path / "part")
