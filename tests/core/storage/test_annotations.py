"""Tags and notes: who gave them and when, and what happens to them when clips or encoders go."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from usad_workbench.core.errors import ConfigError
from usad_workbench.core.storage.annotations import (
    author_name,
    note_segment,
    notes_of,
    tag_counts,
    tag_segments,
    tagged_segments,
    tags_of,
    undo,
)
from usad_workbench.core.storage.deletion import delete_clips, forget_results
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.indexes.check import check_workspace


def ids(workspace: Workspace) -> np.ndarray:
    return workspace.read("SELECT segment_id FROM segments ORDER BY 1")["segment_id"].to_numpy()


def test_the_tables_say_who_and_when(workspace: Workspace) -> None:
    some = ids(workspace)[:3]
    assert tag_segments(workspace, some, "loud", "Ada").n == 3
    assert note_segment(workspace, int(some[0]), "hum", "Bob").n == 1
    tags = workspace.sql("SELECT * FROM tags ORDER BY segment_id")
    assert tags["segment_id"].tolist() == some.tolist()
    assert set(tags["author"]) == {"Ada"} and set(tags["tag"]) == {"loud"}
    age = datetime.now(UTC).replace(tzinfo=None) - tags["made_at"].max()
    assert timedelta() <= age < timedelta(minutes=5)
    found = notes_of(workspace, some.tolist())
    assert list(found) == [some[0]] and found[some[0]].text == "hum"
    notes = workspace.sql("SELECT * FROM notes")
    assert notes[["segment_id", "note", "author"]].values.tolist() == [[some[0], "hum", "Bob"]]
    assert author_name() and author_name("  A  B ") == "A B"


def test_deleted_clips_take_theirs_along_and_encoders_take_none(workspace: Workspace) -> None:
    every = ids(workspace)
    tag_segments(workspace, every, "spectrum", "Ada")  # as an encoder may be called
    note_segment(workspace, int(every[0]), "spectrum", "Ada")
    with workspace.database.write() as connection:
        forget_results(connection, "spectrum")
    assert tag_counts(workspace) == {"spectrum": len(every)}
    clip = workspace.read("SELECT clip_id FROM segments WHERE segment_id = ?", [int(every[0])])
    delete_clips(workspace, clip["clip_id"].tolist())
    assert notes_of(workspace, every.tolist()) == {}
    assert tagged_segments(workspace, "spectrum").tolist() == ids(workspace).tolist()
    assert tags_of(workspace, every[:1].tolist()) == {}


def test_check_names_what_is_on_no_segment(workspace: Workspace) -> None:
    with workspace.database.write() as connection:
        connection.execute(
            "INSERT INTO annotations VALUES (1, 'tag', 987654, 'loud', 'Ada', now()::TIMESTAMP)"
        )
    assert any("987654" in problem for problem in check_workspace(workspace))


def test_an_edit_that_changes_nothing_is_none(workspace: Workspace) -> None:
    some = ids(workspace)[:2]
    assert undo(workspace, "Ada") is None
    assert tag_segments(workspace, some, "loud", "Ada", is_removed=True).n == 0
    assert tag_segments(workspace, np.array([987654]), "loud", "Ada").n == 0
    assert undo(workspace, "Ada") is None
    for tag in ("", "  ", "x" * 81):
        with pytest.raises(ConfigError):
            tag_segments(workspace, some, tag)
    with pytest.raises(ConfigError):
        note_segment(workspace, int(some[0]), "x" * 10_001)


def test_an_edit_is_undone_by_its_number_whatever_was_written_since(workspace: Workspace) -> None:
    some = ids(workspace)[:3]
    first = tag_segments(workspace, some[:1], "loud", "Ada")
    second = tag_segments(workspace, some[1:], "loud", "Ada")  # from another window
    assert first.edit_id is not None and second.edit_id is not None
    assert tag_segments(workspace, some, "loud", "Ada").edit_id is None  # all have it
    assert undo(workspace, "Bob", first.edit_id) is None
    undone = undo(workspace, "Ada", first.edit_id)
    assert undone is not None and (undone.n, undone.edit_id) == (1, first.edit_id)
    assert tagged_segments(workspace, "loud").tolist() == some[1:].tolist()
    assert undo(workspace, "Ada", first.edit_id) is None
    assert tagged_segments(workspace, "loud").tolist() == some[1:].tolist()
    assert undo(workspace, "Ada") is not None
    # Numbers of edits that were undone are not given again.
    assert undo(workspace, "Ada") is None
    assert tag_segments(workspace, some, "loud", "Ada").edit_id not in {
        first.edit_id,
        second.edit_id,
    }
