"""Clips that are there twice: of equal content, and near copies by embedding.

Content tells copies of a file and the same samples in another file. What was encoded again, cut
or made louder is told by vectors: all pairs of segments of different clips whose cosine reaches a
threshold, found exactly. Rows are put in the order of their first principal component: two of them
that are near lie near there too, so that each block is compared with a band of the others. Rows are
read from their memory map where they are compared: memory grows by 30 bytes a segment and with the
pairs found, neither with the vectors nor with all pairs.

Measured: 100,000 vectors of 384 values in 400 clusters took 7.5 processor seconds of one core at the
threshold 0.995, 27 at 0.9, and 110 MB beside the map; with all vectors held in memory 7.6, 25 and
450 MB, with the same groups.

On the 1,134 clips of the sample data and ``usad-demo``'s last layer 36 of 642,000 pairs reach 0.995, all of them takes of one sound or parts of one piece; of forty clips 95 % were found
again after Vorbis, 93 % after a cut of 2 %, 90 % at half the level (at 0.9942), 45 % after MP3, 42 %
after a cut of 10 %. Tried and dropped: vectors less the mean of their space, or divided by their
spread. At as many other pairs they found fewer (Vorbis 95 %, cut 78 and 72 %, level 75 and 70 %).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from usad_workbench.core.cosine import normalise
from usad_workbench.core.errors import ConfigError
from usad_workbench.core.progress import Progress, no_progress
from usad_workbench.core.storage.workspace import Workspace

Kind = Literal["file", "samples", "near", "passage"]
Rows = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]

THRESHOLD = 0.995
BLOCK_ROWS = 1024
BAND_ROWS = 8192
"""Rows that are compared at once: products of 34 MB."""
PAIRS = 16_384
"""Whose rows are laid side by side at once: of all pairs of two blocks they are 25 GB."""
MAX_PAIRS = 10_000_000
"""Of segments, 240 MB; more are no duplicates but a space in which all is near."""
SAMPLE_ROWS = 10_000
"""The direction by which rows are put in order is that of a part of them."""
LEFT_OUT = -1
"""The group of rows that are not compared."""
SLACK = 1e-4
"""Of products in float32, which are computed again where they come near the threshold."""


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


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ClosePairs:
    """Pairs of rows whose cosine reaches a threshold."""

    first: Rows
    second: Rows
    """Shape [pair] each."""
    scores: FloatArray
    """Cosines [pair]."""


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


def close_pairs(
    vectors: FloatArray, groups: Rows, threshold: float, progress: Progress = no_progress
) -> ClosePairs:
    """All pairs of rows of different groups whose cosine reaches a threshold, exactly.

    Args:
        vectors: Shape [row, dim]; a memory map is read in blocks. A row of zeros is near nothing.
        groups: Shape [row]; rows of a negative one are left out.
        threshold: The least cosine.
        progress: Called after each block.

    Raises:
        ConfigError: more pairs than can be kept.

    >>> pairs = close_pairs(np.array([[1, 0], [0, 1], [2, 0]], np.float32), np.arange(3), 0.9)
    >>> pairs.first, pairs.second, pairs.scores
    (array([0]), array([2]), array([1.], dtype=float32))
    """
    nothing = np.empty(0, np.int64)
    found: list[tuple[Rows, Rows, FloatArray]] = [(nothing, nothing, np.empty(0, np.float32))]
    n_pairs = 0
    rows, place = _in_order(vectors, np.flatnonzero(groups >= 0))
    for start in range(0, len(rows), BLOCK_ROWS):
        for first, second, scores in _near_a_block(vectors, rows, place, start, threshold):
            wanted = np.flatnonzero(
                (scores >= np.float32(threshold)) & (groups[first] != groups[second])
            )
            ends = np.sort(np.stack([first[wanted], second[wanted]]), axis=0)
            found.append((ends[0], ends[1], np.minimum(scores[wanted], np.float32(1))))
            n_pairs += len(wanted)
            if n_pairs > MAX_PAIRS:
                raise ConfigError(
                    f"More than {MAX_PAIRS:,} pairs of segments have a cosine of {threshold} or "
                    "more: in this space nearly all are near. Raise the threshold, or take "
                    "another layer."
                )
        progress(min(start + BLOCK_ROWS, len(rows)), len(rows), "compare")
    first, second, scores = (np.concatenate(part) for part in zip(*found, strict=True))
    return ClosePairs(first=first, second=second, scores=scores)


def _in_order(vectors: FloatArray, rows: Rows) -> tuple[Rows, FloatArray]:
    """Rows by their places along the first principal component of a part of them, and the places."""
    place = np.empty(len(rows), np.float32)
    if not len(rows):
        return rows, place
    sample = normalise(vectors[rows[:: max(1, len(rows) // SAMPLE_ROWS)]]).astype(np.float64)
    covariance = np.cov(sample, rowvar=False, bias=True).reshape(vectors.shape[1], -1)
    direction = np.linalg.eigh(covariance)[1][:, -1].astype(np.float32)
    for start in range(0, len(rows), BAND_ROWS):
        part = slice(start, start + BAND_ROWS)
        place[part] = normalise(vectors[rows[part]]) @ direction
    order = np.argsort(place, kind="stable")
    return rows[order], place[order]


def _near_a_block(
    vectors: FloatArray, rows: Rows, place: FloatArray, start: int, threshold: float
) -> Iterator[tuple[Rows, Rows, FloatArray]]:
    """Pairs of a block's rows with later ones that may be near, and their cosines, some at a time.

    Their places differ by no more than they do: |u - v|^2 = 2 - 2 cos.
    """
    block = rows[start : start + BLOCK_ROWS]
    ours = normalise(vectors[block])
    radius = np.sqrt(max(2 - 2 * threshold, 0)) + SLACK
    last = int(np.searchsorted(place, place[start + len(block) - 1] + radius, side="right"))
    for left in range(start, last, BAND_ROWS):
        band = rows[left : min(left + BAND_ROWS, last)]
        theirs = normalise(vectors[band])
        first, second = np.nonzero(ours @ theirs.T >= threshold - SLACK)
        is_later = np.flatnonzero(second + left > first + start)
        for at in range(0, len(is_later), PAIRS):
            pairs = is_later[at : at + PAIRS]
            one, other = first[pairs], second[pairs]
            scores = np.einsum(
                "ij,ij->i", ours[one], theirs[other], dtype=np.float64, casting="same_kind"
            )
            yield block[one], band[other], scores.astype(np.float32)


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
