"""One rule for who is a teacher and what is unseen: diagnosis and every page give the same."""

import numpy as np
import pytest

from tests.planted import add_clips, add_encoder
from usad_workbench.core.diagnosis.data import DiagnosisConfig, load_diagnosis_data
from usad_workbench.core.errors import ConfigError, DegenerateError
from usad_workbench.core.storage.clip_fields import new_values
from usad_workbench.core.storage.distillation import set_distillation
from usad_workbench.core.storage.domains import describe_alike, other_letters_in, same_domain
from usad_workbench.core.storage.importing import insert_clips
from usad_workbench.core.storage.roles import encoder_roles
from usad_workbench.core.storage.unseen_domains import unseen_domains
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.workbench.presenters import data, encoders, overview

DOMAINS = ("effects", "music", "sound", "speech")
N = 30


@pytest.fixture
def workspace(tmp_path) -> Workspace:  # type: ignore[no-untyped-def]
    """``base`` has the default role of a control and taught; ``late`` taught on any audio."""
    made = Workspace.create(tmp_path / "w")
    rng = np.random.default_rng(0)
    n = N * len(DOMAINS)
    add_clips(
        made, {"domain": np.repeat(DOMAINS, N).tolist(), "cluster_id": [f"c{i}" for i in range(n)]}
    )
    for name, role, home in [
        ("s", "student", None),
        ("base", "control", " Speech"),
        ("late", "teacher", "sound"),
        ("idle", "teacher", "music"),
        ("any", "control", None),
    ]:
        add_encoder(made, name, role, home, [rng.normal(size=(n, 6))])  # type: ignore[arg-type]
    set_distillation(made, "s", [("base", "SPEECH", 1), ("late", None, 2)])
    return made


EXPECTED = {
    "s": "student",
    "base": "teacher",
    "late": "teacher",
    "idle": "control",
    "any": "control",
}


def test_every_place_has_the_same_roles(workspace: Workspace) -> None:
    material = load_diagnosis_data(workspace, "s")
    found = {"s": "student", **{name: role.role for name, role in material.roles.items()}}
    assert found == EXPECTED
    sql = workspace.sql
    assert encoders.roles_for(sql, "s") == encoders.roles_of(sql) == EXPECTED
    table = overview.encoder_rows(sql)
    assert dict(zip(table["encoder"], table["role"], strict=True)) == EXPECTED
    spaces = data.spaces(sql)
    assert dict(zip(spaces["encoder"], spaces["role"], strict=True)) == EXPECTED


def test_every_place_has_the_same_unseen_domains(workspace: Workspace) -> None:
    """A teacher of any audio taught on what there was: it makes no domain seen."""
    material = load_diagnosis_data(workspace, "s")
    assert [d for d in material.domains if material.is_unseen(d)] == ["effects", "music"]
    assert unseen_domains(workspace.sql, "s") == {"effects", "music"}


def test_a_teacher_of_another_student_is_a_control_here_and_a_teacher_where_none_is_chosen(
    workspace: Workspace,
) -> None:
    add_encoder(workspace, "r", "student", None, [np.ones((N * 4, 6))])
    set_distillation(workspace, "r", [("idle", "music", 1)])
    assert encoder_roles(workspace, "s")["idle"].role == "control"
    assert encoder_roles(workspace)["idle"].role == "teacher"
    assert encoders.roles_for(workspace.sql, "r")["base"] == "control"
    assert unseen_domains(workspace.sql, "r") == {"effects", "sound", "speech"}


def test_nothing_is_unseen_by_a_student_without_any_teacher(tmp_path) -> None:  # type: ignore[no-untyped-def]
    made = Workspace.create(tmp_path / "w")
    add_clips(made, {"domain": ["whales"] * N, "cluster_id": [f"c{i}" for i in range(N)]})
    add_encoder(made, "s", "student", None, [np.eye(N, 6)])
    assert unseen_domains(made.sql, "s") == set()
    add_encoder(made, "t", "teacher", "speech", [np.eye(N, 6)])
    assert unseen_domains(made.sql, "s") == {"whales"}  # default roles stand in, as in diagnose


def test_home_domains_in_other_letters_are_those_of_the_clips(workspace: Workspace) -> None:
    assert encoder_roles(workspace, "s")["base"].domain == "speech"
    assert load_diagnosis_data(workspace, "s").taught["base"] == ("speech",)


def test_a_filter_in_other_letters_is_named(workspace: Workspace) -> None:
    config = DiagnosisConfig(where="domain IN ('Speech', 'music', ' SOUND ')")
    said = load_diagnosis_data(workspace, "s", config=config).warnings
    assert "the domain 'Speech' of --where is 'speech' here" in said
    assert "the domain ' SOUND ' of --where is 'sound' here" in said
    with pytest.raises(DegenerateError, match="'Speech' of --where is 'speech'"):
        load_diagnosis_data(workspace, "s", config=DiagnosisConfig(where="domain = 'Speech'"))


def test_domains_that_differ_in_letters_only_are_named_and_the_rest_goes_on(tmp_path) -> None:  # type: ignore[no-untyped-def]
    made = Workspace.create(tmp_path / "w")
    domains = ["speech"] * 60 + ["Speech "] * 3 + ["music"] * 30
    add_clips(made, {"domain": domains, "cluster_id": [f"c{i}" for i in range(93)]})
    for name, role in (("s", "student"), ("t", "teacher")):
        x = np.random.default_rng(1).normal(size=(93, 6))
        add_encoder(made, name, role, "speech", [x])  # type: ignore[arg-type]
    found = load_diagnosis_data(made, "s")
    assert found.domains == ["music", "speech"]
    assert any("'Speech ' (3 clips) and 'speech' (60 clips)" in one for one in found.warnings)


def test_names_of_domains() -> None:
    assert same_domain("Field  Recordings", ["field recordings"]) == "field recordings"
    assert same_domain("Speech", ["Speech", "speech"]) == "Speech"
    assert other_letters_in("label = 'it''s Music' OR domain='MUSIC'", ["music"]) == {
        "MUSIC": "music"
    }
    assert describe_alike({"a": 1, "b": 2}) == []


def test_clips_take_the_domain_that_is_there_in_other_letters(tmp_path) -> None:  # type: ignore[no-untyped-def]
    made = Workspace.create(tmp_path / "w")
    written = ["Speech", "speech ", "MUSIC", "Field Recordings", "field recordings", "Whales"]
    rows = [
        {"clip_id": f"c{i}", "path": "", "domain": one, "dataset": "d", "cluster_id": f"c{i}"}
        for i, one in enumerate(written)
    ]
    insert_clips(made, rows[:4])
    insert_clips(made, rows[4:])
    assert made.clips().domain.tolist() == [
        "speech",
        "speech",
        "music",
        "Field Recordings",
        "Field Recordings",
        "Whales",
    ]


def test_a_domain_in_other_letters_contradicts_no_clip() -> None:
    clip: dict[str, object] = {"clip_id": "c", "path": "d/c.wav", "domain": "speech"}
    assert new_values(clip, {"domain": "Speech "}, update=False) == {}
    assert new_values({**clip, "domain": "unknown"}, {"domain": "SPEECH"}, update=False) == {
        "domain": "speech"
    }
    with pytest.raises(ConfigError, match="has the domain 'speech'"):
        new_values(clip, {"domain": "music"}, update=False)
