"""One call from a workspace to stored, typed scores."""

from pathlib import Path

import duckdb
import numpy as np
import pytest

from tests.planted import add_clips, add_encoder
from usad_workbench.core.errors import ConfigError, UnknownNameError
from usad_workbench.core.evaluation import systems
from usad_workbench.core.evaluation.evaluate import evaluate
from usad_workbench.core.evaluation.scores import scores_of
from usad_workbench.core.evaluation.system_results import (
    ProbeSettings,
    SystemResult,
    probe_system,
)
from usad_workbench.core.evaluation.systems import (
    CONCATENATION,
    MIXTURE,
    ORACLE_ROUTER,
    teacher_pool,
)
from usad_workbench.core.evaluation.tasks import stored_task_rows
from usad_workbench.core.evaluation.testability import possible_tasks
from usad_workbench.core.probes import evaluate as probes
from usad_workbench.core.storage.distillation import set_distillation
from usad_workbench.core.storage.rows import read_rows
from usad_workbench.core.storage.scores import ClipPrediction, ProbeScore
from usad_workbench.core.storage.tasks import set_tasks
from usad_workbench.core.storage.workspace import Workspace

N = 72


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Three teachers of two domains, one task in each; ``t`` reads it and the student half of it."""
    rng = np.random.default_rng(0)
    made = Workspace.create(tmp_path_factory.mktemp("w"))
    word = rng.integers(3, size=N)
    domains = ["speech" if i % 2 else "music" for i in range(N)]
    add_clips(
        made,
        {
            "domain": domains,
            "cluster_id": [f"s{i % 12}" for i in range(N)],
            "word": [f"w{one}" for one in word],
        },
    )
    x = 3 * np.eye(3, 8)[word]
    noise = {"s": 1.5, "t": 0.5, "u": 3.0}
    for name, role, home in (
        ("s", "student", None),
        ("t", "teacher", "speech"),
        ("u", "teacher", "music"),
    ):
        layers = [x + noise[name] * rng.normal(size=x.shape) for _ in range(2)]
        add_encoder(made, name, role, home, layers)  # type: ignore[arg-type]
    set_distillation(made, "s", [("t", "speech", 1), ("u", "music", 1)])
    set_tasks(
        made,
        [
            {
                "task": domain,
                "label_column": "word",
                "domain": domain,
                "group_column": "cluster_id",
                "metric": "accuracy",
            }
            for domain in ("speech", "music")
        ],
    )
    return made


def test_scores_are_stored_as_they_are_returned(workspace: Workspace) -> None:
    scores = evaluate(workspace, protocols=["knn"], against="s", seeds=1, cost=False)
    stored = read_rows(workspace, ProbeScore, "probes")
    assert sorted(map(repr, stored)) == sorted(map(repr, scores))  # NaN and types included
    by_key = {(score.encoder, score.task): score for score in scores}
    best = by_key[ORACLE_ROUTER, "speech"]
    assert best.value == by_key["t", "speech"].value > by_key["u", "speech"].value
    assert best.difference == pytest.approx(best.value - by_key["s", "speech"].value)
    assert by_key["s", "speech"].against is None and np.isnan(best.rtf)


def test_every_clip_has_a_prediction_and_again_replaces(workspace: Workspace) -> None:
    for _ in range(2):
        scores = evaluate(workspace, encoders=["s"], protocols=["linear"], seeds=2, cost=False)
    key = {"encoder": "s", "protocol": "linear"}
    rows = read_rows(workspace, ClipPrediction, "predictions", key=key)
    assert len(rows) == 2 * N and {row.seed for row in rows} == {0, 1}
    (speech,) = (score for score in scores if score.task == "speech")
    right = np.mean([row.correct for row in rows if row.task == "speech"])
    assert right == pytest.approx(speech.value)


def test_what_an_earlier_version_stored_stays(workspace: Workspace) -> None:
    """Its table has no columns of costs; scores of other systems are not computed again."""
    evaluate(workspace, encoders=["t"], protocols=["knn"], seeds=1, cost=False)
    with workspace.database.write() as connection:
        connection.execute("ALTER TABLE probes DROP COLUMN rtf")
        connection.execute("ALTER TABLE probes ADD COLUMN rtf DOUBLE")
    before = len(read_rows(workspace, ProbeScore, "probes", key={"encoder": "t"}))
    evaluate(workspace, encoders=["u"], protocols=["knn"], seeds=1, cost=False)
    assert len(read_rows(workspace, ProbeScore, "probes", key={"encoder": "t"})) == before > 0


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        ({"protocols": ["knn", "svm"]}, ConfigError, r"Found the protocols \['knn', 'svm'\]"),
        ({"protocols": []}, ConfigError, "expected some of knn, linear, hear"),
        ({"seeds": 0}, ConfigError, "expected 1 to 1,000; 3 is usual"),
        ({"protocols": ["hear"], "seeds": -1}, ConfigError, "1 is usual"),
        ({"encoders": ["nobody"]}, UnknownNameError, "nobody"),
        ({"tasks": ["speach"]}, UnknownNameError, "speech"),
    ],
)
def test_what_cannot_be_evaluated_is_named(
    workspace: Workspace, wrong: dict[str, object], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        evaluate(workspace, **wrong)  # type: ignore[arg-type]


def test_a_workspace_without_tasks_says_how_to_add_some(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="usad import --tasks CSV"):
        evaluate(Workspace.create(tmp_path / "w"))


def test_all_layers_of_a_system_are_read_through_one_connection(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks, _ = possible_tasks(stored_task_rows(workspace), workspace.clips())
    pool = teacher_pool(workspace)
    opened: list[bool] = []
    connect = duckdb.connect

    def counting(*args: object, **settings: object) -> duckdb.DuckDBPyConnection:
        opened.append(True)
        return connect(*args, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(duckdb, "connect", counting)
    settings = ProbeSettings(protocols=("knn",), seeds=(0,))
    for system in ("s", CONCATENATION):
        opened.clear()
        probe_system(pool, system, tasks, settings)
        assert len(opened) == 1


def test_a_score_says_that_some_clips_were_trained_on(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "MAX_TRAIN_CLIPS", 12)
    tasks, _ = possible_tasks(stored_task_rows(workspace), workspace.clips())
    settings = ProbeSettings(protocols=("knn",), seeds=(0,))
    results = probe_system(teacher_pool(workspace), "t", tasks, settings)
    (score, *_) = scores_of(results, settings.protocols, None, {})
    assert "each fold trained on 12 of up to" in score.reason
    assert score.n_test == N // 2


def test_layers_that_are_not_kept_give_what_kept_ones_give(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks, _ = possible_tasks(stored_task_rows(workspace), workspace.clips())
    settings = ProbeSettings(protocols=("knn", "linear"), seeds=(0, 1))
    found: dict[str, list[SystemResult]] = {}
    for n_bytes in (systems.MAX_KEPT_BYTES, 0):
        monkeypatch.setattr(systems, "MAX_KEPT_BYTES", n_bytes)
        for system in ("t", CONCATENATION, MIXTURE):
            found.setdefault(system, []).extend(
                probe_system(teacher_pool(workspace), system, tasks, settings)
            )
    for results in found.values():
        half = len(results) // 2
        for kept, read in zip(results[:half], results[half:], strict=True):
            assert (kept.layer, kept.dim, kept.note) == (read.layer, read.dim, read.note)
            np.testing.assert_array_equal(kept.probe.predictions, read.probe.predictions)
            np.testing.assert_array_equal(kept.probe.validation, read.probe.validation)
