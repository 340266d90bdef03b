"""Groups of clips that are there more than once, a page of them with what can be heard."""

from typing import Any

from usad_workbench.core.storage.space_names import SpaceName
from usad_workbench.indexes.duplicates import DuplicateGroup, find_duplicates
from usad_workbench.workbench.instrument.collection import View
from usad_workbench.workbench.instrument.listing import described_segments

MAX_SHOWN = 24
"""Clips of one group: of a hundred copies nobody hears all."""


def duplicates(view: View, space: SpaceName, offset: int, limit: int) -> dict[str, Any]:
    """Groups of equal clips, and of near ones by a space's vectors.

    They are looked for once until somebody writes.

    Args:
        view: Of the collection.
        space: Whose vectors tell near copies.
        offset: Groups before the first of the page.
        limit: How many.

    Returns:
        How many groups there are, and of each one of the page its kind, its score, how many
        clips it holds, and the first segment of each of the first of them.

    Raises:
        UnknownNameError: no such space.
    """
    groups: list[DuplicateGroup] = view.kept_now(
        ("duplicates", space),
        lambda: find_duplicates(view.workspace, space.encoder, space.layer, pooling=space.pooling),
        lambda found: sum(100 * len(group.clip_ids) for group in found),
    )
    page = groups[offset : offset + limit]
    shown = [clip for group in page for clip in group.clip_ids[:MAX_SHOWN]]
    first = view.workspace.read(
        "SELECT clip_id, arg_min(segment_id, start_s) AS segment_id FROM segments "
        "WHERE clip_id IN (SELECT unnest(?)) GROUP BY clip_id",
        [shown],
    )
    segment_of = dict(zip(first.clip_id, first.segment_id.tolist(), strict=True))
    rows = {row["clip_id"]: row for row in described_segments(view, list(segment_of.values()))}
    return {
        "n": len(groups),
        "groups": [
            {
                "kind": group.kind,
                "score": group.score,
                "n": len(group.clip_ids),
                "rows": [rows[one] for one in group.clip_ids[:MAX_SHOWN] if one in rows],
            }
            for group in page
        ],
    }
