"""Two students on the same clips: the one that copies a teacher, and one that does not."""

import numpy as np
import pytest

from usad_workbench.core.diagnosis.comparison import compare_students, lost_domains
from usad_workbench.core.diagnosis.material import DiagnosisConfig, Material, gather
from usad_workbench.core.errors import DegenerateError
from usad_workbench.core.progress import no_progress
from usad_workbench.core.similarity import debiased_linear_cka
from usad_workbench.core.storage.workspace import Workspace


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
    lost = lost_domains(panel.rows, margin=0.01, alpha=0.05)
    assert list(lost) == ["word"]
    driver = panel.drivers[0]
    assert driver.influence.min() == -1.0  # right in the second student alone
    back = compare_students(_material(copied, "s"), "twin", no_progress)
    assert lost_domains(back.rows, margin=0.01, alpha=0.05) == {}
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
