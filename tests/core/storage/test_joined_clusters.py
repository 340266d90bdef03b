"""Clips of equal content are on one side of every fold, and named where they contradict."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from tests.conftest import SpectrumEncoder, write_tone
from usad_workbench.core.embedding import embed
from usad_workbench.core.evaluation.tasks import make_task
from usad_workbench.core.probes import grouped_folds
from usad_workbench.core.storage.clip_vectors import common_clips
from usad_workbench.core.storage.importing import SourceClip, import_clips
from usad_workbench.core.storage.joined_clusters import joined_groups, with_joined_clusters
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.indexes.check import check_workspace
from usad_workbench.training.evaluation import load_evaluation
from usad_workbench.training.recipe import EvaluationRecipe

TASK = {
    "task": "label",
    "label_column": "label",
    "domain": None,
    "group_column": "cluster_id",
    "metric": "accuracy",
}


def copies_of(
    tones: list[SourceClip], folder: Path, numbers: list[int], suffix: str = "wav"
) -> list[SourceClip]:
    """The same audio under another name, in a cluster of its own, called the contrary."""
    folder.mkdir()
    made = []
    for number in numbers:
        tone = tones[number]
        path = folder / f"copy{number:02}.{suffix}"
        if suffix == "wav":
            shutil.copy(tone.path, path)
        else:
            soundfile.write(path, *soundfile.read(tone.path))
        label = "high" if tone.fields["label"] == "low" else "low"
        told = {"clip_id": path.stem, "cluster_id": f"copy{number}", "label": label}
        made.append(replace(tone, path=path, fields=dict(tone.fields) | told))
    return made


@pytest.fixture(params=["wav", "flac"])
def with_copies(
    request: pytest.FixtureRequest, workspace: Workspace, tones: list[SourceClip], tmp_path: Path
) -> Workspace:
    """Copies of three tones: their files, or their samples in other files."""
    import_clips(workspace, copies_of(tones, tmp_path / "copies", [0, 7, 13], request.param))
    return workspace


@pytest.mark.parametrize(
    ("groups", "contents", "expected"),
    [
        (["a", "b", "c"], ["x", "y", "z"], ["a", "b", "c"]),
        (["a", "b", "c"], ["x", "y", "x"], ["a", "b", "a"]),
        (["c", "a", "b", "b", "d"], ["x", "x", "y", "z", "y"], ["c", "c", "b", "b", "b"]),
        (["a", "b", "c", "d"], ["x", "y", "x", "y"], ["a", "b", "a", "b"]),
        (["a", "b", "b", "c"], ["x", "x", "y", "y"], ["a", "a", "a", "a"]),  # a chain
        (["a", "b", "c"], [None, None, float("nan")], ["a", "b", "c"]),  # vectors without audio
        ([3, 1, 2], ["x", "y", "y"], [3, 1, 1]),
    ],
)
def test_groups_that_share_a_content_are_one(
    groups: list[object], contents: list[object], expected: list[object]
) -> None:
    assert joined_groups(groups, contents).tolist() == expected


def test_no_copy_is_tested_with_its_twin_in_training(with_copies: Workspace) -> None:
    clips = with_copies.clips()
    content = clips.set_index("clip_id").audio_sha256
    task = make_task(TASK, clips)
    folds = grouped_folds(task.labels, task.groups, 5)
    assert len(folds) == 5
    for fold in folds:
        sides = [set(content[[task.clip_ids[i] for i in rows]]) for rows in (fold.train, fold.test)]
        assert not sides[0] & sides[1]
    assert len(set(task.units)) == 10  # each copy's cluster is its twin's


def test_a_group_column_of_its_own_is_joined_too(with_copies: Workspace) -> None:
    clips = with_copies.clips()
    clips["session"] = [f"s{number % 11}" for number in range(len(clips))]
    task = make_task(TASK | {"group_column": "session"}, clips)
    group = dict(zip(task.clip_ids, task.groups, strict=True))
    assert all(group[f"copy{number:02}"] == group[f"tone{number:02}"] for number in (0, 7, 13))
    assert len(set(task.groups)) > 5


def test_comparisons_of_encoders_take_joined_clusters(with_copies: Workspace) -> None:
    embed(with_copies, SpectrumEncoder())
    clips = common_clips(with_copies, ["spectrum"])
    assert clips.cluster_id.nunique() == 10
    stored = with_copies.clips()
    assert stored.cluster_id.nunique() == 13  # what the manifest said stays as it was said


def test_clips_without_audio_keep_their_clusters() -> None:
    clips = pd.DataFrame({"clip_id": ["a", "b"], "cluster_id": ["1", "2"]})
    assert with_joined_clusters(clips).cluster_id.tolist() == ["1", "2"]
    clips["audio_sha256"] = None
    assert with_joined_clusters(clips).cluster_id.tolist() == ["1", "2"]


def test_check_names_copies_that_contradict(
    with_copies: Workspace, tones: list[SourceClip], tmp_path: Path
) -> None:
    problems = check_workspace(with_copies)
    assert len(problems) == 3
    assert problems[0] == (
        "clips copy00, tone00 hold the same audio but have label 'high' and 'low'; cluster_id 'c0' "
        "and 'copy0': folds keep them together; give copies the same, or keep one"
    )
    with with_copies.database.write() as connection:  # the originals are of an earlier version
        connection.execute(
            "UPDATE clips SET samples_digest = NULL WHERE starts_with(clip_id, 'tone')"
        )
    are_files = with_copies.clips().audio_sha256.duplicated().any()
    assert check_workspace(with_copies) == (problems if are_files else [])


def test_check_says_nothing_of_copies_that_agree(
    workspace: Workspace, tones: list[SourceClip], tmp_path: Path
) -> None:
    (one,) = copies_of(tones, tmp_path / "copies", [4])
    told = dict(tones[4].fields) | {"clip_id": "copy"}
    import_clips(workspace, [replace(one, fields=told)])
    assert check_workspace(workspace) == []


def test_the_evaluation_of_a_training_keeps_equal_files_together(tmp_path: Path) -> None:
    rows = []
    for number in range(8):
        path = write_tone(tmp_path / f"tone{number}.wav", 100 + 100 * (number % 7))
        rows.append((path.stem, path.name, "sound", f"c{number}", "ab"[number % 2]))
    columns = ["clip_id", "path", "domain", "cluster_id", "label"]
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "manifest.csv", index=False)
    pd.DataFrame([TASK]).to_csv(tmp_path / "tasks.csv", index=False)
    recipe = EvaluationRecipe(
        manifest=str(tmp_path / "manifest.csv"), tasks=str(tmp_path / "tasks.csv")
    )
    (task,) = load_evaluation(recipe, n_layers=2).tasks
    assert task.groups[0] == task.groups[7]
    assert len(np.unique(task.groups)) == 7
