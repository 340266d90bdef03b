"""A label that only one layer holds is read there, and each layer's score is that of its own probe."""

from pathlib import Path

import numpy as np
import pytest

from tests.planted import add_clips, add_encoder
from usad_workbench.core.errors import UnknownNameError
from usad_workbench.core.evaluation.layer_scores import layer_scores
from usad_workbench.core.probes import evaluate_probe
from usad_workbench.core.storage.workspace import Workspace

N = 120
LABELS = [f"l{i % 3}" for i in range(N)]
GROUPS = [f"g{i // 3}" for i in range(N)]


@pytest.fixture
def planted(tmp_path: Path) -> tuple[Workspace, list[np.ndarray]]:
    rng = np.random.default_rng(0)
    codes = np.eye(3)[[i % 3 for i in range(N)]]
    noise = [rng.normal(size=(N, 6)) for _ in range(3)]
    noise[1][:, :3] += 6 * codes
    made = Workspace.create(tmp_path / "w")
    add_clips(made, {"domain": ["sound"] * N, "cluster_id": GROUPS, "label": LABELS})
    add_encoder(made, "e", "teacher", "sound", noise)
    add_encoder(made, "other", "control", "sound", [rng.normal(size=(N, 4))] * 2)
    with made.database.write() as connection:
        for name, column in (("named", "label"), ("impossible", "dataset")):
            connection.execute(
                "INSERT INTO tasks VALUES (?, ?, NULL, 'cluster_id', 'accuracy')", [name, column]
            )
    return made, noise


def test_each_layer_has_the_score_of_its_own_probe(
    planted: tuple[Workspace, list[np.ndarray]],
) -> None:
    made, vectors = planted
    steps: list[tuple[int, int]] = []
    found = layer_scores(
        made, ["e", "other"], progress=lambda done, total, what: steps.append((done, total))
    )
    assert [(one.task, one.encoder, one.layer) for one in found] == [
        ("named", "e", 0), ("named", "e", 1), ("named", "e", 2), ("named", "other", 0), ("named", "other", 1),
    ]  # fmt: skip
    assert steps == [(i + 1, 5) for i in range(5)]
    for one, matrix in zip(found, vectors, strict=False):
        probe = evaluate_probe(matrix.astype(np.float32), LABELS, GROUPS, protocol="knn")
        assert one.value == pytest.approx(probe.value)
        assert one.chance == probe.chance and one.n_test == N
        assert one.ci_low <= one.value <= one.ci_high
    assert found[1].value > 0.95
    assert all(abs(one.value - 1 / 3) < 0.17 for one in found if one is not found[1])


def test_what_is_not_there_is_named(planted: tuple[Workspace, list[np.ndarray]]) -> None:
    made, _ = planted
    assert layer_scores(made, ["e"], ["impossible"]) == []
    with pytest.raises(UnknownNameError):
        layer_scores(made, ["gone"], ["named"])
    with pytest.raises(UnknownNameError):
        layer_scores(made, ["e"], ["gone"])
