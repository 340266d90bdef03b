"""Tags and notes that people give to segments, with who gave them and when.

The table ``annotations`` holds what was done, one row for each segment of an edit, and nothing in
it is changed; the views ``tags`` and ``notes`` are what holds now, the last word on each. So an
edit is undone by removing its rows. Its number is the time in microseconds, a larger one where
there is a larger one: one that was undone is not given again.
"""

import getpass
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from usad_workbench.core.errors import ConfigError, UnknownNameError
from usad_workbench.core.storage.workspace import Workspace

Ids = npt.NDArray[np.int64]
MAX_TAG, MAX_NOTE = 80, 10_000
"""Characters."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Edit:
    """What one call has changed."""

    n: int
    """Segments."""
    said: str
    """In words: the name of the tag, or that it was a note."""
    edit_id: int | None = None
    """By which it is undone; none where nothing was written."""


def author_name(given: str = "") -> str:
    """Who writes: the name that was given, else that of the account that runs the program.

    Raises:
        ConfigError: a name that is too long.

    >>> author_name("  Ada ")
    'Ada'
    """
    name = " ".join(given.split())
    if len(name) > MAX_TAG:
        raise ConfigError(f"Found a name of {len(name)} characters, at most {MAX_TAG}.")
    if name:
        return name
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # an account without a name, as in containers
        return "unknown"


def tag_segments(
    workspace: Workspace, segment_ids: Ids, tag: str, author: str = "", *, is_removed: bool = False
) -> Edit:
    """Gives a tag to segments, or takes it from them.

    Args:
        workspace: Where they are.
        segment_ids: Those that are gone, or that have the tag already, are left out.
        tag: Its name; spaces around it are dropped.
        author: Who does it; the account that runs the program where empty.
        is_removed: Takes the tag away.

    Returns:
        How many segments have changed; none of them, and nothing was written.

    Raises:
        ConfigError: a tag without characters, or too long.
    """
    name = " ".join(tag.split())
    if not 1 <= len(name) <= MAX_TAG:
        raise ConfigError(f"Found a tag of {len(name)} characters, expected 1 to {MAX_TAG}.")
    has_tag = "segment_id IN (SELECT segment_id FROM tags WHERE tag = ?)"
    which = has_tag if is_removed else f"NOT {has_tag}"
    kind = "untag" if is_removed else "tag"
    said = f"{'removed' if is_removed else 'added'} “{name}”"
    return _write(workspace, segment_ids, kind, name, author, said, (which, [name]))


def note_segment(workspace: Workspace, segment_id: int, text: str, author: str = "") -> Edit:
    """Writes a note on a segment in the place of the one before; an empty text removes it.

    Raises:
        ConfigError: a text that is too long.
        UnknownNameError: no such segment.
    """
    if len(text) > MAX_NOTE:
        raise ConfigError(f"Found a note of {len(text):,} characters, at most {MAX_NOTE:,}.")
    ids = np.array([segment_id], dtype=np.int64)
    edit = _write(workspace, ids, "note", text.strip(), author, "note", ("true", []))
    if not edit.n:
        raise UnknownNameError(f"The workspace has no segment {segment_id}, or not any more.")
    return edit


def undo(workspace: Workspace, author: str = "", edit_id: int | None = None) -> Edit | None:
    """Takes back an edit of somebody.

    Args:
        workspace: Where.
        author: Whose; the account that runs the program where empty, as all who write through
            one server without a name are.
        edit_id: Which; the last one where none is named.

    Returns:
        What was taken back; none where there is no such edit, or not any more.
    """
    with workspace.database.write() as connection:
        last = connection.execute(
            "SELECT kind, value, count(*), edit_id FROM annotations WHERE author = $author "
            "AND edit_id = coalesce($edit, (SELECT max(edit_id) FROM annotations "
            "WHERE author = $author)) GROUP BY ALL",
            {"author": author_name(author), "edit": edit_id},
        ).fetchone()
        if last is None:
            return None
        kind, value, n, found = last
        connection.execute("DELETE FROM annotations WHERE edit_id = ?", [found])
    said = "note" if kind == "note" else f"{'removed' if kind == 'untag' else 'added'} “{value}”"
    return Edit(n=n, said=said, edit_id=found)


def tag_counts(workspace: Workspace) -> dict[str, int]:
    """The tags that are in use and how many segments have each, by name."""
    rows = workspace.read("SELECT tag, count(*) AS n FROM tags GROUP BY tag ORDER BY tag")
    return dict(zip(rows["tag"].tolist(), rows["n"].tolist(), strict=True))


def tagged_segments(workspace: Workspace, tag: str) -> Ids:
    """The segments that have a tag, ascending; none where nobody gave it."""
    with workspace.database.read() as connection:
        found = connection.execute(
            "SELECT segment_id FROM tags WHERE tag = ? ORDER BY segment_id", [tag]
        ).fetchnumpy()
    return np.asarray(found["segment_id"], dtype=np.int64)


def tags_of(workspace: Workspace, segment_ids: Collection[int]) -> dict[int, list[str]]:
    """The tags of each of some segments that has any, by name."""
    with workspace.database.read() as connection:
        rows = connection.execute(
            "SELECT segment_id, list(tag ORDER BY tag) FROM tags "
            "WHERE list_contains(?, segment_id) GROUP BY segment_id",
            [[int(one) for one in segment_ids]],
        ).fetchall()
    return dict(rows)


@dataclass(frozen=True, kw_only=True, slots=True)
class Note:
    """A note on a segment."""

    text: str
    author: str
    made_at: str
    """ISO 8601, in UTC."""


def notes_of(workspace: Workspace, segment_ids: Collection[int]) -> dict[int, Note]:
    """The note on each of some segments that has one."""
    with workspace.database.read() as connection:
        rows = connection.execute(
            "SELECT segment_id, note, author, made_at FROM notes "
            "WHERE list_contains(?, segment_id)",
            [[int(one) for one in segment_ids]],
        ).fetchall()
    return {
        segment_id: Note(
            text=text, author=author, made_at=made_at.isoformat(timespec="seconds") + "Z"
        )
        for segment_id, text, author, made_at in rows
    }


def _write(
    workspace: Workspace,
    segment_ids: Ids,
    kind: str,
    value: str,
    author: str,
    said: str,
    which: tuple[str, list[str]],
) -> Edit:
    """Adds an edit over those segments that are there and fulfil a condition."""
    condition, parameters = which
    now = datetime.now(UTC)
    with workspace.database.write() as connection:
        connection.register("edited", pa.table({"segment_id": segment_ids}))
        ((last,),) = connection.execute("SELECT max(edit_id) FROM annotations").fetchall()
        edit_id = max((last or 0) + 1, int(now.timestamp() * 1e6))
        (n,) = connection.execute(
            "INSERT INTO annotations BY NAME SELECT ? AS edit_id, "
            "? AS kind, segment_id, ? AS value, ? AS author, ? AS made_at FROM segments "
            f"WHERE segment_id IN (SELECT segment_id FROM edited) AND {condition}",
            [edit_id, kind, value, author_name(author), now.replace(tzinfo=None), *parameters],
        ).fetchone() or (0,)
        connection.unregister("edited")
    return Edit(n=n, said=said, edit_id=edit_id if n else None)
