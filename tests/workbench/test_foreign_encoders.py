"""A published student from a folder with code of its own, through the commands to a comparison."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.core.teachers.remote_folder import write_remote_student
from usad_workbench.core.diagnosis.material import gather
from usad_workbench.core.storage.tables import set_distillation
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.core.teacher_similarity import compare_with_teachers
from usad_workbench.workbench.cli import main


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules")
    )
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in [name for name in sys.modules if name.startswith("transformers_modules")]:
        monkeypatch.delitem(sys.modules, name)


def test_a_published_student_is_embedded_and_compared(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_remote_student(tmp_path / "student")
    name = f"hf:{tmp_path / 'student'}"
    where = ["--workspace", str(workspace.folder), "--json"]
    asked = ["embed", "--encoders", name, *where]
    assert main(asked) == 2
    assert "--trust-remote-code" in capsys.readouterr().err
    assert name not in set(workspace.spaces().encoder)
    assert main([*asked, "--trust-remote-code"]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    n = int(workspace.sql("SELECT count(*) AS n FROM segments").n[0])
    assert (document["n_done"], document["failed"]) == (n, [])
    assert main(["embed", "--encoders", "log-mel-statistics", *where]) == 0
    for layer, dim in enumerate((128, 16, 16, 16)):
        vectors = workspace.embeddings(name, layer).vectors
        assert vectors.shape == (n, dim) and np.isfinite(vectors).all()
    roles = dict(workspace.sql("SELECT encoder, role FROM encoders").itertuples(index=False))
    assert roles[name] == "student"
    set_distillation(workspace, name, [("log-mel-statistics", None, 1)])
    compare_with_teachers(workspace, name)
    rows = workspace.sql(
        "SELECT DISTINCT student_layer, teacher FROM teacher_similarity WHERE student = ? "
        "AND teacher = 'log-mel-statistics' ORDER BY student_layer",
        [name],
    )
    assert list(rows.student_layer) == [0, 1, 2, 3]
    assert gather(workspace, name).student == name
