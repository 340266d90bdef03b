"""Maps that a page asks for: made beside it, named by their settings, cancelled by one word."""

import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.workbench.instrument.conftest import client_of
from usad_workbench.core.errors import ConfigError
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.workbench.instrument import projecting

SPACE = "made-a/0/mean"
WAIT_S = 120


@pytest.fixture
def client(made: Workspace, tmp_path: Path) -> TestClient:
    """On a copy that may be written."""
    shutil.copytree(made.folder, tmp_path / "w")
    return client_of(tmp_path / "w")


def job_of(client: TestClient) -> Any:
    return client.get("/instrument/projecting").json()["job"]


def ended(client: TestClient) -> Any:
    deadline = time.monotonic() + WAIT_S
    while (job := job_of(client))["state"] == "running":
        assert time.monotonic() < deadline, job
        time.sleep(0.1)
    return job


def maps(client: TestClient) -> list[str]:
    return [one["map"] for one in client.get("/instrument/collection").json()["maps"]]


def test_a_map_is_made_beside_the_page_and_found_by_its_name(client: TestClient) -> None:
    assert job_of(client) is None
    before = maps(client)
    asked = {"space": SPACE, "method": "pca"}
    begun = client.post("/instrument/project", json=asked).json()["job"]
    assert (begun["state"], begun["map"]) == ("running", f"{SPACE}/pca")
    again = client.post("/instrument/project", json=asked)
    assert again.status_code == 400 and "is being made" in again.json()["error"]
    assert client.get("/instrument/points", params={"map": before[0]}).status_code == 200
    assert ended(client)["state"] == "done"
    assert sorted(maps(client)) == sorted([*before, f"{SPACE}/pca"])


def test_a_cancelled_map_is_not_there_and_the_next_one_may_begin(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = maps(client)
    sleeps = ["python3", "-c", "import time; time.sleep(60)"]
    monkeypatch.setattr(projecting, "_command", lambda *_: sleeps)
    client.post("/instrument/project", json={"space": SPACE})
    assert client.post("/instrument/project", json={"cancel": True}).json()["job"]["state"] == (
        "cancelled"
    )
    says = ["python3", "-c", "import sys; sys.stderr.write('it broke'); sys.exit(2)"]
    monkeypatch.setattr(projecting, "_command", lambda *_: says)
    client.post("/instrument/project", json={"space": SPACE})
    job = ended(client)
    assert (job["state"], job["error"]) == ("failed", "it broke") and maps(client) == before


def test_progress_is_read_from_the_bar(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    code = (
        "import sys, time, pathlib\n"
        "from usad_workbench.workbench.output import Output\n"
        "Output(True).progress(30, 100, 'made-a layer 0: layout')\n"
        "sys.stderr.write('\\n'); sys.stderr.flush()\n"
        f"while not pathlib.Path({str(go)!r}).exists(): time.sleep(0.05)\n"
    )
    monkeypatch.setattr(projecting, "_command", lambda *_: [projecting.sys.executable, "-c", code])
    client.post("/instrument/project", json={"space": SPACE})
    deadline = time.monotonic() + WAIT_S
    while not (job := job_of(client))["share"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert (job["what"], job["share"]) == ("made-a layer 0: layout", 0.3)
    go.touch()
    assert ended(client)["state"] == "done"


def test_settings_are_those_that_are_asked_for() -> None:
    method, settings = projecting.settings_of({"n_neighbours": 40, "min_dist": 0, "seed": None})
    assert (method, settings.name) == ("umap", "umap:n_neighbours=40,min_dist=0.0,seed=none")
    for wrong in (
        {"method": "tsne"},
        {"n_neighbours": 1},
        {"n_neighbours": "9"},
        {"min_dist": True},
        {"min_dist": 10**400},
        {"seed": -1},
        {"metric": "l7"},
    ):
        with pytest.raises(ConfigError):
            projecting.settings_of(wrong)
