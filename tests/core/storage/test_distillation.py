"""Who taught a student gets into the workspace with the student itself."""

import shutil
from pathlib import Path

from tests.planted import add_clips, add_encoder
from usad_workbench.core.diagnosis.data import load_diagnosis_data
from usad_workbench.core.embedding import embed
from usad_workbench.core.encoders.registry import encoder_spec, load_encoder
from usad_workbench.core.models.checkpoint import SHIPPED
from usad_workbench.core.storage.distillation import has_teachers, set_distillation
from usad_workbench.core.storage.workspace import Workspace


def rows(workspace: Workspace, student: str) -> list[tuple[str, str | None, int]]:
    found = workspace.sql(
        "SELECT teacher, domain, stage FROM distillation WHERE student = ? ORDER BY ALL", [student]
    )
    return [
        (r.teacher, r.domain if isinstance(r.domain, str) else None, int(r.stage))
        for r in found.itertuples()
    ]


def test_embedding_a_student_notes_its_teachers_once(tmp_path: Path) -> None:
    name = "usad-demo"
    workspace = Workspace.create(tmp_path / "w")
    encoder = load_encoder(name)
    for _ in range(2):
        embed(workspace, encoder)
    assert rows(workspace, name) == sorted(map(tuple, encoder_spec(name).taught_by), key=str)


def test_a_run_is_known_by_its_record(tmp_path: Path) -> None:
    folder = tmp_path / "student"
    shutil.copytree(SHIPPED, folder)
    run = planted(tmp_path / "w", f"run:{folder}")
    load_diagnosis_data(run, f"run:{folder}")
    assert ("whisper-base", "speech", 2) in rows(run, f"run:{folder}")
    for name in ("run:nowhere", "hf:somebody/model"):
        other = planted(tmp_path / name, name)
        load_diagnosis_data(other, name)
        assert other.sql("SELECT student FROM distillation").empty


def test_rows_of_the_user_stay(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "w")
    set_distillation(workspace, "usad-demo", [("mine", "speech", 1)])
    embed(workspace, load_encoder("usad-demo"))
    assert rows(workspace, "usad-demo") == [("mine", "speech", 1)]


def planted(folder: Path, student: str) -> Workspace:
    import numpy as np

    rng = np.random.default_rng(0)
    workspace = Workspace.create(folder)
    add_clips(workspace, {"domain": ["speech"] * 40, "cluster_id": [str(i) for i in range(40)]})
    for name, role in ((student, "student"), ("whisper-base", "control"), ("other", "teacher")):
        add_encoder(workspace, name, role, None, [rng.normal(size=(40, 8))])
    return workspace


def test_diagnosing_an_older_workspace_notes_them_too(tmp_path: Path) -> None:
    workspace = planted(tmp_path / "w", "usad-demo")
    data = load_diagnosis_data(workspace, "usad-demo")
    assert (data.teachers, data.controls) == (["whisper-base"], ["other"])
    assert data.are_teachers_known and has_teachers(workspace, "usad-demo")


def test_unknown_teachers_are_said_to_be_unknown(tmp_path: Path) -> None:
    workspace = planted(tmp_path / "w", "hf:x/y")
    data = load_diagnosis_data(workspace, "hf:x/y")
    assert data.teachers == ["other"] and not data.are_teachers_known
    assert any("who taught hf:x/y is not known" in one for one in data.warnings)
    named = load_diagnosis_data(workspace, "hf:x/y", teachers=["other"])
    assert named.are_teachers_known
    assert not any("not known" in one for one in named.warnings)


def test_a_teacher_that_is_diagnosed_gets_a_warning(tmp_path: Path) -> None:
    workspace = planted(tmp_path / "w", "s")
    found = load_diagnosis_data(workspace, "other", teachers=["whisper-base"]).warnings
    assert "other has the role teacher" in found[0]
    assert not any("has the role" in one for one in load_diagnosis_data(workspace, "s").warnings)
