"""The benchmark of the app: what it plants, how it counts, and that its steps are steps."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.workbench.opened_app import require_browser
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.workbench.speed import app
from usad_workbench.workbench.speed.browsing import StepCost, family_seconds
from usad_workbench.workbench.speed.planted_app import (
    FREE,
    METHOD,
    N_LAYERS,
    N_SOUNDS,
    planted_collection,
    spots,
)
from usad_workbench.workbench.speed.storing import ENCODER
from usad_workbench.workbench.speed.viewer_peers import Regl, Spotlight
from usad_workbench.workbench.speed.viewers import Workbench

N = 300


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("app")


def test_sounds_lie_alone_on_every_map_and_others_get_the_same_points(folder: Path) -> None:
    made = planted_collection(N, folder)
    workspace = Workspace.open(made.workspace)
    table = pd.read_parquet(made.table)
    assert len(table) == N and table.path.ne("").sum() == N_SOUNDS
    for layer in range(N_LAYERS):
        stored = workspace.read(
            "SELECT c.clip_id, p.x, p.y, c.path FROM projections p JOIN segments USING (segment_id) "
            f"JOIN clips c ON c.clip_id = segments.clip_id WHERE layer = {layer} "
            f"AND encoder = '{ENCODER}' AND method = '{METHOD}' ORDER BY p.segment_id"
        )
        points = stored[["x", "y"]].to_numpy()
        np.testing.assert_array_equal(points, table[[f"x{layer}", f"y{layer}"]].to_numpy())
        has_sound = stored.path.ne("").to_numpy()
        np.testing.assert_allclose(points[has_sound], np.array(spots()), atol=1e-6)
        away = np.linalg.norm(points[:, None] - points[has_sound][None], axis=2)
        away[has_sound] = np.inf
        assert away.min() > 0.99 * FREE
    assert planted_collection(N, folder) == made  # what is there is taken


def test_seconds_of_a_family_are_those_of_children_and_grandchildren() -> None:
    burn = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
    before_s = family_seconds(os.getpid())
    nested = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}])"
    subprocess.run([sys.executable, "-c", nested], check=True)
    assert 0.28 < family_seconds(os.getpid()) - before_s < 2


def test_rows_are_of_steps_that_both_have(monkeypatch: pytest.MonkeyPatch) -> None:
    ours: app.Costs = {"first picture": StepCost(1, 2), "lasso": StepCost(3, 4)}
    theirs: app.Costs = {"first picture": StepCost(4, 4), "lasso": None}
    rows = list(app._rows(1000, ours, "peer", theirs))
    assert [(row.name, row.peer, row.ratio) for row in rows] == [
        ("app, 1,000 points, first picture, processor", "peer", 0.5),
        ("app, 1,000 points, first picture, wall", "peer", 0.25),
        ("app, 1,000 points, lasso, wall", "peer, not done by then", 3 / (app.WAIT_MS / 1000)),
    ]
    steps = [StepCost(1, 9), StepCost(2, 8), StepCost(9, 1)]
    assert app.median_step(steps) == StepCost(2, 8)


def test_peers_that_are_not_there_say_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("USAD_BENCH_NODE", raising=False)
    monkeypatch.setenv("USAD_BENCH_SPOTLIGHT", "/nowhere/spotlight")
    assert "USAD_BENCH_NODE" in Regl().missing() and "regl" in Regl().missing()
    assert "USAD_BENCH_SPOTLIGHT names no command" in Spotlight().missing()


@pytest.mark.browser
@pytest.mark.slow
def test_every_step_of_the_workbench_is_done(folder: Path, tmp_path: Path) -> None:
    require_browser()
    costs = app.costs_of(Workbench(), planted_collection(N, folder), tmp_path)
    assert set(costs) == set(app.STEPS) and all(costs.values())
