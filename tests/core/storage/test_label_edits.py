"""Labels that people change: what holds, what was there before, and what is behind it."""

import numpy as np
import pandas as pd
import pytest

from usad_workbench.core.errors import ConfigError
from usad_workbench.core.storage.label_edits import (
    MAX_LABEL,
    clips_of,
    label_clips,
    label_history,
    tasks_behind,
    undo_labels,
)
from usad_workbench.core.storage.workspace import Workspace


def labels(workspace: Workspace, clips: list[str]) -> list[str | None]:
    rows = workspace.read("SELECT clip_id, label FROM clips").set_index("clip_id")["label"]
    return [None if pd.isna(one) else str(one) for one in rows.loc[clips]]


def two(workspace: Workspace) -> list[str]:
    return workspace.read("SELECT clip_id FROM clips ORDER BY 1").clip_id.tolist()[:2]


def test_a_label_holds_and_its_history_says_who_made_it_of_what(workspace: Workspace) -> None:
    clips = two(workspace)
    before = labels(workspace, clips)
    edit = label_clips(workspace, [*clips, "gone"], "  a   bell ", "Ada")
    assert (edit.n, labels(workspace, clips)) == (2, ["a bell"] * 2)
    assert label_clips(workspace, clips, "a bell").edit_id is None
    history = label_history(workspace)
    assert history[["clip_id", "former", "label", "author"]].fillna("-").values.tolist() == [
        [clip, former or "-", "a bell", "Ada"] for clip, former in zip(clips, before, strict=True)
    ]
    assert label_clips(workspace, clips[:1], "", "Bob").n == 1
    assert labels(workspace, clips) == [None, "a bell"]
    with pytest.raises(ConfigError, match="at most"):
        label_clips(workspace, clips, "x" * (MAX_LABEL + 1))


def test_an_undone_edit_leaves_what_came_later(workspace: Workspace) -> None:
    clips = two(workspace)
    before = labels(workspace, clips)
    first = label_clips(workspace, clips, "first")
    later = label_clips(workspace, clips[:1], "later")
    assert first.edit_id and later.edit_id and first.edit_id < later.edit_id
    assert undo_labels(workspace, first.edit_id).n == 1
    assert labels(workspace, clips) == ["later", before[1]]
    assert undo_labels(workspace, first.edit_id).n == 0


def test_segments_name_their_clips_once(workspace: Workspace) -> None:
    rows = workspace.read("SELECT segment_id, clip_id FROM segments ORDER BY 1")
    some = rows.segment_id.to_numpy(np.int64)[[3, 1, 3]]
    assert clips_of(workspace, some) == sorted(rows.clip_id.iloc[[1, 3]])


def test_a_task_is_behind_where_right_has_become_wrong(workspace: Workspace) -> None:
    clips = two(workspace)
    label_clips(workspace, clips, "bell")
    with workspace.database.write() as connection:
        connection.execute(
            "INSERT INTO tasks VALUES ('named', 'label', NULL, 'cluster_id', 'accuracy')"
        )
        for clip, predicted in zip(clips, ("bell", "dog"), strict=True):
            connection.execute(
                "INSERT INTO predictions BY NAME SELECT 'e' AS encoder, 'named' AS task, "
                "'linear' AS protocol, 0 AS seed, ? AS clip_id, ? AS predicted, ? AS correct, "
                "'f' AS fingerprint",
                [clip, predicted, predicted == "bell"],
            )
    assert tasks_behind(workspace) == {}
    label_clips(workspace, clips[:1], "drum")
    assert tasks_behind(workspace) == {"named": 1}
    label_clips(workspace, clips[1:], "dog")
    assert tasks_behind(workspace) == {"named": 2}
