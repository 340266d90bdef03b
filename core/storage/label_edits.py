"""Labels that people give to clips, with who gave them, when, and what was there before.

``clips.label`` is what holds now, and what every command reads. The table ``label_edits`` is how it
came to be so, one row for each clip of an edit. Scores keep the labels that they were made with:
``tasks_behind`` says of which tasks that is no longer what holds.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

import pandas as pd
import pyarrow as pa

from usad_workbench.core.errors import ConfigError
from usad_workbench.core.storage.annotations import Edit, Ids, author_name
from usad_workbench.core.storage.workspace import Workspace

MAX_LABEL = 200
"""Characters."""
LABEL = "label"
"""The column of clips that is edited."""


def label_clips(
    workspace: Workspace, clip_ids: Sequence[str], label: str, author: str = ""
) -> Edit:
    """Gives a label to clips in the place of their own; an empty one takes it away.

    Args:
        workspace: Where they are.
        clip_ids: Those that are gone, or that have the label already, are left out.
        label: Spaces around it are dropped.
        author: Who does it; the account that runs the program where empty.

    Returns:
        How many clips have changed; none of them, and nothing was written.

    Raises:
        ConfigError: a label that is too long.
    """
    name = " ".join(label.split())
    if len(name) > MAX_LABEL:
        raise ConfigError(f"Found a label of {len(name)} characters, at most {MAX_LABEL}.")
    now = datetime.now(UTC)
    with workspace.database.write() as connection:
        asked = pa.table({"clip_id": pa.array(clip_ids, pa.string())})
        connection.register("asked_clips", asked)
        ((last,),) = connection.execute("SELECT max(edit_id) FROM label_edits").fetchall()
        edit_id = max((last or 0) + 1, int(now.timestamp() * 1e6))
        ((n,),) = connection.execute(
            "INSERT INTO label_edits BY NAME SELECT $edit AS edit_id, clip_id, label AS former, "
            "nullif($label, '') AS label, $author AS author, $made_at AS made_at FROM clips "
            "WHERE clip_id IN (SELECT clip_id FROM asked_clips) "
            "AND label IS DISTINCT FROM nullif($label, '')",
            {
                "edit": edit_id,
                "label": name,
                "author": author_name(author),
                "made_at": now.replace(tzinfo=None),
            },
        ).fetchall()
        connection.unregister("asked_clips")
        if n:
            connection.execute(
                "UPDATE clips SET label = e.label FROM label_edits e "
                "WHERE e.clip_id = clips.clip_id AND e.edit_id = ?",
                [edit_id],
            )
    said = f"labelled “{name}”" if name else "label removed"
    return Edit(n=n, said=said, edit_id=edit_id if n else None)


def clips_of(workspace: Workspace, segment_ids: Ids) -> list[str]:
    """The clips that segments are of, each once, by name."""
    with workspace.database.read() as connection:
        connection.register("asked_segments", pa.table({"segment_id": segment_ids}))
        rows = connection.execute(
            "SELECT DISTINCT clip_id FROM segments "
            "WHERE segment_id IN (SELECT segment_id FROM asked_segments) ORDER BY clip_id"
        ).fetchall()
        connection.unregister("asked_segments")
    return [clip_id for (clip_id,) in rows]


def undo_labels(workspace: Workspace, edit_id: int) -> Edit:
    """Gives clips back the label that they had before an edit, and forgets the edit.

    A clip that has got another label since keeps it.

    Returns:
        How many clips have their former label again.
    """
    with workspace.database.write() as connection:
        ((n,),) = connection.execute(
            "UPDATE clips SET label = e.former FROM label_edits e WHERE e.clip_id = clips.clip_id "
            "AND e.edit_id = $edit AND NOT EXISTS (SELECT 1 FROM label_edits later "
            "WHERE later.clip_id = e.clip_id AND later.edit_id > $edit)",
            {"edit": edit_id},
        ).fetchall()
        connection.execute("DELETE FROM label_edits WHERE edit_id = ?", [edit_id])
    return Edit(n=n, said="labels as before", edit_id=edit_id)


def label_history(workspace: Workspace) -> pd.DataFrame:
    """All edits, the last one first: ``clip_id, former, label, author, made_at`` (UTC)."""
    return workspace.read(
        "SELECT clip_id, former, label, author, made_at FROM label_edits "
        "ORDER BY edit_id DESC, clip_id"
    )


def tasks_behind(workspace: Workspace) -> dict[str, int]:
    """Tasks with clips that have another label than when they were evaluated, and how many.

    What was right has become wrong there, or the other way round; ``usad evaluate`` mends it.
    """
    rows = workspace.read(
        "SELECT p.task, count(DISTINCT p.clip_id) AS n FROM predictions p "
        f"JOIN tasks t ON t.task = p.task AND t.label_column = '{LABEL}' "
        "JOIN clips c ON c.clip_id = p.clip_id "
        "WHERE c.clip_id IN (SELECT clip_id FROM label_edits) "
        "AND p.correct <> coalesce(p.predicted = c.label, false) GROUP BY p.task ORDER BY p.task"
    )
    return dict(zip(rows["task"].tolist(), rows["n"].tolist(), strict=True))
