"""Two students on the same clips: the one that copies a teacher, and one that does not."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.planted import add_encoder, save_run
from usad_workbench.core.diagnosis.comparison import changed_by_stage_2, compare_students
from usad_workbench.core.diagnosis.data import DiagnosisConfig, DiagnosisData, load_diagnosis_data
from usad_workbench.core.diagnosis.panel import Panel
from usad_workbench.core.diagnosis.predictions import NOT_STORED
from usad_workbench.core.diagnosis.rules import load_rules
from usad_workbench.core.diagnosis.suite import compute_diagnosis
from usad_workbench.core.diagnosis.verdict_inputs import decide
from usad_workbench.core.errors import DegenerateError
from usad_workbench.core.evaluation.evaluate import evaluate
from usad_workbench.core.evaluation.predictions import (
    Predictions,
    store_predictions,
    stored_predictions,
)
from usad_workbench.core.evaluation.tasks import Task
from usad_workbench.core.progress import no_progress
from usad_workbench.core.similarity import debiased_linear_cka
from usad_workbench.core.storage.distillation import set_distillation
from usad_workbench.core.storage.tasks import set_tasks
from usad_workbench.core.storage.workspace import Workspace


def _data(workspace: Workspace, student: str) -> DiagnosisData:
    return load_diagnosis_data(
        workspace, student, teachers=["a", "b"], config=DiagnosisConfig(layers=(2,))
    )


def test_the_copy_is_nearer_where_it_copies(copied: Workspace) -> None:
    panel = compare_students(_data(copied, "s"), "twin", no_progress)
    rows = {(r["quantity"], r["name"], r["domain"]): r for r in panel.documents()}
    found = rows["debiased_linear_cka", "a", "speech"]
    speech = slice(0, 80)
    vectors = {name: copied.embeddings(name, 2).vectors[speech] for name in ("s", "twin", "a")}
    clusters = np.arange(80) % 10  # as the fixture has them
    literal = debiased_linear_cka(vectors["s"], vectors["a"], clusters) - debiased_linear_cka(
        vectors["twin"], vectors["a"], clusters
    )
    assert found["difference"] == pytest.approx(literal, abs=1e-6)
    assert found["ci_low"] > 0.5
    assert found["q_value"] < 0.01
    elsewhere = rows["debiased_linear_cka", "a", "machines"]
    assert abs(elsewhere["difference"]) < 0.1
    assert elsewhere["q_value"] > 0.05


def test_a_task_that_only_one_can_do(copied: Workspace) -> None:
    panel = compare_students(_data(copied, "twin"), "s", no_progress)
    row = next(r for r in panel.documents() if r["quantity"] == "task")
    assert row["other_value"] > 0.8
    assert row["value"] < 0.5
    assert panel.warnings[1] == NOT_STORED
    driver = next(one for one in panel.influential if one.cell == "quantity=task|name=word")
    assert driver.influence.min() == -1.0  # right in the second student alone
    back = compare_students(_data(copied, "s"), "twin", no_progress)
    mirrored = next(r for r in back.documents() if r["quantity"] == "task")
    assert mirrored["difference"] == pytest.approx(-row["difference"])
    assert np.isclose(mirrored["p_value"], row["p_value"], rtol=0.2)


def test_a_student_on_other_clips_is_refused(copied: Workspace) -> None:
    for layer in range(3):
        space = copied.space_id("twin", layer)
        with copied.database.write() as connection:
            connection.execute(f"DELETE FROM vectors_{space} WHERE segment_id < 10")
    with pytest.raises(DegenerateError, match="10 of 240 clips have no vector of twin"):
        compare_students(_data(copied, "s"), "twin", no_progress)


def _row(panel: Panel, **parts: str) -> dict[str, Any]:
    (row,) = (r for r in panel.documents() if all(r[key] == value for key, value in parts.items()))
    return dict(row)


def _answer(workspace: Workspace, task: Task, accuracy: dict[str, float], copy: str = "") -> None:
    """Stores answers of each student that are right on that share of clips, drawn apart."""
    rng = np.random.default_rng(3)
    made: dict[str, Predictions] = {}
    for name, share in accuracy.items():
        right = rng.random(len(task.labels)) < share
        wrong = [f"w{(int(one[1]) + rng.integers(1, 4)) % 4}" for one in task.labels]
        labels = np.where(right, task.labels, np.array(wrong, dtype=object))
        made[name] = Predictions(
            system=name,
            members=[name],
            task=task,
            protocol="linear",
            seeds=[0],
            labels=made[copy].labels if copy in made else labels[None],
        )
    store_predictions(workspace, list(made.values()))


def test_tasks_are_read_from_stored_predictions(copied: Workspace) -> None:
    scores = evaluate(copied, encoders=["s", "twin"], protocols=["linear"], cost=False)
    table = pd.DataFrame(scores).set_index(["encoder", "task"])
    panel = compare_students(_data(copied, "s"), "twin", no_progress)
    row = _row(panel, quantity="task")
    assert row["value"] == pytest.approx(table.value["s", "word"])
    assert row["other_value"] == pytest.approx(table.value["twin", "word"])
    assert row["protocol"] == "linear"
    assert NOT_STORED not in panel.warnings


def test_independent_errors_have_no_consistency(copied: Workspace) -> None:
    data = _data(copied, "s")
    (task,) = data.tasks()
    _answer(copied, task, {"s": 0.5, "twin": 0.5})
    panel = compare_students(data, "twin", no_progress)
    kappa = _row(panel, quantity="error consistency")
    found = stored_predictions(copied, task, ["s", "twin"], "linear")
    a, b = (found[name].labels[0] == task.labels for name in ("s", "twin"))
    chance = a.mean() * b.mean() + (1 - a.mean()) * (1 - b.mean())
    assert kappa["value"] == pytest.approx(((a == b).mean() - chance) / (1 - chance))
    assert kappa["ci_low"] < 0 < kappa["ci_high"] < 0.5
    assert _row(panel, quantity="task")["p_value"] > 0.05
    (both,) = (d for d in panel.influential if d.cell == "quantity=error consistency|name=word")
    assert set(both.clip_ids) == {task.clip_ids[i] for i in np.flatnonzero(~a & ~b)}


def test_a_copy_of_the_answers_is_no_difference(copied: Workspace) -> None:
    data = _data(copied, "s")
    (task,) = data.tasks()
    _answer(copied, task, {"s": 0.5, "twin": 0.5}, copy="s")
    panel = compare_students(data, "twin", no_progress)
    kappa = _row(panel, quantity="error consistency")
    assert kappa["value"] == kappa["ci_low"] == kappa["ci_high"] == 1.0
    for quantity in ("task", "mean of tasks"):
        row = _row(panel, quantity=quantity)
        assert row["difference"] == row["ci_low"] == row["ci_high"] == 0.0
        assert row["p_value"] == row["q_value"] == 1.0


def test_the_mean_of_a_domain_is_of_its_tasks(copied: Workspace) -> None:
    with copied.database.write() as connection:
        connection.execute("ALTER TABLE clips ADD COLUMN half VARCHAR")
        connection.execute("ALTER TABLE clips ADD COLUMN few VARCHAR")
        connection.execute("UPDATE clips SET half = CASE word WHEN 'w0' THEN 'x' ELSE 'y' END")
        connection.execute("UPDATE clips SET few = word WHERE cluster_id < 'speech5'")
    base = {"domain": "speech", "group_column": "cluster_id", "metric": "accuracy"}
    columns = {"word": "word", "half": "half", "few": "few"}
    set_tasks(copied, [{"task": n, "label_column": c, **base} for n, c in columns.items()])
    panel = compare_students(_data(copied, "s"), "twin", no_progress)
    each = [_row(panel, quantity="task", name=name) for name in ("word", "half")]
    assert _row(panel, quantity="task", name="few")["reason"].startswith("no interval: 5 clusters")
    mean = _row(panel, quantity="mean of tasks")
    assert mean["name"] == "mean of tasks with intervals"
    assert mean["difference"] == pytest.approx(np.mean([one["difference"] for one in each]))
    assert mean["n_clips"] == 80


def test_a_control_is_not_compared_with_itself(copied: Workspace) -> None:
    panel = compare_students(_data(copied, "s"), "k", no_progress)
    assert {r["name"] for r in panel.documents() if r["quantity"] == "debiased_linear_cka"} == {
        "a",
        "b",
    }


@pytest.fixture
def stages(copied: Workspace, tmp_path: Path) -> tuple[str, str]:
    """Stage 1 and stage 2 of one student, with a task in the unseen domain."""
    one = save_run(tmp_path / "one")
    two = save_run(tmp_path / "two", one, stage=2)  # planted weights are named as the encoder
    for name in (one, two):
        layers = [copied.embeddings("s", layer).vectors for layer in range(3)]
        add_encoder(copied, name, "student", None, layers)
        set_distillation(copied, name, [("a", "speech", 1), ("b", "music", 1)])
    base = {"label_column": "word", "group_column": "cluster_id", "metric": "accuracy"}
    names = {"word": "speech", "part": "machines"}
    set_tasks(copied, [{"task": name, "domain": d, **base} for name, d in names.items()])
    return one, two


@pytest.mark.parametrize(("accuracy", "is_worse"), [(0.3, True), (0.8, False)])
def test_a_second_stage_that_is_worse_on_unseen_audio_falsifies(
    copied: Workspace, stages: tuple[str, str], tmp_path: Path, accuracy: float, is_worse: bool
) -> None:
    one, two = stages
    tasks = {task.name: task for task in _data(copied, two).tasks()}
    _answer(copied, tasks["word"], {one: 0.7, two: 0.7})
    _answer(copied, tasks["part"], {one: 0.8, two: accuracy})
    rules = tmp_path / "rules.toml"
    rules.write_text(load_rules()[1].replace("min_clips = 100", "min_clips = 80"))
    for student, other in ((two, one), (one, two)):  # the same in either order
        data = _data(copied, student)
        found = compute_diagnosis(data, ["associations"])
        found.panels["comparison"] = compare_students(data, other, no_progress)
        assert found.unseen_domains == ["machines"]
        (verdict,) = decide(found, load_rules(rules)[0])
        words = "falsified: the second stage makes it worse in machines"
        assert verdict.verdict == (words if is_worse else "undecided")
        evidence = verdict.evidence["second stage minus first"]
        assert set(evidence) == {"speech", "machines"}
        assert (float(evidence["machines"].split()[0]) < -0.3) is is_worse
        # The rules decide: 80 clips are too few for the shipped ones.
        assert decide(found, load_rules()[0])[0].verdict == "undecided"


def test_the_same_loss_between_two_students_says_nothing_of_stages(
    copied: Workspace, stages: tuple[str, str]
) -> None:
    one, _ = stages
    data = _data(copied, one)
    tasks = {task.name: task for task in data.tasks()}
    _answer(copied, tasks["part"], {one: 0.3, "twin": 0.8})
    panel = compare_students(data, "twin", no_progress)
    assert _row(panel, quantity="mean of tasks", domain="machines")["q_value"] < 0.01
    assert changed_by_stage_2(panel.rows) is None
    assert panel.warnings[0].startswith("No record says")
