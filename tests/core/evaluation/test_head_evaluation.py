"""The heads of HEAR on the tasks of a workspace, clip and frame level, through the command."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.planted import add_clips, add_encoder
from usad_workbench.core.probes.mlp import HEADS, HEAR
from usad_workbench.core.storage.tasks import set_tasks
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.workbench.cli import main

TASK = {
    "task": "t",
    "label_column": "label",
    "domain": "sound",
    "group_column": "cluster_id",
    "metric": "accuracy",
}


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Sixty clips in twenty clusters; layer 1 of two says the class."""
    small = replace(HEAR, width=16, max_epochs=15, n_points=1, batch_size=8, learning_rates=(1e-2,))
    monkeypatch.setitem(HEADS, "hear", small)
    workspace = Workspace.create(tmp_path / "w")
    labels = ["ab"[i % 2] for i in range(60)]
    clusters = [f"k{i // 3}" for i in range(60)]
    add_clips(workspace, {"domain": ["sound"] * 60, "cluster_id": clusters, "label": labels})
    rng = np.random.default_rng(0)
    layers = [rng.normal(size=(60, 6)) for _ in range(2)]
    layers[1][:, 0] += 6 * (np.array(labels) == "a")
    add_encoder(workspace, "E", "student", None, layers)
    set_tasks(workspace, [TASK])
    return workspace


def test_hear_by_clip_and_frame(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "evaluate",
        "--workspace",
        str(workspace.folder),
        "--protocol",
        "hear,hear-frames",
        "--encoders",
        "E",
        "--no-cost",
        "--json",
    ]
    assert main(arguments) == 0
    rows = [row for row in json.loads(capsys.readouterr().out) if row["task"] == "t"]
    assert [row["protocol"] for row in rows] == ["hear", "hear-frames"]
    for row in rows:
        assert row["layer"] == 1 and row["value"] > 0.9 and row["n_test"] == 60
    # One segment per clip: both levels are the same.
    assert rows[0]["value"] == rows[1]["value"]
    assert len(workspace.sql("SELECT * FROM predictions WHERE protocol = 'hear'")) == 60
