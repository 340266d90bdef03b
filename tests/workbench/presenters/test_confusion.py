"""Confusions and clips on which two systems differ, of predictions that were planted."""

import pandas as pd
import pytest

from usad_workbench.core.storage.clips_without_audio import import_clips_without_audio
from usad_workbench.core.storage.rows import write_rows
from usad_workbench.core.storage.scores import ClipPrediction
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.workbench.presenters import confusion

ACTUAL = {"c0": "dog", "c1": "dog", "c2": "cat", "c3": "cat", "c4": "cow"}
SAID = {
    "student": {"c0": "dog", "c1": "cat", "c2": "cat", "c3": "dog", "c4": "cow"},
    "teacher": {"c0": "cat", "c1": "dog", "c2": "cat", "c3": "cow", "c4": "cow"},
}


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("judged")
    rows = [f"{clip},sound,{clip},{label}" for clip, label in ACTUAL.items()]
    manifest = folder / "clips.csv"
    manifest.write_text("\n".join(["clip_id,domain,cluster_id,label", *rows]) + "\n")
    workspace = Workspace.create(folder / "w")
    import_clips_without_audio(workspace, manifest)
    with workspace.database.write() as connection:
        connection.execute(
            "INSERT INTO tasks (task, label_column, group_column, metric) "
            "VALUES ('animal', 'label', 'cluster_id', 'accuracy')"
        )
        for seed in (0, 1):
            given = [
                ClipPrediction(
                    encoder=encoder,
                    task="animal",
                    protocol="knn",
                    seed=seed,
                    clip_id=clip,
                    predicted=label if seed == 0 else "cow",
                    correct=label == ACTUAL[clip],
                    fingerprint="f",
                )
                for encoder, said in SAID.items()
                for clip, label in said.items()
            ]
            write_rows(connection, "predictions", ClipPrediction, given, key={"seed": seed})
    return workspace


def test_the_matrix_counts_the_first_seed(judged: Workspace) -> None:
    assert confusion.predicted_tasks(judged.read, "knn") == ["animal"]
    assert confusion.systems(judged.read, "animal", "knn") == ["student", "teacher"]
    rows = confusion.predictions(judged.read, "student", "animal", "knn")
    table = confusion.confusion(rows)
    counts = {(a, p): int(table.loc[a, p]) for a in table.index for p in table.columns}
    assert {cell: n for cell, n in counts.items() if n} == {
        ("dog", "dog"): 1,
        ("dog", "cat"): 1,
        ("cat", "cat"): 1,
        ("cat", "dog"): 1,
        ("cow", "cow"): 1,
    }
    marks = confusion.confusion_figure(table, ("dog", "cat")).data[1]
    assert sorted(map(tuple, marks.customdata)) == sorted(c for c, n in counts.items() if n)


def test_who_is_right_where_the_other_is_wrong(judged: Workspace) -> None:
    first, second = (
        confusion.predictions(judged.read, name, "animal", "knn") for name in ("student", "teacher")
    )
    both = confusion.apart(first, second).set_index("clip_id")["side"]
    assert both.to_dict() == {
        "c0": "only the first is right",
        "c1": "only the second is right",
        "c2": "both are right",
        "c3": "both are wrong",
        "c4": "both are right",
    }
    counts = confusion.counts_of(confusion.apart(first, second))
    assert counts == dict(zip(confusion.SIDES.values(), (1, 1, 2, 1), strict=True))


def test_only_the_most_frequent_labels_are_drawn() -> None:
    n = confusion.MAX_LABELS + 5
    labels = [f"l{i:02d}" for i in range(n) for _ in range(n - i)]
    table = confusion.confusion(pd.DataFrame({"actual": labels, "predicted": labels}))
    assert list(table.index) == [f"l{i:02d}" for i in range(confusion.MAX_LABELS)]
