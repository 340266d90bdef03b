"""Who takes part in a diagnosis, on which clips, at which layers."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.core.diagnosis.conftest import N_CLIPS
from tests.planted import add_clips, add_encoder
from usad_workbench.core.diagnosis import controls
from usad_workbench.core.diagnosis.data import DiagnosisConfig, load_diagnosis_data
from usad_workbench.core.diagnosis.predictions import task_predictions
from usad_workbench.core.errors import ConfigError, DegenerateError, UnknownNameError
from usad_workbench.core.storage.workspace import QueryError, Workspace


def test_roles_follow_the_distillation_table(copied: Workspace) -> None:
    data = load_diagnosis_data(copied, "s")
    assert (data.teachers, data.controls) == (["a", "b"], ["k"])
    assert data.taught == {"a": ("speech",), "b": ("music",)}
    assert data.encoders == ["s", "a", "b", "k"]  # the twin is another student
    assert [d for d in data.domains if data.is_unseen(d)] == ["machines"]


def test_teachers_by_name_make_the_others_controls(copied: Workspace) -> None:
    data = load_diagnosis_data(copied, "s", teachers=["a"])
    assert (data.teachers, sorted(data.controls)) == (["a"], ["b", "k"])
    alone = load_diagnosis_data(copied, "s", teachers=["a"], controls=["k"])
    assert alone.controls == ["k"]


def test_a_filter_and_a_list_hold_for_every_number(copied: Workspace) -> None:
    config = DiagnosisConfig(
        where="domain <> 'music'", clip_ids=tuple(f"c{i:03}" for i in range(60))
    )
    data = load_diagnosis_data(copied, "s", config=config)
    assert data.domains == ["speech"]
    assert len(data.clips) == 60
    stored = copied.embeddings("a", 2).vectors[:60]
    assert np.array_equal(data.vectors("a", 2), stored)
    assert "speech (60 clips): fewer than 100 clips, too few for small differences" in data.warnings


def test_a_domain_that_an_encoder_lacks_is_named(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    made = Workspace.create(tmp_path / "w")
    domains = ["speech"] * 40 + ["music"] * 40
    add_clips(made, {"domain": domains, "cluster_id": [str(i) for i in range(80)]})
    for name, role, n in (("s", "student", 80), ("t", "teacher", 80), ("k", "control", 40)):
        add_encoder(made, name, role, "speech", [rng.normal(size=(n, 4))])
    said = "music (0 clips): fewer than 24 clips that all encoders have, left out"
    data = load_diagnosis_data(made, "s", teachers=["t"])
    assert data.domains == ["speech"] and said in data.warnings
    config = DiagnosisConfig(where="domain = 'speech'")  # what nobody asked for is not missing
    assert said not in load_diagnosis_data(made, "s", teachers=["t"], config=config).warnings


def test_layers_are_matched_by_depth(copied: Workspace) -> None:
    data = load_diagnosis_data(copied, "s")
    assert data.student_layers == [0, 1, 2]
    assert [data.matching_layer("a", layer) for layer in (0, 1, 2)] == [0, 1, 2]
    asked = load_diagnosis_data(copied, "s", config=DiagnosisConfig(layers=(-1,)))
    assert asked.student_layers == [2]
    with pytest.raises(UnknownNameError, match="no layer 7"):
        _ = load_diagnosis_data(copied, "s", config=DiagnosisConfig(layers=(7,))).student_layers
    with copied.database.write() as connection:  # two more layers, of which no vector is stored
        connection.execute("UPDATE encoders SET n_layers = n_layers + 2 WHERE encoder = 's'")
    with pytest.raises(UnknownNameError, match="no layer -1"):
        _ = asked.student_layers
    with copied.database.write() as connection:
        connection.execute("UPDATE encoders SET n_layers = n_layers - 2 WHERE encoder = 's'")


def test_a_student_of_one_layer_is_held_against_the_last_of_others(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    made = Workspace.create(tmp_path / "w")
    add_clips(made, {"domain": ["speech"] * 40, "cluster_id": [str(i) for i in range(40)]})
    for name, role, n_layers in (("s", "student", 1), ("t", "teacher", 3), ("k", "control", 1)):
        layers = [rng.normal(size=(40, 4)) for _ in range(n_layers)]
        add_encoder(made, name, role, "speech", layers)
    data = load_diagnosis_data(made, "s", teachers=["t"])
    assert (data.matching_layer("t", 0), data.matching_layer("k", 0)) == (2, 0)


def test_tasks_are_those_of_the_selection(copied: Workspace) -> None:
    task = load_diagnosis_data(copied, "s").tasks()[0]
    assert (task.name, len(task.clip_ids)) == ("word", N_CLIPS)
    config = DiagnosisConfig(where="domain = 'music'")
    assert load_diagnosis_data(copied, "s", config=config).tasks() == []


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"teachers": ["a"], "controls": ["a"]}, ConfigError, "a has two roles"),
        ({"teachers": ["s"]}, ConfigError, "s has two roles"),
        ({"teachers": ["nobody"]}, UnknownNameError, "no embeddings of 'nobody'"),
        ({"config": DiagnosisConfig(where="domain = 'none'")}, DegenerateError, "0 clips are left"),
        ({"config": DiagnosisConfig(where="no sql")}, QueryError, "not understood"),
    ],
)
def test_what_cannot_be_diagnosed_is_named(copied, arguments, error, words) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(error, match=words):
        load_diagnosis_data(copied, "s", **arguments)


def test_encoders_on_different_clips_are_refused(copied: Workspace) -> None:
    space = copied.space_id("k", 0)
    with copied.database.write() as connection:
        connection.execute(
            f"DELETE FROM vectors_{space} WHERE segment_id % 5 < 4 AND segment_id < 80"
        )
        connection.execute(f"DELETE FROM vectors_{space} WHERE segment_id >= 80")
    with pytest.raises(DegenerateError, match="16 clips are left that all encoders have"):
        load_diagnosis_data(copied, "s")


def test_no_permutations_are_refused_and_few_are_warned_of(copied: Workspace) -> None:
    for n in (0, -5):
        with pytest.raises(ConfigError, match="expected at least 1"):
            DiagnosisConfig(n_permutations=n)
    few = load_diagnosis_data(copied, "s", config=DiagnosisConfig(n_permutations=9)).warnings
    assert any("no p-value can be as low as 0.05" in one for one in few)
    assert not any("p-value" in one for one in load_diagnosis_data(copied, "s").warnings)


def test_predictions_belong_to_the_data_that_they_were_made_for(copied: Workspace) -> None:
    data = load_diagnosis_data(copied, "s")
    (task,) = data.tasks()
    predictions = task_predictions(data, task)
    assert data.predictions == {task.name: predictions}
    assert task_predictions(data, task) is predictions
    other = load_diagnosis_data(copied, "s", teachers=["a"])
    assert other.predictions == {}
    assert replace(data, clips=data.clips).predictions == {}


def test_vectors_belong_to_the_clips_that_they_were_read_for(copied: Workspace) -> None:
    data = load_diagnosis_data(copied, "s")
    assert len(data.vectors("s", 2)) == len(data.clips)
    fewer = replace(data, clips=data.clips.iloc[::4].reset_index(drop=True))
    assert np.array_equal(fewer.vectors("s", 2), data.vectors("s", 2)[::4])


def test_a_control_whose_folder_is_gone_is_one_of_nobody_recorded(copied: Workspace) -> None:
    gone = "run:/gone"
    with copied.database.write() as connection:
        for table in ("encoders", "spaces"):
            connection.execute(f"UPDATE {table} SET encoder = ? WHERE encoder = 'twin'", [gone])
    data = load_diagnosis_data(copied, "s", controls=[gone])
    assert controls._taught_by(data) == {gone: set()}
