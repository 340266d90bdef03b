"""Where a job stands is read by an app beside it, and a killed job is not taken for one at work."""

import subprocess
import sys
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from tests.workbench.opened_app import open_app, texts
from usad_workbench.core.errors import StoreError
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.workbench.step_log import StepLog, is_at_work, only_one, standing_of


def test_steps_are_noted_as_they_go(tmp_path: Path) -> None:
    assert standing_of(tmp_path) is None and not is_at_work(tmp_path)
    heard: list[tuple[int, int, str]] = []
    log = StepLog(tmp_path, ["one", "two"], lambda *said: heard.append(said))
    log.begin()(3, 4, "clips")
    first = standing_of(tmp_path)
    assert first is not None and (first.step, first.n_steps, first.name) == (1, 2, "one")
    log.begin()
    second = standing_of(tmp_path)
    assert second is not None and (second.step, second.share) == (2, 0.0)
    log.end()
    last = standing_of(tmp_path)
    assert last is not None and last.is_done and heard == [(3, 4, "clips")]


def test_one_at_a_time_and_the_killed_is_not_at_work(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path\n"
        "from usad_workbench.workbench.step_log import StepLog, only_one\n"
        "folder = Path(sys.argv[1])\n"
        "with only_one(folder):\n"
        "    StepLog(folder, ['one'], print).begin()\n"
        "    os._exit(9)\n"
    )
    with only_one(tmp_path):
        assert is_at_work(tmp_path)
        with pytest.raises(StoreError, match="one at a time"), only_one(tmp_path):
            pass
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    standing = standing_of(tmp_path)
    assert standing is not None and not standing.is_done and not is_at_work(tmp_path)


def test_the_app_says_where_the_demo_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Workspace.create(tmp_path / "w")
    assert "Demo" not in said(open_app(monkeypatch, made.folder))
    log = StepLog(made.folder, ["taking in clips", "probes"], lambda *_: None)
    log.begin()
    assert "It was ended here" in said(open_app(monkeypatch, made.folder))
    with only_one(made.folder):
        log.begin()
        words = said(open_app(monkeypatch, made.folder))
        assert "It goes on" in words and "It was ended here" not in words
        log.end()
    assert "Demo" not in said(open_app(monkeypatch, made.folder))


def said(page: AppTest) -> str:
    assert not page.exception, page.exception
    return texts(page) + "\n".join(str(one.value) for one in page.sidebar.caption)
