"""Clips that are there twice: of equal content, and near copies by embedding.

Content tells copies of a file and the same samples in another file. What was encoded again, cut
or made louder is told by vectors: all pairs of segments of different clips whose cosine reaches a
threshold, which ``close_pairs`` finds exactly.

On the 1,134 clips of the sample data and ``usad-demo``'s last layer 36 of 642,000 pairs reach 0.995, all of them takes of one sound or parts of one piece; of forty clips 95 % were found
again after Vorbis, 93 % after a cut of 2 %, 90 % at half the level (at 0.9942), 45 % after MP3, 42 %
after a cut of 10 %. Tried and dropped: vectors less the mean of their space, or divided by their
spread. At as many other pairs they found fewer (Vorbis 95 %, cut 78 and 72 %, level 75 and 70 %).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from usad_workbench.core.errors import ConfigError
from usad_workbench.core.progress import Progress, no_progress
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.indexes.close_pairs import ClosePairs, Rows, close_pairs

Kind = Literal["file", "samples", "near", "passage"]

THRESHOLD = 0.995
LEFT_OUT = -1
"""The group of rows that are not compared."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DuplicateGroup:
    """Clips that are linked as duplicates, directly or through others of the group."""

    kind: Kind
    """``file``: equal bytes. ``samples``: equal sound in several files. ``near``: every segment of
    the shorter clip has a near one in the other. ``passage``: some have."""
    clip_ids: list[str]
    """By name."""
    score: float
    """The cosine of the weakest link; 1 for equal content."""


def find_duplicates(
    workspace: Workspace,
    encoder: str | None = None,
    layer: int = -1,
    *,
    pooling: str = "mean",
    threshold: float = THRESHOLD,
    progress: Progress = no_progress,
) -> list[DuplicateGroup]:
    """Groups of clips that are there more than once, equal ones first.

    A group holds what is linked: of three of which the first is near the second and the second
    near the third, all are one group. Of clips of equal content the first by name that has
    vectors stands for all among the near ones.

    Args:
        workspace: Where they are.
        encoder: Whose vectors tell near copies; none are looked for where none.
        layer: Of the encoder; negative counts from the end.
        pooling: How frames became vectors.
        threshold: The least cosine of two segments that are near.
        progress: Called after each block of vectors.

    Raises:
        ConfigError: a threshold outside 0 to 1, or one that nearly all pairs reach.
        UnknownNameError: no such space.
    """
    if not 0 < threshold <= 1:
        raise ConfigError(
            f"Found a threshold of {threshold}, expected a cosine above 0, at most 1."
        )
    equal = _equal(workspace, "audio_sha256", "file") + _equal(
        workspace, "samples_digest", "samples"
    )
    if encoder is None:
        return equal
    stored = workspace.embeddings(encoder, layer, pooling)
    names = pc.unique(stored.clips).sort()
    clips = pc.index_in(stored.clips, value_set=names).to_numpy().astype(np.int64)
    copies = [number for group in equal for number in _numbers(group.clip_ids, names)[1:]]
    groups = np.where(np.isin(clips, copies), LEFT_OUT, clips)
    return equal + _near(close_pairs(stored.vectors, groups, threshold, progress), groups, names)


def _numbers(clip_ids: list[str], names: pa.StringArray) -> list[int]:
    """The places of clips among names; of those that are there."""
    places = pc.index_in(pa.array(clip_ids, names.type), value_set=names)
    return [int(place) for place in places.drop_null().to_pylist()]


def n_unmeasured(workspace: Workspace) -> int:
    """Clips whose samples were not hashed when they were imported, by an earlier version."""
    rows = workspace.read(
        "SELECT count(*) AS n FROM clips WHERE audio_sha256 IS NOT NULL AND samples_digest IS NULL"
    )
    return int(rows.n[0])


def n_without_vectors(workspace: Workspace, encoder: str, layer: int) -> int:
    """Clips without a vector in a space, whose near copies are not looked for."""
    space = workspace.space(encoder, layer)
    rows = workspace.read(
        "SELECT count(*) AS n FROM clips WHERE clip_id NOT IN (SELECT clip_id FROM segments "
        f"SEMI JOIN vectors_{space.space_id} USING (segment_id))"
    )
    return int(rows.n[0])


def _equal(workspace: Workspace, column: str, kind: Kind) -> list[DuplicateGroup]:
    """Clips that share a hash; of equal samples only those that are more than one file."""
    rows = workspace.read(
        f"SELECT list(clip_id ORDER BY clip_id) AS clip_ids FROM clips WHERE {column} IS NOT NULL "
        f"GROUP BY {column} HAVING count(*) > 1 AND (count(DISTINCT audio_sha256) > 1 OR $1) "
        "ORDER BY clip_ids",
        [kind == "file"],
    )
    return [
        DuplicateGroup(kind=kind, clip_ids=[str(one) for one in ids], score=1.0)
        for ids in rows.clip_ids
    ]


def _near(pairs: ClosePairs, clips: Rows, names: pa.StringArray) -> list[DuplicateGroup]:
    """The groups of near clips, and of those that share a passage; best first."""
    n_segments = np.bincount(clips[clips >= 0], minlength=len(names))
    ends = np.stack([clips[pairs.first], clips[pairs.second]])
    rows = np.stack([pairs.first, pairs.second])
    # The end of each pair with the fewer segments; of equally many the first by name.
    shorter = np.lexsort((ends.T, n_segments[ends].T), axis=1)[:, 0]
    frame = pd.DataFrame(
        {
            "low": ends.min(axis=0),
            "high": ends.max(axis=0),
            "clip": ends[shorter, np.arange(len(shorter))],
            "row": rows[shorter, np.arange(len(shorter))],
            "score": pairs.scores,
        }
    )
    best = frame.groupby(["low", "high", "clip", "row"]).score.max()
    links = best.groupby(["low", "high", "clip"]).agg(["size", "min", "max"]).reset_index()
    is_whole = links["size"].to_numpy() == n_segments[links["clip"].to_numpy()]
    whole, part = links[is_whole], links[~is_whole]
    return [
        *_groups("near", whole, whole["min"], names),
        *_groups("passage", part, part["max"], names),
    ]


def _groups(
    kind: Kind, links: pd.DataFrame, scores: "pd.Series[float]", names: pa.StringArray
) -> list[DuplicateGroup]:
    """Connected components of the links."""
    if links.empty:
        return []
    clips, ends = np.unique(links[["low", "high"]].to_numpy(), return_inverse=True)
    low, high = ends.reshape(-1, 2).T
    graph = coo_array((np.ones(len(links), np.int8), (low, high)), shape=(len(clips), len(clips)))
    component = connected_components(graph, directed=False)[1]
    weakest = scores.groupby(component[low]).min()
    members = pd.Series(names.take(clips).to_pylist()).groupby(component)
    groups = [
        DuplicateGroup(
            kind=kind, clip_ids=sorted(members.get_group(number)), score=round(float(score), 6)
        )
        for number, score in weakest.items()
    ]
    return sorted(groups, key=lambda group: (-group.score, group.clip_ids))
