"""End to end: a student with a gender direction that neither teacher nor controls have."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from tests.planted import add_clips, add_encoder
from usad_workbench.core.diagnosis.data import DiagnosisConfig, DiagnosisData, load_diagnosis_data
from usad_workbench.core.diagnosis.panels import (
    associations,
    neighbourhoods,
    nuisance,
    shortcuts,
)
from usad_workbench.core.diagnosis.rules import AssociationRule
from usad_workbench.core.errors import ConfigError
from usad_workbench.core.progress import no_progress
from usad_workbench.core.storage.distillation import set_distillation
from usad_workbench.core.storage.tasks import set_tasks
from usad_workbench.core.storage.workspace import Workspace

N, N_SPEAKERS, DIM = 160, 40, 12


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> DiagnosisData:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(0)
    workspace = Workspace.create(tmp_path_factory.mktemp("w") / "w")
    speaker = np.arange(N) % N_SPEAKERS
    sex = np.where(speaker % 2, "f", "m")
    words = [f"w{i % 3}" for i in rng.permutation(N)]
    n = N + 40
    loud = rng.normal(size=n) - 20
    add_clips(
        workspace,
        {
            "domain": ["speech"] * N + ["music"] * 40,
            "cluster_id": [f"s{i}" for i in speaker] + [f"t{i // 2}" for i in range(40)],
            "label": [*words, *["note"] * 40],
            "sex": [*sex.tolist(), *[None] * 40],
            "loudness_db": [str(level) for level in loud],
        },
    )

    def noise() -> np.ndarray:
        return rng.normal(size=(n, DIM))

    carried = noise()
    carried[:N, 0] += 4.0 * (sex == "f")
    carried[N:, 0] += 4.0 * (loud[N:] + 20)
    add_encoder(workspace, "s", "student", None, [noise(), carried])
    add_encoder(workspace, "t", "teacher", "speech", [noise(), noise()])
    add_encoder(workspace, "k", "control", "speech", [noise(), noise()])
    add_encoder(workspace, "flat", "control", "speech", [np.ones((n, 4)), np.ones((n, 4))])
    set_distillation(workspace, "s", [("t", "speech", 1)])
    set_tasks(
        workspace,
        [
            {
                "task": "word",
                "label_column": "label",
                "domain": "speech",
                "group_column": "cluster_id",
                "metric": "accuracy",
            },
        ],
    )
    return load_diagnosis_data(
        workspace, "s", config=DiagnosisConfig(layers=(1,), n_permutations=39, k=5)
    )


def _of(rows, **keys):  # type: ignore[no-untyped-def]
    found = [row for row in rows if all(row[name] == value for name, value in keys.items())]
    assert len(found) == 1
    return found[0]


def test_planted_gender_is_found_in_the_student_alone(data: DiagnosisData) -> None:
    panel = nuisance.compute(data, no_progress)
    assert all(set(row) <= set(panel.columns) for row in panel.documents())
    student = _of(panel.documents(), factor="sex", encoder="s")
    assert student["accuracy"] > 0.85
    assert student["p_value"] == pytest.approx(1 / 40)
    assert student["selectivity"] > 0.3
    assert student["excess"] > 0.3
    assert student["amplification_ci_low"] > 0.2
    assert student["after_erasure"] < 0.65
    assert abs(student["reliance"]["word"]) < 0.15
    for name in ("t", "k"):
        other = _of(panel.documents(), factor="sex", encoder=name)
        assert other["accuracy"] < 0.65
        assert other["q_value"] > 0.05
    assert {row["encoder"] for row in panel.documents()} == {"s", "t", "k"}  # "flat" has collapsed
    assert {one[:30] for one in data.warnings if "flat" in one} == {
        "flat layer 0 has collapsed and",
        "flat layer 1 has collapsed and",
    }
    # Nobody else has the direction, so it carries no similarity; nor is there any.
    assert (
        "no share: the similarity is not above 0"
        in _of(panel.documents(), factor="sex", encoder="t")["reason"]
    )


def test_gender_that_teacher_and_student_share_carries_their_similarity(
    tmp_path: Path,
) -> None:
    rng = np.random.default_rng(3)
    workspace = Workspace.create(tmp_path / "w")
    speaker = np.arange(N) % N_SPEAKERS
    sex = np.where(speaker % 2, "f", "m")
    add_clips(
        workspace,
        {
            "domain": ["speech"] * N,
            "cluster_id": [f"s{i}" for i in speaker],
            "label": [f"w{i % 3}" for i in range(N)],
            "sex": sex.tolist(),
        },
    )
    content = rng.normal(size=(N, 2))

    def vectors(gender: float) -> list[np.ndarray]:
        signal = np.column_stack([content, gender * (sex == "f")])
        noise = 0.5 * rng.normal(size=(N, DIM))
        return [signal @ np.linalg.qr(rng.normal(size=(DIM, 3)))[0].T + noise]

    for name, role, gender in (
        ("s", "student", 4.0),
        ("t", "teacher", 4.0),
        ("k", "control", 0.0),
        ("l", "control", 0.0),
    ):
        add_encoder(workspace, name, role, None if role == "student" else "speech", vectors(gender))
    set_distillation(workspace, "s", [("t", "speech", 1)])
    made = load_diagnosis_data(workspace, "s", config=DiagnosisConfig(n_permutations=19, k=5))
    rows = nuisance.compute(made, no_progress).documents()
    teacher = _of(rows, factor="sex", encoder="t")
    assert teacher["carried_share"] > teacher["carried_by_chance"] + 0.05
    assert teacher["carried_share_ci_low"] > 0
    assert teacher["excess_similarity"] > 0.2
    assert abs(teacher["excess_similarity_after_erasure"]) < 0.1
    assert teacher["similarity_after_erasure"] > 0.5  # the content is theirs, too
    control = _of(rows, factor="sex", encoder="k")
    assert control["carried_share"] < 0.1
    assert math.isnan(control["excess_similarity"])


def test_neighbours_of_the_student_share_gender_beyond_the_word(data: DiagnosisData) -> None:
    panel = shortcuts.compute(data, no_progress)
    assert all(set(row) <= set(panel.columns) for row in panel.documents())
    student = _of(panel.documents(), attribute="sex", encoder="s")
    assert student["ci_low"] > 0.1
    assert student["p_value"] == pytest.approx(1 / 40)
    assert abs(_of(panel.documents(), attribute="sex", encoder="t")["excess"]) < 0.1
    drivers = next(
        one for one in panel.influential if one.cell.endswith("encoder=s|layer=1|attribute=sex")
    )
    assert drivers.influence[0] > drivers.influence[-1]


def test_neighbourhoods_name_purity_and_leakage(data: DiagnosisData) -> None:
    panel = neighbourhoods.compute(data, no_progress)
    assert all(set(row) <= set(panel.columns) for row in panel.documents())
    row = _of(panel.documents(), domain="speech", encoder="t")
    assert row["purity"] == pytest.approx(row["purity_expected"], abs=0.06)
    assert row["leakage"]["music"] == pytest.approx(row["leakage_expected"]["music"], abs=0.08)
    assert "flat" not in {row["encoder"] for row in panel.documents()}
    assert {one.kind for one in panel.influential} == {"hub", "leakage"}


def test_associations_take_gender_from_the_columns(data: DiagnosisData) -> None:
    panel = associations.compute(data, no_progress)
    assert all(set(row) <= set(panel.columns) for row in panel.documents())
    name = "sex: f or m with loud or quiet"
    student = _of(panel.documents(), test=name, encoder="s")
    assert student["d"] > 1
    assert student["p_value"] == 0.001
    assert student["ci_low"] > 0.5
    assert student["n_clusters_x"] == student["n_clusters_y"] == 20
    assert _of(panel.documents(), test=name, encoder="t")["q_value"] > 0.05
    assert "flat" not in {row["encoder"] for row in panel.documents()}


def _asked(data: DiagnosisData, **sets: str) -> DiagnosisData:
    rule = AssociationRule(name="mine", **sets)
    return dataclasses.replace(data, config=dataclasses.replace(data.config, associations=(rule,)))


ASKED = {"x": "sex = 'f'", "y": "sex = 'm'"}
SIDES = {
    "a": "domain = 'music' AND loudness_db::DOUBLE > -20",
    "b": "domain = 'music' AND loudness_db::DOUBLE <= -20",
}


def test_associations_of_the_rules_stand_beside_the_default_ones(data: DiagnosisData) -> None:
    panel = associations.compute(_asked(data, **ASKED, **SIDES), no_progress)
    assert (
        len(panel.documents())
        > len([row for row in panel.documents() if row["test"] == "mine"])
        == 3
    )
    student = _of(panel.documents(), test="mine", encoder="s")
    assert (student["domain"], student["n_clips"], student["p_value"]) == ("speech", N, 0.001)
    assert student["d"] > 1
    # Targets exchanged: the same effect with the other sign.
    other = _asked(data, x=ASKED["y"], y=ASKED["x"], **SIDES)
    turned = _of(associations.compute(other, no_progress).documents(), test="mine", encoder="s")
    assert turned["d"] == pytest.approx(-student["d"])
    assert _of(panel.documents(), test="mine", encoder="t")["q_value"] > 0.05


def test_associations_that_cannot_be_asked_say_so(data: DiagnosisData) -> None:
    nobody = _asked(data, x="sex = 'nobody'", y=ASKED["y"], **SIDES)
    panel = associations.compute(nobody, no_progress)
    assert panel.warnings == ["association test mine: no domain has clips of both targets"]
    both = associations.compute(_asked(data, **ASKED, a="sex = 'f'", b=SIDES["b"]), no_progress)
    assert "named twice" in _of(both.documents(), test="mine", encoder="s")["reason"]
    with pytest.raises(ConfigError, match="'mine', x = 'sexx = 1'"):
        associations.compute(_asked(data, x="sexx = 1", y=ASKED["y"], **SIDES), no_progress)
