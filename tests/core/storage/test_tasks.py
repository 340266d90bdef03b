"""Small tables: failures are kept by step and by item, tasks are refused in words."""

from pathlib import Path

import pytest

from usad_workbench.core.errors import ConfigError
from usad_workbench.core.storage.failures import set_failures
from usad_workbench.core.storage.task_file import read_tasks
from usad_workbench.core.storage.workspace import Workspace


def _kept(workspace: Workspace) -> set[tuple[str, str, str]]:
    return {tuple(row) for row in workspace.sql("SELECT step, item, reason FROM failures").values}


def test_a_step_replaces_its_own_failures_and_no_others(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "w")
    set_failures(workspace, "embed a", {"x": "1", "y": "2"})
    set_failures(workspace, "import", {"x": "3", "z": "4"}, items={"x", "z"})
    set_failures(workspace, "embed a", {"y": "5"})
    assert _kept(workspace) == {
        ("embed a", "y", "5"),
        ("import", "x", "3"),
        ("import", "z", "4"),
    }
    set_failures(workspace, "import", {}, items={"z", "unheard of"})
    set_failures(workspace, "embed a", {})
    assert _kept(workspace) == {("import", "x", "3")}


def test_tasks_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.csv cannot be read"):
        read_tasks(tmp_path / "none.csv")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(ConfigError, match="Expected a CSV"):
        read_tasks(tmp_path / "empty.csv")
