"""``usad evaluate --benchmark`` as a user types it, on tiny copies of the data sets."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.core.evaluation.benchmarks.layouts import make_audioset, make_esc50, make_hear
from usad_workbench.core.probes.mlp import HEADS, HEAR
from usad_workbench.workbench.cli import main

ENCODER = "untrained-student"


def evaluate(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> list[dict]:  # type: ignore[type-arg]
    capsys.readouterr()
    assert main(["evaluate", *map(str, arguments), "--json"]) == code
    text = capsys.readouterr().out
    return json.loads(text) if text else []  # type: ignore[no-any-return]


def test_esc50_frozen_and_fine_tuned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(HEAR, width=16, max_epochs=9, n_points=1, batch_size=8)
    monkeypatch.setitem(HEADS, "hear", small)
    data, workspace = make_esc50(tmp_path / "data"), tmp_path / "w"
    asked = [
        "--workspace",
        workspace,
        "--benchmark",
        "esc50",
        "--data",
        data,
        "--encoders",
        ENCODER,
        "--protocol",
        "knn,linear,hear,fine-tune",
        "--steps",
        "2",
    ]
    rows = evaluate(capsys, *asked)
    assert [(row["mode"], row["protocol"]) for row in rows] == [
        ("frozen", "knn"),
        ("frozen", "linear"),
        ("frozen", "hear"),
        ("fine-tuned", "fine-tune"),
    ]
    for row in rows:
        assert (row["benchmark"], row["n_test"], row["metric"]) == ("esc50", 30, "accuracy")
        assert row["published"]
    assert rows[1]["value"] > 0.9  # tones of 150, 600 and 2400 Hz
    # The embeddings are kept: the same command gives the same rows and embeds nothing.
    assert evaluate(capsys, *asked[:-4], "--protocol", "knn") == rows[:1]


def test_as20k_and_hear(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    audioset = make_audioset(tmp_path / "audioset", 36)
    asked = ["--workspace", tmp_path / "w", "--encoders", ENCODER]
    (row,) = evaluate(capsys, *asked, "--benchmark", "as20k", "--data", audioset)
    assert row["metric"] == "map" and row["n_test"] == 35 and row["notes"]
    hear = make_hear(tmp_path / "hear")
    rows = evaluate(capsys, *asked, "--benchmark", "hear", "--data", hear)
    by_task = {row["task"]: row for row in rows}
    assert by_task["dcase2016_task2"]["value"] is None
    assert "event" in by_task["dcase2016_task2"]["reason"]
    assert by_task["esc50"]["value"] > 0.5


def test_wrong_use_has_no_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--workspace", tmp_path, "--encoders", ENCODER]
    evaluate(capsys, *asked, "--benchmark", "esc50", code=2)
    evaluate(capsys, *asked, "--benchmark", "esc50", "--data", tmp_path, code=2)
    evaluate(
        capsys, *asked, "--benchmark", "esc50", "--data", tmp_path, "--protocol", "svm", code=2
    )
