"""Tasks that no probe can be asked: named, without a value, in no mean."""

import numpy as np
import pandas as pd
import pytest

from tests.planted import add_clips, add_encoder
from usad_workbench.core.diagnosis.data import DiagnosisConfig, load_diagnosis_data
from usad_workbench.core.diagnosis.suite import compute_diagnosis
from usad_workbench.core.evaluation.evaluate import evaluate
from usad_workbench.core.evaluation.tasks import make_task
from usad_workbench.core.evaluation.testability import lone_clips, possible_tasks, untestable
from usad_workbench.core.storage.distillation import set_distillation
from usad_workbench.core.storage.tasks import set_tasks
from usad_workbench.core.storage.workspace import Workspace

N = 96


def row(task: str, label: str, group: str, domain: str | None = None) -> dict[str, str | None]:
    return {
        "task": task,
        "label_column": label,
        "domain": domain,
        "group_column": group,
        "metric": "accuracy",
    }


@pytest.mark.parametrize(
    ("labels", "groups", "words"),
    [
        ("aaaa", "1122", "all 4 clips are of one class, 'a'"),
        ("abab", "1111", "all 4 clips are of one group, '1'"),
        ("abcd", "1122", "no class is in two groups"),  # ids
        ("aabb", "1122", "no class is in two groups"),  # another name of the group
        ("aabc", "1234", "only the class 'a' is in two groups"),
        ("", "", "no clip has a label and a group"),
    ],
)
def test_why_nothing_could_be_learned(labels: str, groups: str, words: str) -> None:
    clips = pd.DataFrame(
        {
            "clip_id": [str(i) for i in range(len(labels))],
            "label": list(labels),
            "group": list(groups),
            "domain": "speech",
            "cluster_id": list(groups),
        }
    )
    assert untestable(make_task(row("t", "label", "group"), clips)).startswith(words)


def test_classes_of_one_group_are_counted_and_the_rest_can_be_tested() -> None:
    clips = pd.DataFrame(
        {
            "clip_id": list("012345"),
            "label": list("ababcc"),
            "group": list("112233"),
            "domain": "speech",
            "cluster_id": list("112233"),
        }
    )
    task = make_task(row("t", "label", "group"), clips)
    assert (untestable(task), lone_clips(task)) == ("", 2)


def test_a_domain_in_other_letters_is_the_domain_and_a_strange_one_is_named() -> None:
    clips = pd.DataFrame(
        {
            "clip_id": list("0123"),
            "label": list("abab"),
            "group": list("1122"),
            "domain": "speech",
            "cluster_id": list("1122"),
        }
    )
    rows = [row("t", "label", "group", " SPEECH"), row("u", "label", "group", "whales")]
    rows += [row("v", "nothing", "group"), {**row("w", "label", "group"), "metric": "f1"}]
    found, reasons = possible_tasks(rows, clips)  # type: ignore[arg-type]
    assert [(one.name, one.domain) for one in found] == [("t", "speech")]
    assert reasons["u"].endswith("in the domain 'whales'; the clips are of speech")
    assert "needs the column 'nothing'" in reasons["v"]
    assert "Unknown metric 'f1'" in reasons["w"]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Workspace:  # type: ignore[no-untyped-def]
    """One task that can be asked, and four that cannot."""
    rng = np.random.default_rng(0)
    made = Workspace.create(tmp_path_factory.mktemp("w"))
    word = rng.integers(3, size=N)
    clusters = [f"s{i % 12}" for i in range(N)]
    columns = {
        "domain": ["speech"] * N,
        "cluster_id": clusters,
        "word": [f"w{one}" for one in word],
        "site": ["forest"] * N,
        "name": [f"n{i}" for i in range(N)],
        "who": clusters,
    }
    add_clips(made, columns)
    x = 3 * np.eye(3, 8)[word] + rng.normal(size=(N, 8))
    for name, role in (("s", "student"), ("t", "teacher"), ("u", "teacher"), ("k", "control")):
        add_encoder(made, name, role, "speech", [x + rng.normal(size=x.shape)])  # type: ignore[arg-type]
    set_distillation(made, "s", [("t", "speech", 1), ("u", "speech", 1)])
    set_tasks(
        made,
        [
            row("good", "word", "cluster_id"),
            row("one class", "site", "cluster_id"),
            row("one group", "word", "site"),
            row("ids", "name", "cluster_id"),
            row("who", "who", "cluster_id"),
        ],
    )
    return made


BAD = {"one class", "one group", "ids", "who"}


def test_evaluate_goes_on_and_gives_them_no_value(workspace: Workspace) -> None:
    scores = evaluate(workspace, encoders=["s", "t"], protocols=["knn"], seeds=1, cost=False)
    rows = pd.DataFrame(scores)
    assert rows.groupby("encoder").task.nunique().tolist() == [7, 7]
    mine = rows[rows.encoder == "s"].set_index("task")
    assert mine.value["good"] > 0.6
    assert mine.value["mean of tasks"] == mine.value["mean of tasks with intervals"]
    assert mine.value["mean of tasks"] == mine.value["good"]
    for task in BAD:
        assert np.isnan(mine.value[task]) and np.isnan(mine.ci_low[task])
        assert mine.n_test[task] == 0 and mine.reason[task].startswith("not tested: ")
    stored = workspace.sql("SELECT * FROM probes WHERE encoder = 's'").set_index("task")
    assert stored.value.isna().sum() == len(BAD)
    (only,) = evaluate(
        workspace, encoders=["s"], tasks=["ids"], protocols=["knn"], seeds=1, cost=False
    )
    assert np.isnan(only.value) and only.reason.startswith("not tested: ")


def test_diagnose_names_them_once_and_every_panel_leaves_them_out(workspace: Workspace) -> None:
    config = DiagnosisConfig(n_permutations=19)
    found = compute_diagnosis(
        load_diagnosis_data(workspace, "s", config=config), ["errors", "routing", "subgroups"]
    )
    named = [one for one in found.warnings if one.startswith("task ")]
    assert {one.split(" is left out: ")[0].removeprefix("task ") for one in named} == BAD
    for panel in found.panels.values():
        assert {one["task"] for one in panel.documents()} <= {"good", "mean of tasks"}
    means = {
        r["system"]: r["value"]
        for r in found.panels["routing"].documents()
        if r["task"] == "mean of tasks"
    }
    alone = {
        r["system"]: r["value"] for r in found.panels["routing"].documents() if r["task"] == "good"
    }
    assert means == pytest.approx(alone)
