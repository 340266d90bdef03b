"""A published student, a folder with code of its own, through every command and in the app."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.core.encoders.remote_folder import keep_code_apart, write_remote_student
from tests.workbench.copied_workspace import copy_into
from tests.workbench.opened_app import app_in_browser
from tests.workbench.screenshots import (
    open_by_link,
    picture,
    settle,
)
from usad_workbench.core.encoders.trust import is_trusted
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.workbench.cli import main

TEACHERS = "speech-teacher,sound-teacher,music-teacher"
TRUST = "--trust-remote-code"


SHOWN = {"Map": ".instrument[data-ready]", "Bias": "text=not testable"}
"""Of a student without controls: a map, and that nothing can be said."""


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_code_apart(monkeypatch, tmp_path / "modules")


@pytest.fixture(scope="module")
def copied(workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A copy of the small workspace, for one more student."""
    return copy_into(tmp_path_factory.mktemp("published"), workspace)


@pytest.fixture(scope="module")
def name(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("hub") / "published-student"
    write_remote_student(folder)
    return f"hf:{folder}"


def document(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main([*arguments, "--json"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def test_its_code_runs_only_where_the_user_says_so(
    copied: Workspace, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ("--workspace", str(copied.folder))
    assert main(["embed", "--encoders", name, *where]) == 2
    assert TRUST in capsys.readouterr().err
    assert name not in set(copied.spaces().encoder)
    found = document(capsys, "embed", "--encoders", name, *where, TRUST)
    n = int(copied.sql("SELECT count(*) AS n FROM segments").n[0])
    assert (found["n_done"], found["failed"]) == (n, [])
    for layer, dim in enumerate((128, 16, 16, 16)):
        vectors = copied.embeddings(name, layer).vectors
        assert vectors.shape == (n, dim) and np.isfinite(vectors).all()
    roles = dict(copied.sql("SELECT encoder, role FROM encoders").itertuples(index=False))
    assert roles[name] == "student"
    assert not is_trusted()


def test_it_is_indexed_searched_and_mapped(
    copied: Workspace, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ("--workspace", str(copied.folder), "--encoder", name)
    document(capsys, "index", "--workspace", str(copied.folder))
    document(capsys, "project", *where, "--layer", "3", "--method", "pca")
    sound = copied.audio_path(str(copied.clips().path[5]))
    asked = ("search", *where, "--layer", "3", "--query", str(sound), "-k", "3")
    assert main([*asked]) == 2 and TRUST in capsys.readouterr().err
    hits = document(capsys, *asked, TRUST)["hits"]
    assert hits[0]["clip_id"] == copied.clips().clip_id[5]
    assert hits[0]["score"] == pytest.approx(1.0, abs=1e-4)


def test_it_is_diagnosed_with_its_own_sensitivities(
    copied: Workspace, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.html"
    asked = (
        "diagnose",
        "--workspace",
        str(copied.folder),
        "--student",
        name,
        "--teachers",
        TEACHERS,
        "--panels",
        "similarity,inheritance,interventions",
        "--permutations",
        "29",
        "--where",
        "domain IN ('speech', 'sound')",
        "--report",
        str(report),
    )
    found = document(capsys, *asked, TRUST)
    assert found["student"] == name and len(found["verdicts"]) == 1
    layers = {
        row["student_layer"] for row in found["similarity"] if row["teacher"] == "sound-teacher"
    }
    assert layers == {0, 1, 2, 3}
    moved = [
        row["displacement"]
        for row in found["interventions"]
        if row["kind"] == "sensitivity" and row["encoder"] == name and row["layer"] == 3
    ]
    assert moved and np.isfinite(moved).all() and min(moved) >= 0 and max(moved) > 0
    assert "published-student" in report.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(copied: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    log = tmp_path_factory.mktemp("server") / "log.txt"
    with app_in_browser(copied.folder, log) as opened_page:
        yield opened_page


@pytest.mark.browser
@pytest.mark.parametrize("view", ["Map", "Bias"])
def test_the_app_shows_it(page: Any, name: str, tmp_path: Path, view: str) -> None:
    open_by_link(page, view)
    main_area = page.get_by_test_id("stMain")
    assert page.get_by_test_id("stException").count() == 0
    assert page.get_by_test_id("stAlertContentError").count() == 0
    box = main_area.get_by_role("combobox").first
    if view == "Map":
        box.select_option(name)
    elif "published-student" not in (box.input_value() or ""):
        box.click()
        page.get_by_role("option", name="published-student").first.click()
        settle(page)
    shown = main_area.get_by_role("combobox").first.input_value()
    assert "published-student" in shown
    assert page.locator(SHOWN[view]).count() >= 1
    picture(page, tmp_path / f"{view}.png")


def test_one_folder_has_one_name(
    copied: Workspace, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """By another path it is refused: it would count twice among controls."""
    where = ("--workspace", str(copied.folder))
    assert main(["embed", "--encoders", name, *where, TRUST]) == 0
    folder = Path(name.removeprefix("hf:"))
    again = f"hf:{folder.parent}/./{folder.name}/"
    capsys.readouterr()
    assert main(["embed", "--encoders", again, *where, TRUST]) == 2
    assert f"holds as {name}" in capsys.readouterr().err
    assert again not in set(copied.spaces().encoder)
