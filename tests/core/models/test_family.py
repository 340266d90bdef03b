"""The family that comes with the package: its vectors are of the sample clips, and say who they are."""

import csv
from functools import cache
from pathlib import Path

import duckdb
import numpy as np
import pytest

from tests.planted import add_encoder
from usad_workbench.core.encoders.students import FAMILY_FOLDER
from usad_workbench.core.storage.clips_without_audio import import_clips_without_audio
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.sample_data import sample_data_folder
from usad_workbench.training.ablation.family import architecture_of, make_family, training_of
from usad_workbench.training.recipe import load_recipe
from usad_workbench.workbench.demo import FAMILY, import_family

TEACHERS = {"whisper-tiny.en": "speech", "aisfx": "sound", "musicnn": "music"}
WITHOUT = ("without-whisper-tiny.en", "without-aisfx")
"""Rows that a family needs at least, to show whose trace it has."""
MAX_BYTES = 12_000_000


@cache
def members() -> list[dict[str, str]]:
    with (FAMILY_FOLDER / "students.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_each_has_a_pair_and_the_recipe_that_makes_it_again() -> None:
    recipe = load_recipe("family")
    rows = {row.name: row.recipe for row in make_family(recipe)}
    for member in members():
        name, _, seed = member["encoder"].removeprefix("usad-family-").rpartition("-")
        assert seed == member["training_seed"]
        assert member["teachers"] == ",".join(teacher.name for teacher in rows[name].teachers)
    names = [member["encoder"] for member in members()]
    assert len(set(names)) == len(names)
    for name in ("full", *WITHOUT):
        assert sum(one.startswith(f"usad-family-{name}-") for one in names) >= 3, name
    assert {member["family"] for member in members()} == {"usad-family"}
    assert {member["architecture"] for member in members()} == {architecture_of(recipe.student)}
    assert {member["training"] for member in members()} == {training_of(recipe)}


def test_each_was_trained_apart_on_the_same_audio() -> None:
    hashes = {member["weights_sha256"] for member in members()}
    assert len(hashes) == len(members()) and {len(digest) for digest in hashes} == {64}
    assert len({member["corpus"] for member in members()}) == 1
    assert len({member["audio_s"] for member in members() if member["training_seed"] == "0"}) == 1
    assert min(float(member["audio_s"]) for member in members()) > 40_000


def test_vectors_are_of_all_sample_clips_and_differ() -> None:
    assert FAMILY.stat().st_size < MAX_BYTES
    with (sample_data_folder() / "manifest.csv").open(encoding="utf-8", newline="") as file:
        clips = [row["clip_id"] for row in csv.DictReader(file)]
    told = ("family", "architecture", "training", "training_seed", "teachers")
    rows = duckdb.sql(
        f"SELECT encoder, list(clip_id), list(DISTINCT ({', '.join(told)})), list(vector) "
        f"FROM '{FAMILY}' GROUP BY encoder"
    ).fetchall()
    assert {row[0] for row in rows} == {member["encoder"] for member in members()}
    of_encoder = {member["encoder"]: member for member in members()}
    norms = []
    for encoder, clip_ids, said, vectors in rows:
        assert clip_ids == clips
        (one,) = said
        assert [str(value) for value in one] == [of_encoder[encoder][name] for name in told]
        x = np.array(vectors)
        assert x.shape == (len(clips), load_recipe("family").student.dim)
        assert np.isfinite(x).all() and (x == x.astype(np.float16)).all()
        assert len(np.unique(x.round(2), axis=0)) > 0.99 * len(clips)
        norms.append(float(np.linalg.norm(x)))
    assert len(set(norms)) == len(norms)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace.create(tmp_path / "w")
    import_clips_without_audio(made, sample_data_folder() / "manifest.csv", False)
    return made


def test_the_demo_takes_it_in_once_its_teachers_are_there(workspace: Workspace) -> None:
    students, failed = import_family(workspace)
    assert students == [] and "whisper-tiny.en" in failed[0].reason
    n_clips = len(workspace.clips())
    for teacher, domain in TEACHERS.items():
        layer = np.random.default_rng(0).normal(size=(n_clips, 4))
        add_encoder(workspace, teacher, "teacher", domain, [layer, layer])
    students, failed = import_family(workspace)
    assert failed == [] and sorted(students) == sorted(member["encoder"] for member in members())
    told = workspace.sql("SELECT * FROM encoders WHERE role = 'student'").set_index("encoder")
    for member in members():
        row = told.loc[member["encoder"]]
        for name in ("family", "architecture", "training", "training_seed"):
            assert str(row[name]) == member[name]
    taught = workspace.sql("SELECT student, teacher, domain FROM distillation")
    assert {
        student: set(map(tuple, of[["teacher", "domain"]].to_numpy()))
        for student, of in taught.groupby("student")
    } == {m["encoder"]: {(t, TEACHERS[t]) for t in m["teachers"].split(",")} for m in members()}
    again, failed = import_family(workspace)
    assert sorted(again) == sorted(students) and failed == []
