"""What is made of hits: the best segment of each clip, hits that differ, agreement of spaces."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from usad_workbench.core.metrics import Metric, check_k
from usad_workbench.core.storage.workspace import SearchHits, Workspace
from usad_workbench.indexes.agreement import overlap_at_k, rank_biased_overlap
from usad_workbench.indexes.diversity import maximal_marginal_relevance
from usad_workbench.indexes.hits import Ids
from usad_workbench.indexes.opened import open_space

Ask = Callable[[int], SearchHits]
"""Gives so many hits of one query."""
MORE = 4
"""So many times as many segments are asked for as clips, and so many times more if they are few."""
POOL = 5
"""So many times as many hits as are wanted are chosen from, and at least 50."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """How far the hits of two spaces are the same."""

    first: str
    second: str
    overlap_at_k: float
    rank_biased_overlap: float


def best_of_clips(workspace: Workspace, ask: Ask, k: int) -> SearchHits:
    """The k clips with the best segments, each with its best segment; best first.

    Segments are asked for until there are k clips, or no more segments: a clip of hours may fill
    the first thousand hits alone.

    Args:
        workspace: Says to which clip a segment belongs.
        ask: Gives so many segments.
        k: How many clips.
    """
    wanted = MORE * check_k(k)
    while True:
        hits = ask(wanted)
        _, first = np.unique(clips_of(workspace, hits.segment_ids), return_index=True)
        if len(first) >= k or len(hits.segment_ids) < wanted:
            rows = np.sort(first)[:k]
            return replace(hits, segment_ids=hits.segment_ids[rows], scores=hits.scores[rows])
        wanted *= MORE


def diverse(
    workspace: Workspace,
    space: tuple[str, int, str],
    ask: Ask,
    k: int,
    weight: float,
    metric: Metric = "cosine",
) -> SearchHits:
    """The k hits of maximal marginal relevance, in the order in which they were chosen.

    Args:
        workspace: Holds the vectors.
        space: Encoder, layer and pooling that were searched.
        ask: Gives so many hits: five times as many as are wanted, and at least 50.
        k: How many are wanted.
        weight: 1 is by relevance alone, 0 by diversity alone.
        metric: By which was searched.

    Raises:
        ConfigError: a weight outside of 0 to 1, or a ``k`` below 1.
    """
    hits = ask(max(50, POOL * check_k(k)))
    stored = open_space(workspace, *space).stored
    rows = maximal_marginal_relevance(hits.scores, stored.rows(hits.segment_ids), k, weight, metric)
    return replace(hits, segment_ids=hits.segment_ids[rows], scores=hits.scores[rows])


def agreements(hits: Mapping[str, Sequence[int]], k: int) -> list[Agreement]:
    """How far the rankings of each two spaces agree; without those that found nothing.

    >>> agreements({"a": [1, 2], "b": [2, 1]}, 2)[0].overlap_at_k
    1.0
    """
    return [
        Agreement(
            first=first,
            second=second,
            overlap_at_k=overlap_at_k(hits[first], hits[second], k),
            rank_biased_overlap=rank_biased_overlap(hits[first], hits[second]),
        )
        for first, second in combinations(hits, 2)
        if len(hits[first]) or len(hits[second])
    ]


def clips_of(workspace: Workspace, segment_ids: Ids) -> npt.NDArray[np.object_]:
    """The clips of segments, in their order."""
    asked = pa.table({"segment_id": segment_ids, "row": np.arange(len(segment_ids))})
    with workspace.database.read() as connection:
        connection.register("asked", asked)
        clips: npt.NDArray[np.object_] = connection.execute(
            'SELECT clip_id FROM asked JOIN segments USING (segment_id) ORDER BY "row"'
        ).fetchnumpy()["clip_id"]
    return np.asarray(clips, object)
