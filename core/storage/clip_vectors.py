"""One vector for each clip: the mean of its segments, and the clips that encoders share."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from usad_workbench.core.errors import UnknownNameError
from usad_workbench.core.storage.joined_clusters import with_joined_clusters
from usad_workbench.core.storage.workspace import Workspace

ClipVectors = npt.NDArray[np.float32]


def clip_vectors(
    workspace: Workspace, encoder: str, layer: int, clip_ids: Sequence[str]
) -> ClipVectors:
    """One vector per clip, shape [clip, dim]: the mean of its segments."""
    stored = workspace.embeddings(encoder, layer)
    position = pd.Index(clip_ids).get_indexer(stored.clip_ids)
    is_asked = position >= 0
    counts = np.bincount(position[is_asked], minlength=len(clip_ids))
    missing = [clip_id for clip_id, n in zip(clip_ids, counts, strict=True) if n == 0]
    if missing:
        raise UnknownNameError(
            f"{len(missing)} clips have no vector in {encoder} layer {layer}, such as "
            f"{missing[0]!r}. Run `usad embed --encoders {encoder}` first."
        )
    if np.array_equal(position, np.arange(len(clip_ids))):
        return stored.vectors  # one segment for each clip, in order: no copy is made
    return mean_of_segments(stored.vectors[is_asked], position[is_asked])


def mean_of_segments(vectors: ClipVectors, clips: npt.NDArray[np.intp]) -> ClipVectors:
    """One vector per clip, shape [clip, dim]: the mean of its segments.

    Args:
        vectors: Shape [segment, dim].
        clips: Number of the clip of each segment `[segment]`; every clip has one at least.

    >>> mean_of_segments(np.array([[1, 2], [3, 4], [5, 6]], np.float32), np.array([1, 0, 1]))
    array([[3., 4.],
           [3., 4.]], dtype=float32)
    """
    counts = np.bincount(clips)
    if len(counts) == len(clips):  # one segment for each clip
        return vectors[np.argsort(clips)]
    sums = np.zeros((len(counts), vectors.shape[1]), dtype=np.float64)
    np.add.at(sums, clips, vectors)
    means: ClipVectors = (sums / counts[:, None]).astype(np.float32)
    return means


def common_clips(workspace: Workspace, encoders: Sequence[str]) -> pd.DataFrame:
    """Clips whose every segment every encoder has, with domain and cluster.

    Clusters that share a recording are one.
    """
    spaces = workspace.spaces("mean")
    ids = [int(i) for i in spaces[spaces.encoder.isin(encoders)].space_id]
    conditions = " AND ".join(f"segment_id IN (SELECT segment_id FROM vectors_{i})" for i in ids)
    clips = workspace.read(
        "SELECT clip_id, domain, cluster_id, audio_sha256, samples_digest FROM clips "
        "WHERE clip_id IN (SELECT "
        f"clip_id FROM segments GROUP BY clip_id HAVING bool_and({conditions or 'true'})) "
        "ORDER BY clip_id"
    )
    return with_joined_clusters(clips)
