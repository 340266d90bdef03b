"""Clips of equal content belong together, whatever a manifest calls their clusters.

A recording that a workspace holds under two clip ids would otherwise be on both sides of a
fold. Clusters are joined, and not single clips moved: what shares a recording with a cluster is
as little independent of the rest of it as the recording is.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

CONTENT_COLUMN = "audio_sha256"
CONTENT_COLUMNS = (CONTENT_COLUMN, "samples_digest")
"""Equal bytes, and equal samples in another file; either is unknown of some clips."""


def joined_groups(
    groups: Sequence[Any] | npt.NDArray[Any], contents: Sequence[Any] | npt.NDArray[Any]
) -> npt.NDArray[np.object_]:
    """The groups, those that share a content called by the name of the first of them.

    Args:
        groups: Group of each clip.
        contents: Hash of the audio of each clip; missing where a clip has no audio.

    >>> joined_groups(["a", "b", "b", "c"], ["x", "x", "y", None]).tolist()
    ['a', 'a', 'a', 'c']
    """
    names = np.asarray(groups, dtype=object)
    group, _ = pd.factorize(names)
    content, _ = pd.factorize(np.asarray(contents, dtype=object))
    has_content = content >= 0
    if len(np.unique(content[has_content])) == has_content.sum():
        return names
    n_groups = int(group.max()) + 1
    n = n_groups + int(content.max()) + 1
    edges = coo_array(
        (
            np.ones(has_content.sum(), dtype=np.int8),
            (group[has_content], n_groups + content[has_content]),
        ),
        shape=(n, n),
    )
    component = connected_components(edges, directed=False)[1][group]
    _, first = np.unique(component, return_index=True)
    name_of = dict(zip(component[first], names[first], strict=True))
    return np.array([name_of[number] for number in component], dtype=object)


def joined_by_content(
    groups: Sequence[Any] | npt.NDArray[Any], clips: pd.DataFrame
) -> npt.NDArray[np.object_]:
    """The groups of clips, those joined that share a file or its samples.

    Args:
        groups: Group of each clip.
        clips: ``audio_sha256`` and ``samples_digest``, each where clips have audio.
    """
    names = np.asarray(groups, dtype=object)
    for column in CONTENT_COLUMNS:
        if column in clips:
            names = joined_groups(names, clips[column])
    return names


def with_joined_clusters(clips: pd.DataFrame) -> pd.DataFrame:
    """The clips with clusters of equal content under one ``cluster_id``.

    Args:
        clips: ``cluster_id`` and, where clips have audio, ``audio_sha256`` and ``samples_digest``.
    """
    if not any(column in clips for column in CONTENT_COLUMNS):
        return clips
    return clips.assign(cluster_id=joined_by_content(clips.cluster_id, clips))
