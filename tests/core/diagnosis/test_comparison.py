"""Two students on the same clips: the one that copies a teacher, and one that does not."""

from pathlib import Path

import numpy as np
import pytest

from tests.planted import add_encoder
from usad_workbench.core.bias.errors import error_consistency
from usad_workbench.core.diagnosis.answers import NOT_STORED
from usad_workbench.core.diagnosis.comparison import compare_students, lost_by_stage_2
from usad_workbench.core.diagnosis.material import DiagnosisConfig, Material, gather
from usad_workbench.core.diagnosis.panel import Panel
from usad_workbench.core.errors import DegenerateError
from usad_workbench.core.models.checkpoint import save_student
from usad_workbench.core.models.sizes import StudentConfig
from usad_workbench.core.models.student import build_student
from usad_workbench.core.predictions import stored_predictions
from usad_workbench.core.progress import no_progress
from usad_workbench.core.similarity import debiased_linear_cka
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.core.task_evaluation import EvaluationConfig, evaluate_tasks


def _material(workspace: Workspace, student: str) -> Material:
    return gather(workspace, student, teachers=["a", "b"], config=DiagnosisConfig(layers=(2,)))


def test_the_copy_is_nearer_where_it_copies(copied: Workspace) -> None:
    panel = compare_students(_material(copied, "s"), "twin", no_progress)
    rows = {(r["quantity"], r["name"], r["domain"]): r for r in panel.rows}
    found = rows["debiased_linear_cka", "a", "speech"]
    speech = slice(0, 80)
    vectors = {name: copied.embeddings(name, 2).vectors[speech] for name in ("s", "twin", "a")}
    literal = debiased_linear_cka(vectors["s"], vectors["a"]) - debiased_linear_cka(
        vectors["twin"], vectors["a"]
    )
    assert found["difference"] == pytest.approx(literal, abs=1e-6)
    assert found["ci_low"] > 0.5
    assert found["q_value"] < 0.01
    elsewhere = rows["debiased_linear_cka", "a", "machines"]
    assert elsewhere["ci_low"] < 0 < elsewhere["ci_high"]


def test_a_task_that_only_one_can_do(copied: Workspace) -> None:
    panel = compare_students(_material(copied, "twin"), "s", no_progress)
    row = next(r for r in panel.rows if r["quantity"] == "task")
    assert row["other_value"] > 0.8
    assert row["value"] < 0.5
    assert panel.warnings[1] == NOT_STORED
    driver = next(one for one in panel.drivers if one.cell == "quantity=task|name=word")
    assert driver.influence.min() == -1.0  # right in the second student alone
    back = compare_students(_material(copied, "s"), "twin", no_progress)
    mirrored = next(r for r in back.rows if r["quantity"] == "task")
    assert mirrored["difference"] == pytest.approx(-row["difference"])
    assert np.isclose(mirrored["p_value"], row["p_value"], rtol=0.2)


def test_a_student_on_other_clips_is_refused(copied: Workspace) -> None:
    for layer in range(3):
        space = copied.space_id("twin", layer)
        with copied.database.write() as connection:
            connection.execute(f"DELETE FROM vectors_{space} WHERE segment_id < 10")
    with pytest.raises(DegenerateError, match="10 of 240 clips have no vector of twin"):
        compare_students(_material(copied, "s"), "twin", no_progress)


def _task_row(panel: Panel, quantity: str = "task") -> dict[str, object]:
    return dict(next(row for row in panel.rows if row["quantity"] == quantity))


def test_tasks_are_read_from_stored_predictions(copied: Workspace) -> None:
    config = EvaluationConfig(protocols=("linear",), n_folds=3, measures_cost=False)
    table = evaluate_tasks(copied, ["s", "twin"], config=config).set_index(["encoder", "task"])
    material = _material(copied, "s")
    panel = compare_students(material, "twin", no_progress)
    row = _task_row(panel)
    assert row["value"] == pytest.approx(table.value["s", "word"])
    assert row["other_value"] == pytest.approx(table.value["twin", "word"])
    assert row["protocol"] == "linear"
    assert NOT_STORED not in panel.warnings
    # Kappa by its definition: agreement above that of independent errors.
    task = material.tasks()[0]
    found = stored_predictions(copied, task, ["s", "twin"], "linear")
    a, b = (found[name].labels == task.labels for name in ("s", "twin"))
    chance = a.mean() * b.mean() + (1 - a.mean()) * (1 - b.mean())
    literal = ((a == b).mean() - chance) / (1 - chance)
    kappa = _task_row(panel, "error consistency")
    if np.isnan(float(str(kappa["value"]))):
        assert "errors" in str(kappa["reason"])
        assert error_consistency(a, b, task.units).reason == kappa["reason"]
    else:
        assert kappa["value"] == pytest.approx(literal)
