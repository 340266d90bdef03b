"""Controls that are no peers of the student are no yardstick; what is not known is said."""

import dataclasses
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.planted import add_clips, add_encoder
from usad_workbench.core.diagnosis.comparable_students import (
    StudentRecord,
    differences,
    student_record,
)
from usad_workbench.core.diagnosis.controls import controls_for, design_for, no_peers
from usad_workbench.core.diagnosis.data import DiagnosisConfig, DiagnosisData, load_diagnosis_data
from usad_workbench.core.diagnosis.recipes import checked_group
from usad_workbench.core.diagnosis.record import diagnosis_document
from usad_workbench.core.diagnosis.suite import compute_diagnosis
from usad_workbench.core.diagnosis.verdict_inputs import decide
from usad_workbench.core.errors import ConfigError, DegenerateError
from usad_workbench.core.models.checkpoint import SHIPPED
from usad_workbench.core.storage.distillation import set_distillation
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.workbench.report import write_report

BASE = StudentRecord(
    n_params=8e6,
    dim=256,
    n_layers=8,
    architecture={"dim": 256, "conv_channels": 64},
    stage=1,
    n_steps=2800,
    heard_h=29.0,
    corpus_h=4.0,
)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"n_steps": 180, "heard_h": 0.45}, "0.45 h of audio, not 29 h"),
        ({"n_steps": 180, "heard_h": math.nan}, "180 steps, not 2800"),
        ({"stage": 2}, "stage 2, not 1"),
        ({"corpus_h": 94_000.0}, "a corpus of 9.4e+04 h"),
        ({"architecture": {"dim": 256, "conv_channels": 16}}, "conv_channels 16, not 64"),
        ({"dim": 96, "n_layers": 4}, "4 layers of 96, not 8 of 256"),
        ({"n_params": 0.56e6}, "0.56 M parameters, not 8 M"),
    ],
)
def test_each_difference_on_record_is_named(changed, words) -> None:  # type: ignore[no-untyped-def]
    found = differences(BASE, dataclasses.replace(BASE, **changed))
    assert [one[: len(words)] for one in found] == [words]


def test_what_is_not_on_record_is_no_difference() -> None:
    assert differences(BASE, BASE) == []
    unknown = dataclasses.replace(
        BASE, stage=0, n_steps=0, heard_h=math.nan, corpus_h=math.nan, architecture={}
    )
    assert differences(BASE, unknown) == differences(unknown, BASE) == []
    assert student_record("vectors-made-elsewhere") is None
    assert student_record("ge2e") is None  # no student at all


def without(folder: Path, teacher: str, **architecture: int) -> str:
    """The name of a run that is on record like the shipped student, without one teacher."""
    folder.mkdir()
    described = json.loads((SHIPPED / "config.json").read_text(encoding="utf-8"))
    described["student"] |= architecture
    made = described["provenance"]
    made["teachers"] = [one for one in made["teachers"] if one["teacher"] != teacher]
    (folder / "config.json").write_text(json.dumps(described), encoding="utf-8")
    return f"run:{folder}"


def test_students_of_one_recipe_are_peers_of_each_other_alone(tmp_path: Path) -> None:
    demo = student_record("usad-demo")
    small = [student_record(without(tmp_path / t, t, dim=96, n_layers=4)) for t in ("a", "b")]
    peer = student_record(without(tmp_path / "peer", "aisfx"))
    assert demo is not None and peer is not None and all(small)
    assert differences(demo, peer) == []
    for one in small:
        assert one is not None
        assert differences(demo, one)[0] == "4 layers of 96, not 8 of 256"
        assert all(other and differences(one, other) == [] for other in small)


def world(folder, student: str, controls: list[str]) -> Workspace:  # type: ignore[no-untyped-def]
    """The student is much nearer to ``t`` than its controls are, whatever that rests on."""
    rng = np.random.default_rng(0)
    made = Workspace.create(folder)
    n = 96
    ids = [f"g{i % 12}" for i in range(n)]
    add_clips(made, {"domain": ["speech"] * n, "cluster_id": ids})
    teacher = rng.normal(size=(n, 8))

    def layers(x: np.ndarray) -> list[np.ndarray]:
        return [x, x + 0.1 * rng.normal(size=x.shape)]

    add_encoder(made, "t", "teacher", "speech", layers(teacher))
    add_encoder(made, student, "student", None, layers(teacher + 0.2 * rng.normal(size=(n, 8))))
    for i in range(4):
        add_encoder(made, f"q{i}", "baseline", "speech", layers(rng.normal(size=(n, 8))))
    for name in controls:
        far = 0.1 * teacher + rng.normal(size=(n, 8))
        add_encoder(made, name, "control", None, layers(far))
        set_distillation(made, name, [("another", "speech", 1)])
    return made


