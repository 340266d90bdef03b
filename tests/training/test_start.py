"""Runs that begin as another run's student: the second stage, and deeper students."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.training.conftest import RECIPE, FakeTeacher
from usad_workbench.core.encoders.registry import encoder_spec
from usad_workbench.core.errors import CheckpointError, ConfigError
from usad_workbench.core.models.checkpoint import find_checkpoint, load_heads, load_student
from usad_workbench.core.models.encoder import Encoder
from usad_workbench.training import read_log, train
from usad_workbench.training.initial_student import start_student
from usad_workbench.training.recipe import load_recipe

Write = Callable[..., Path]
Teachers = dict[str, Encoder]

STAGE_2 = (
    "stage=2",
    "objective.n_layers=1",
    'teachers=[{name="tune", domain="speech"}, {name="noise", domain="all"}]',
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, manifest: Path, cache: Path) -> Path:
    """A run of the first stage, with checkpoints at steps 3 and 6."""
    folder = tmp_path_factory.mktemp("first")
    recipe = folder / "recipe.toml"
    recipe.write_text(RECIPE.format(manifest=manifest, cache=cache, n_steps=6, dropout=0.1))
    teachers = {
        "voice": FakeTeacher("voice", 50.0, 12, has_ffn=True),
        "noise": FakeTeacher("noise", 20.0, 10, pads=True),
        "tune": FakeTeacher("tune", 62.5, 14),
    }
    train(recipe, folder / "run", teachers=teachers)
    return folder / "run"


@pytest.fixture
def first(tmp_path: Path, trained: Path) -> Path:
    """A copy of that run, to do anything with."""
    shutil.copytree(trained, tmp_path / "first")
    return tmp_path / "first"


def test_the_second_stage_begins_where_the_first_ended(
    tmp_path: Path, first: Path, recipe_file: Write, teachers: Teachers
) -> None:
    recipe = load_recipe(recipe_file(), (*STAGE_2, f"start.student={first}"))
    start = start_student(recipe)
    trained = load_student(find_checkpoint(first)).student
    for mine, theirs in zip(start.student.parameters(), trained.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)

    run = tmp_path / "second"
    result = train(recipe_file(), run, [*STAGE_2, f"start.student={first}"], teachers=teachers)
    heads = [
        (h.spec.teacher, h.spec.student_layer, h.spec.teacher_layer)
        for h in load_heads(result.checkpoint)
    ]
    assert heads == [("tune", 4, 4), ("noise", 4, 4)]
    assert list(encoder_spec(f"run:{run}").taught_by) == [
        ("voice", "speech", 1),
        ("noise", "sound", 1),
        ("tune", "music", 1),
        ("tune", "speech", 2),
        ("noise", None, 2),
    ]
    # What tells that they are stages of one student: the hash that its vectors carry.
    begun_with = load_student(find_checkpoint(first)).weights_sha256
    assert encoder_spec(f"run:{run}").began_with == (begun_with,)
    now = load_student(find_checkpoint(run)).student
    for name, parameter in now.blocks[0].named_parameters():  # the loss at the top reaches it
        assert not torch.equal(parameter, trained.blocks[0].get_parameter(name)), name


def test_an_earlier_checkpoint_and_the_exported_student_can_be_named(
    first: Path, recipe_file: Write
) -> None:
    for name, folder in ((f"{first}@3", "checkpoints/step-3"), (f"{first}/student", "student")):
        student = start_student(load_recipe(recipe_file(), (f"start.student={name}",))).student
        theirs = load_student(first / folder).student
        torch.testing.assert_close(student.state_dict(), theirs.state_dict(), rtol=0, atol=0)


def test_a_run_goes_on_without_the_student_that_it_began_as(
    tmp_path: Path, first: Path, recipe_file: Write, teachers: Teachers
) -> None:
    changes = [*STAGE_2, f"start.student={first}"]
    train(recipe_file(), tmp_path / "whole", changes, teachers=teachers)
    killed = tmp_path / "killed"
    train(recipe_file(), killed, changes, teachers=teachers)
    recorded = json.loads((killed / "run.json").read_text())
    shutil.rmtree(killed / "checkpoints/step-6")
    shutil.rmtree(first)
    train(recipe_file(), killed, changes, resume=True, teachers=teachers)
    assert [row["loss"] for row in read_log(killed)] == [
        row["loss"] for row in read_log(tmp_path / "whole")
    ]
    again = json.loads((killed / "run.json").read_text())
    for key in ("start", "teachers", "stage"):
        assert again[key] == recorded[key]


@pytest.mark.parametrize("method", ["upscale", "duplicate", "top"])
def test_a_deeper_student_is_trained_on(
    tmp_path: Path, first: Path, recipe_file: Write, teachers: Teachers, method: str
) -> None:
    changes = [
        f"start.student={first}",
        f"start.depth={method}",
        "student.n_layers=6",
        "optimiser.n_steps=3",
    ]
    result = train(recipe_file(), tmp_path / method, changes, teachers=teachers)
    assert load_student(result.checkpoint).spec.n_layers == 6
    recorded = json.loads((tmp_path / method / "run.json").read_text())["start"]
    assert (recorded["depth"], recorded["n_layers"], len(recorded["layers"])) == (method, 4, 6)


def test_the_second_stage_from_scratch_is_said(
    recipe_file: Write, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert start_student(load_recipe(recipe_file(), STAGE_2)).source is None
    assert "Stage 2 of tiny begins with random weights" in caplog.text


def test_starts_that_do_not_fit_are_refused(
    tmp_path: Path, first: Path, recipe_file: Write
) -> None:
    with pytest.raises(CheckpointError, match="nowhere"):
        start_student(load_recipe(recipe_file(), (f"start.student={tmp_path}/nowhere",)))
    other = (f"start.student={first}", "student.dim=64", "student.frame_rate_hz=25")
    with pytest.raises(ConfigError, match="dim = 32 there, 64 here; frame_rate_hz = 50 there"):
        start_student(load_recipe(recipe_file(), other))
    with pytest.raises(ConfigError, match=r"'same' .* from 4 layers to 6"):
        start_student(load_recipe(recipe_file(), (f"start.student={first}", "student.n_layers=6")))
    with pytest.raises(ConfigError, match=r"start\.student is empty"):
        load_recipe(recipe_file(), ("start.depth=top",))
