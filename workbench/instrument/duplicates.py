"""Groups of clips that are there more than once, a page of them with what can be heard."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from usad_workbench.core.cosine import normalise
from usad_workbench.core.storage.schema import literal
from usad_workbench.core.storage.space_names import SpaceName
from usad_workbench.indexes.duplicates import DuplicateGroup, find_duplicates
from usad_workbench.workbench.instrument.collection import View
from usad_workbench.workbench.instrument.listing import described_segments

MAX_SHOWN = 24
"""Clips of one group: of a hundred copies nobody hears all."""
MAX_COMPARED = 4000
"""Segments of one group that are compared with each other to find the passage."""


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
        clips it holds, and a segment of each of the first of them: its first, or of clips that
        share a passage the one that is nearest to another clip's.

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
    for group in page:
        if group.kind == "passage":
            segment_of |= shared_segments(view, space, group.clip_ids[:MAX_SHOWN])
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


def shared_segments(view: View, space: SpaceName, clip_ids: Sequence[str]) -> dict[str, int]:
    """The segment of each clip that is nearest to one of another clip; none of very long ones."""
    chosen = f"clip_id IN ({', '.join(literal(one) for one in clip_ids)})"
    stored = view.workspace.embeddings(space.encoder, space.layer, space.pooling, where=chosen)
    if not 1 < len(stored) <= MAX_COMPARED:
        return {}
    clips = stored.clip_ids.astype(str)
    unit = normalise(stored.vectors)
    cosines = unit @ unit.T
    cosines[clips[:, None] == clips] = -np.inf
    nearest = cosines.max(axis=1)
    found = {}
    for clip in dict.fromkeys(clips.tolist()):
        rows = np.flatnonzero(clips == clip)
        found[clip] = int(stored.segment_ids[rows[nearest[rows].argmax()]])
    return found