def data(made: Workspace, student: str, controls: list[str]) -> DiagnosisData:
    config = DiagnosisConfig(layers=(1,))
    return load_diagnosis_data(made, student, teachers=["t"], controls=controls, config=config)


def test_known_strangers_make_nothing_testable_and_are_named(tmp_path: Path) -> None:
    controls = [without(tmp_path / f"far{i}", "aisfx", dim=96, n_layers=4) for i in range(3)]
    made = world(tmp_path / "w", "usad-demo", controls)
    asked = data(made, "usad-demo", controls)
    assert controls_for(asked, "t", "student") == []
    found = compute_diagnosis(asked, ["inheritance"])
    (verdict,) = decide(found, asked.config.rules)
    assert verdict.verdict == "not testable"
    for row in found.panels["inheritance"].documents():
        assert row["inherited"] == "not testable"
        assert all(name in row["reason"] for name in controls)
        assert "M parameters, not 7.8 M" in row["reason"]
    assert any(controls[0] in one and "no peers" in one for one in found.warnings)
    assert any(
        one.startswith("t: not on record as teachers of usad-demo") for one in found.warnings
    )


def test_a_peer_among_strangers_is_used_alone(tmp_path: Path) -> None:
    peers = [without(tmp_path / f"peer{i}", "aisfx") for i in range(3)]
    far = without(tmp_path / "far", "aisfx", dim=96, n_layers=4)
    made = world(tmp_path / "w", "usad-demo", [far, *peers])
    asked = data(made, "usad-demo", [far, *peers])
    assert controls_for(asked, "t", "student") == sorted(peers)
    found = compute_diagnosis(asked, ["inheritance"])
    rows = found.panels["inheritance"].documents()
    assert {row["inherited"] for row in rows} == {"yes"}
    assert {row["rests_on"] for row in rows} == {
        "peers of the student: architecture and training on record, alike"
    }


def test_of_vectors_made_elsewhere_the_result_rests_on_the_users_word(tmp_path) -> None:  # type: ignore[no-untyped-def]
    controls = [f"k{i}" for i in range(5)]
    made = world(tmp_path / "w", "s", controls)
    asked = data(made, "s", controls)
    found = compute_diagnosis(asked, ["inheritance"])
    verdicts = decide(found, asked.config.rules)
    answer = diagnosis_document(replace(found, verdicts=verdicts))
    assert {row["inherited"] for row in answer["inheritance"]} == {"yes"}
    said = "--controls, the user's word"
    assert all(said in row["rests_on"] for row in answer["inheritance"])
    assert any(said in one for one in answer["warnings"])
    assert said in answer["verdicts"][0]["evidence"]["controls"]
    report = write_report(tmp_path / "r.html", found, verdicts, "rules", made)
    assert report.read_text(encoding="utf-8").count("the user&#39;s word") >= 3
    unnamed = load_diagnosis_data(made, "s", teachers=["t"], config=DiagnosisConfig(layers=(1,)))
    rows = compute_diagnosis(unnamed, ["inheritance"]).panels["inheritance"].documents()
    assert all("their roles here" in row["rests_on"] for row in rows)
    assert all("no task of speech tells whether" in row["rests_on"] for row in rows)


def test_who_taught_by_the_record_stands_in_no_teachers_place(tmp_path) -> None:  # type: ignore[no-untyped-def]
    made = world(tmp_path / "w", "s", ["k0"])
    rng = np.random.default_rng(1)
    for name in ("old", "other"):
        add_encoder(made, name, "control", "speech", [rng.normal(size=(96, 8))] * 2)
    set_distillation(made, "s", [("old", "speech", 1)])
    asked = load_diagnosis_data(made, "s", teachers=["t"])
    assert controls_for(asked, "t", "teacher") == ["other"]
    assert any(
        one.startswith("old taught s and are not among --teachers") for one in asked.warnings
    )
    named = load_diagnosis_data(made, "s", teachers=["t"], controls=["old", "other"])
    assert controls_for(named, "t", "teacher") == ["old", "other"]


def told_world(folder) -> Workspace:  # type: ignore[no-untyped-def]
    """Students of one recipe, told as they were imported, and one of another training."""
    made = world(folder, "s", [])
    rng = np.random.default_rng(2)
    for name, training, teachers in (
        ("s2", "alike", ["t"]),
        ("w0", "alike", ["u"]),
        ("w1", "alike", ["u"]),
        ("far", "other", ["u"]),
    ):
        add_encoder(made, name, "student", None, [rng.normal(size=(96, 8))] * 2)
        set_distillation(made, name, [(one, "speech", 1) for one in teachers])
        tell(made, name, training)
    tell(made, "s", "alike")
    set_distillation(made, "s", [("t", "speech", 1)])
    return made


