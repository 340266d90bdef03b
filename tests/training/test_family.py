"""A family of students: what its runs are, that a killed one goes on, and what its vectors hold."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pytest

from usad_workbench.core.config import config_to_dict, differing_keys
from usad_workbench.core.errors import Cancelled, ConfigError
from usad_workbench.core.models.checkpoint import load_student
from usad_workbench.core.models.encoder import Encoder
from usad_workbench.training.ablation import family
from usad_workbench.training.ablation.family import (
    MEMBERS_FILE,
    VECTORS_FILE,
    SampleClips,
    architecture_of,
    load_sample_clips,
    make_family,
    train_family,
    training_of,
    write_family,
)
from usad_workbench.training.evaluation import embed_clips
from usad_workbench.training.recipe import Recipe, load_recipe
from usad_workbench.workbench.cli import main

EVALUATION = """
[evaluation]
names = ["digit", "material"]
max_clips = 48
max_clip_s = 1.0
protocols = ["knn"]
"""
ROWS = ["full", "without-voice", "without-noise", "without-tune"]
N_CLIPS = 40


@pytest.fixture
def recipe(recipe_file: Callable[..., Path]) -> Path:
    path = recipe_file(n_steps=4)
    path.write_text(path.read_text() + EVALUATION)
    return path


@pytest.fixture(scope="module")
def every_clip() -> SampleClips:
    return load_sample_clips()


@pytest.fixture
def few_clips(every_clip: SampleClips, monkeypatch: pytest.MonkeyPatch) -> SampleClips:
    """Some of the sample data in the place of all."""
    few = replace(
        every_clip,
        names=every_clip.names[::29][:N_CLIPS],
        clips=every_clip.clips[::29][:N_CLIPS],
    )
    monkeypatch.setattr(family, "load_sample_clips", lambda: few)
    return few


def _keys(one: object, other: object) -> set[str]:
    found = differing_keys(config_to_dict(one), config_to_dict(other))
    return {difference.split()[0] for difference in found}


# What the runs are.


def test_runs_of_a_seed_differ_in_one_teacher_and_nothing_else(tmp_path: Path) -> None:
    full, *others = make_family(load_recipe("family"))
    reference = full.of_seed(3, tmp_path)
    assert (reference.run.seed, reference.name) == (3, "usad-family-full")
    missing = set()
    for row in others:
        recipe = row.of_seed(3, tmp_path)
        assert _keys(reference, recipe) == {"name", "teachers"}
        (teacher,) = set(reference.teachers) - set(recipe.teachers)
        assert row.name == f"without-{teacher.name}"
        assert [t for t in reference.teachers if t != teacher] == list(recipe.teachers)
        missing.add(teacher.name)
    assert missing == {"whisper-tiny.en", "aisfx", "musicnn"}
    assert _keys(reference, full.of_seed(4, tmp_path)) == {"run.seed"}


def test_the_recipe_is_the_first_stage_of_the_shipped_student_at_half_its_width() -> None:
    mine, demo = load_recipe("family"), load_recipe("demo-small")
    assert mine.student == replace(demo.student, dim=128, n_heads=2, conv_channels=32)
    assert demo.student.dim == 256 and demo.student.conv_channels == 64
    assert (mine.teachers, mine.data, mine.objective) == (demo.teachers, demo.data, demo.objective)
    others = {
        name: getattr(mine.optimiser, name) for name in ("peak_lr", "n_steps", "warmup_steps")
    }
    assert mine.optimiser == replace(demo.optimiser, **others)
    assert others["n_steps"] < demo.optimiser.n_steps
    assert "effects" not in mine.data.domains


@pytest.mark.parametrize(
    ("override", "what"),
    [
        ("optimiser.n_steps=2401", "training"),
        ("objective.omega=5.0", "training"),
        ("data.max_clip_s=4.0", "training"),
        ("run.precision=float32", "training"),
        ("student.dim=160", "architecture"),
        ("student.activation=gelu", "architecture"),
        ("run.seed=7", ""),
        ("data.cache=elsewhere", ""),
    ],
)
def test_whatever_makes_no_peer_is_in_the_words_of_training_or_architecture(
    override: str, what: str
) -> None:
    def words(recipe: Recipe) -> dict[str, str]:
        return {"training": training_of(recipe), "architecture": architecture_of(recipe.student)}

    one, other = words(load_recipe("family")), words(load_recipe("family", (override,)))
    assert [name for name in one if one[name] != other[name]] == ([what] if what else [])
    without = make_family(load_recipe("family"))[1].of_seed(5, Path())
    assert words(without) == one


def test_a_recipe_of_one_teacher_has_no_family() -> None:
    recipe = load_recipe("family")
    with pytest.raises(ConfigError, match="1 teacher, expected two or more"):
        make_family(replace(recipe, teachers=recipe.teachers[:1]))


# Runs, and what they leave.


def test_a_killed_family_goes_on_and_leaves_the_vectors_of_a_whole_one(
    recipe: Path,
    teachers: dict[str, Encoder],
    few_clips: SampleClips,
    tmp_path: Path,
) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"

    def stop(done: int, total: int, what: str) -> None:
        if what.startswith("without-voice") and done == 3:  # in the second run, at its checkpoint
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        train_family(killed, recipe, seeds=1, progress=stop, encoders=teachers)
    (done,) = killed.rglob("vectors-*")
    assert done.parent == killed / "seed-0" / "full"
    written = done.stat().st_mtime_ns
    assert [member.encoder for member in write_family(killed, recipe, seeds=1)] == ["tiny-full-0"]
    seen: list[str] = []
    n_finished = train_family(
        killed,
        recipe,
        seeds=1,
        progress=lambda done, total, what: seen.append(f"{done} {what}"),
        encoders=teachers,
    )
    assert n_finished == 3 and done.stat().st_mtime_ns == written
    assert [s.split()[0] for s in seen if "without-voice" in s] == ["4"]  # from step 3 on
    assert train_family(whole, recipe, seeds=1, encoders=teachers) == 4
    one, other = (write_family(folder, recipe, seeds=1) for folder in (killed, whole))
    assert one == other and len(one) == 4
    assert (killed / VECTORS_FILE).read_bytes() == (whole / VECTORS_FILE).read_bytes()
    assert train_family(killed, recipe, seeds=1) == 0  # not even a teacher is loaded
    assert train_family(killed, recipe, seeds=2, only=["without-tune"], encoders=teachers) == 2
    names = [member.encoder for member in write_family(killed, recipe, seeds=2)]
    assert names[4:] == ["tiny-full-1", "tiny-without-tune-1"]
    _check_vectors(whole, few_clips)


def _check_vectors(folder: Path, clips: SampleClips) -> None:
    """Each student's vectors are what its weights make of the clips, and no other's."""
    rows = duckdb.sql(f"SELECT * FROM '{folder / VECTORS_FILE}'").fetchnumpy()
    made = {}
    for row in ROWS:
        encoder = load_student(folder / "seed-0" / row / "student")
        made[row] = embed_clips(encoder, clips.clips, (-1,))[0].astype(np.float16)
        chosen = rows["encoder"] == f"tiny-{row}-0"
        assert rows["clip_id"][chosen].tolist() == list(clips.names)
        assert set(rows["layer"][chosen]) == {encoder.spec.n_layers}
        stored = np.stack(rows["vector"][chosen])
        np.testing.assert_array_equal(stored, made[row].astype(np.float32))
    for row in ROWS[1:]:
        assert np.abs(made[row] - made["full"]).max() > 1e-3
    with (folder / MEMBERS_FILE).open(encoding="utf-8") as file:
        members = list(csv.DictReader(file))
    assert [member["teachers"] for member in members] == [
        "voice,noise,tune",
        "noise,tune",
        "voice,tune",
        "voice,noise",
    ]
    for name in ("family", "architecture", "training", "training_seed", "teachers"):
        told = dict(zip(rows["encoder"], rows[name], strict=True))
        assert {m["encoder"]: m[name] for m in members} == {k: str(v) for k, v in told.items()}


def test_other_clips_are_embedded_anew(
    recipe: Path,
    teachers: dict[str, Encoder],
    few_clips: SampleClips,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    train_family(tmp_path, recipe, seeds=1, encoders=teachers)
    fewer = replace(
        few_clips, names=few_clips.names[:7], clips=few_clips.clips[:7], sha256="0" * 64
    )
    monkeypatch.setattr(family, "load_sample_clips", lambda: fewer)
    arguments = ["family", "--run", str(tmp_path), "--recipe", str(recipe), "--seeds", "1"]
    assert main([*arguments, "--collect"]) == 0
    assert "tiny-without-noise-0" in capsys.readouterr().out
    ((n_clips, n_encoders),) = duckdb.sql(
        f"SELECT count(DISTINCT clip_id), count(DISTINCT encoder) FROM '{tmp_path / VECTORS_FILE}'"
    ).fetchall()
    assert (n_clips, n_encoders) == (7, 4)
