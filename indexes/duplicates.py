"""Clips that are there twice: of equal content, and near copies by embedding.

Content tells copies of a file and the same samples in another file. What was encoded again, cut
or made louder is told by vectors: all pairs of segments of different clips whose cosine reaches a
threshold, found exactly. Rows are put in the order of their first principal component: two of them
that are near lie near there too, so that each block is compared with a band of the others.
Memory grows with the vectors and the pairs found, never with all pairs.

Measured: 100,000 vectors of 384 values in 200 clusters, threshold 0.995, took 22 processor seconds
and 0.8 GB. On 1,134 clips of the sample data and ``usad-demo``'s last layer 36 of 642,000 pairs
reach 0.995, all of them takes of one sound or parts of one piece; of forty clips 95 % were found
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
    embedded = set(stored.clip_ids)
    copies = {
        clip_id
        for group in equal
        for clip_id in [one for one in group.clip_ids if one in embedded][1:]
    }
    kept = np.flatnonzero([clip_id not in copies for clip_id in stored.clip_ids])
    clips, names = pd.factorize(stored.clip_ids[kept], sort=True)
    pairs = close_pairs(stored.vectors[kept], clips, threshold, progress)
    return equal + _near(pairs, clips, [str(name) for name in names])


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
        vectors: Shape [row, dim]; a row of zeros is near nothing.
        groups: Shape [row].
        threshold: The least cosine.
        progress: Called after each block.

    Raises:
        ConfigError: more pairs than can be kept.

    >>> pairs = close_pairs(np.array([[1, 0], [0, 1], [2, 0]], np.float32), np.arange(3), 0.9)
    >>> pairs.first, pairs.second, pairs.scores
    (array([0]), array([2]), array([1.], dtype=float32))
    """
    if len(vectors) < 2:
        nothing = np.empty(0, np.int64)
        return ClosePairs(first=nothing, second=nothing, scores=np.empty(0, np.float32))
    unit = normalise(vectors)
    place = unit @ _direction(unit)
    order = np.argsort(place, kind="stable")
    unit, place, group = unit[order], place[order], groups[order]
    found: list[tuple[Rows, Rows, FloatArray]] = []
    n_pairs = 0
    for start in range(0, len(unit), BLOCK_ROWS):
        for first, second in _candidates(unit, place, group, start, threshold):
            scores = np.einsum(
                "ij,ij->i", unit[first], unit[second], dtype=np.float64, casting="same_kind"
            ).astype(np.float32)
            near = scores >= np.float32(threshold)
            ends = np.sort(np.stack([order[first[near]], order[second[near]]]), axis=0)
            found.append((ends[0], ends[1], np.minimum(scores[near], np.float32(1))))
            n_pairs += int(near.sum())
            if n_pairs > MAX_PAIRS:
                raise ConfigError(
                    f"More than {MAX_PAIRS:,} pairs of segments have a cosine of {threshold} or "
                    "more: in this space nearly all are near. Raise the threshold, or take "
                    "another layer."
                )
        progress(min(start + BLOCK_ROWS, len(unit)), len(unit), "compare")
    first, second, scores = (np.concatenate(part) for part in zip(*found, strict=True))
    return ClosePairs(first=first, second=second, scores=scores)


def _direction(unit: FloatArray) -> FloatArray:
    """The first principal component of a sample of the rows, at length one."""
    sample = unit[:: max(1, len(unit) // SAMPLE_ROWS)].astype(np.float64)
    _, axes = np.linalg.eigh(np.cov(sample, rowvar=False).reshape(unit.shape[1], -1))
    direction: FloatArray = axes[:, -1].astype(np.float32)
    return direction


def _candidates(
    unit: FloatArray, place: FloatArray, group: Rows, start: int, threshold: float
) -> Iterator[tuple[Rows, Rows]]:
    """Pairs of a block's rows with later ones of other groups that may be near, some at a time.

    Their places differ by no more than they do: |u - v|^2 = 2 - 2 cos.
    """
    end = min(start + BLOCK_ROWS, len(unit))
    radius = np.sqrt(max(2 - 2 * threshold, 0)) + SLACK
    last = int(np.searchsorted(place, place[end - 1] + radius, side="right"))
    for left in range(start, last, BAND_ROWS):
        right = min(left + BAND_ROWS, last)
        products = unit[start:end] @ unit[left:right].T
        first, second = np.nonzero(products >= threshold - SLACK)
        first, second = first + start, second + left
        wanted = np.flatnonzero((second > first) & (group[first] != group[second]))
        for part in range(0, len(wanted), PAIRS):
            pairs = wanted[part : part + PAIRS]
            yield first[pairs], second[pairs]


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


def _near(pairs: ClosePairs, clips: Rows, names: list[str]) -> list[DuplicateGroup]:
    """The groups of near clips, and of those that share a passage; best first."""
    n_segments = np.bincount(clips, minlength=len(names))
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
    kind: Kind, links: pd.DataFrame, scores: "pd.Series[float]", names: list[str]
) -> list[DuplicateGroup]:
    """Connected components of the links."""
    if links.empty:
        return []
    shape = (len(names), len(names))
    graph = coo_array((np.ones(len(links), np.int8), (links.low, links.high)), shape=shape)
    component = connected_components(graph, directed=False)[1]
    weakest = scores.groupby(component[links.low.to_numpy()]).min()
    members = pd.Series(names).groupby(component)
    groups = [
        DuplicateGroup(
            kind=kind, clip_ids=sorted(members.get_group(number)), score=round(float(score), 6)
        )
        for number, score in weakest.items()
    ]
    return sorted(groups, key=lambda group: (-group.score, group.clip_ids))