def tell(made: Workspace, name: str, training: str) -> None:
    with made.database.write() as connection:
        connection.execute(
            "UPDATE encoders SET architecture = 'small', training = ? WHERE encoder = ?",
            [training, name],
        )


def test_students_of_the_recipe_stand_beside_by_what_was_told(tmp_path) -> None:  # type: ignore[no-untyped-def]
    made = told_world(tmp_path / "w")
    asked = load_diagnosis_data(made, "s", config=DiagnosisConfig(layers=(1,)))
    design = design_for(asked, "t")
    assert design.peers == ("w0", "w1") and design.is_on_record
    named = load_diagnosis_data(made, "s", controls=["w0", "w1", "far"])
    assert controls_for(named, "t", "student") == ["w0", "w1"]
    assert no_peers(named) == {"far": "training other, not alike"}
    assert set(design_for(named, "t").placebos) == {f"q{i}" for i in range(4)}
    group = load_diagnosis_data(made, "s", group=["s2"])
    assert group.group == design_for(group, "t").students == ("s", "s2")
    for wrong, words in (("s", "each name once"), ("w0", "seeds of one recipe")):
        with pytest.raises(ConfigError, match=words):
            load_diagnosis_data(made, "s", group=[wrong])


def test_a_student_of_whom_nobody_told_its_teachers_is_no_peer(tmp_path) -> None:  # type: ignore[no-untyped-def]
    made = told_world(tmp_path / "w")
    set_distillation(made, "s2", [])  # it had t, and nobody says so
    asked = load_diagnosis_data(made, "s")
    assert design_for(asked, "t").peers == ("w0", "w1")
    assert any("s2: of the student's recipe and no peers, as nobody" in w for w in asked.warnings)
    named = load_diagnosis_data(made, "s", controls=["w0", "w1", "s2"])
    assert set(design_for(named, "t").peers) == {"w0", "w1", "s2"}  # the user's word


def test_a_student_without_geometry_stands_in_nobodys_way(tmp_path) -> None:  # type: ignore[no-untyped-def]
    made = told_world(tmp_path / "w")
    add_encoder(made, "flat", "student", None, [np.ones((96, 8))] * 2)
    set_distillation(made, "flat", [("u", "speech", 1)])
    tell(made, "flat", "alike")
    asked = load_diagnosis_data(made, "s", config=DiagnosisConfig(layers=(1,)))
    assert design_for(asked, "t").peers == ("w0", "w1")
    assert any(one.startswith("flat layer 0 has collapsed") for one in asked.warnings)
    rows = compute_diagnosis(asked, ["inheritance"]).panels["inheritance"].documents()
    assert all(math.isfinite(row["excess"]) for row in rows)  # type: ignore[call-overload]
    set_distillation(made, "flat", [])
    with pytest.raises(DegenerateError, match="flat has no layer left"):
        load_diagnosis_data(made, "s", group=["flat"])


def test_seeds_of_one_recipe_are_other_weights_and_no_teachers(tmp_path) -> None:  # type: ignore[no-untyped-def]
    made = told_world(tmp_path / "w")
    with pytest.raises(ConfigError, match="t taught s, expected seeds"):
        load_diagnosis_data(made, "s", group=["t"])
    with made.database.write() as connection:
        connection.execute("UPDATE spaces SET weights_sha256 = 's' WHERE encoder = 's2'")
        connection.execute("UPDATE encoders SET weights_sha256 = 's' WHERE encoder = 's2'")
    with pytest.raises(ConfigError, match="s and s2 are two names of the same weights"):
        load_diagnosis_data(made, "s", group=["s2"])
    small = without(tmp_path / "small", "aisfx", dim=96, n_layers=4)
    with pytest.raises(ConfigError, match="4 layers of 96, not 8 of 256"):
        checked_group(made, {}, "usad-demo", [small])


def test_encoders_of_a_teachers_family_and_teachers_of_peers_are_no_placebos(tmp_path) -> None:  # type: ignore[no-untyped-def]
    made = told_world(tmp_path / "w")
    set_distillation(made, "w1", [("q3", "speech", 1)])
    with made.database.write() as connection:
        connection.execute("UPDATE encoders SET family = 'big' WHERE encoder IN ('t', 'q0')")
        connection.execute("UPDATE encoders SET family = 'two' WHERE encoder IN ('q1', 'q2')")
    design = design_for(load_diagnosis_data(made, "s"), "t")
    assert design.placebos == ("q1", "q2") and design.families == (0, 0)
    assert "1 family of encoders" in design.reason
    with made.database.write() as connection:  # the family of who taught a peer is none either
        connection.execute("UPDATE encoders SET family = 'two' WHERE encoder = 'q3'")
    assert design_for(load_diagnosis_data(made, "s"), "t").placebos == ()
