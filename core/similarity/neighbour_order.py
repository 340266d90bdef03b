"""Do two encoders order and weigh the neighbours of a clip alike? Finer than which ones they are.

Neighbours are those of ``mutual_knn``: by cosine, never the clip itself nor a clip of its own
cluster.
"""

import numpy as np

from usad_workbench.core.arrays import Ids, Indices, Matrix, Vectors
from usad_workbench.core.similarity.distances import normalise_rows
from usad_workbench.core.similarity.neighbours import DEFAULT_K, neighbours_in_both


def rank_similarity(
    x: Vectors, y: Vectors, k: int = DEFAULT_K, clusters: Ids | None = None
) -> float:
    """How alike the common neighbours of a clip are ranked, near ones counting most.

    Of each clip, the sum over neighbours in common of 2 / ((1 + |r - r'|) (r + r')), with r and r'
    the ranks in the two encoders, over what as many equal first ranks would give. 0 for a clip
    without common neighbours. How many are in common hardly matters: read ``mutual_knn`` for that.

    Args:
        x: Embeddings `[clip, dim]` of one encoder's layer.
        y: Embeddings `[clip, dim]` of another, the same clips in the same order.
        k: Neighbours per clip.
        clusters: Cluster id of each clip; clips of one cluster are no neighbours.

    Returns:
        The mean over clips, in [0, 1]; 1 for the same neighbours in the same order.

    Raises:
        ShapeError: other numbers of clips, or a clip with fewer than k possible neighbours.
        DegenerateError: values that are not finite, or all clips in one direction.

    Source: Wang et al. 2020 (arXiv:2007.10588), as in ReSi (Klabunde et al. 2025).

    >>> x = np.random.default_rng(0).normal(size=(30, 5))
    >>> rank_similarity(x, 2 * x, k=3)
    1.0
    """
    near_x, near_y = neighbours_in_both(x, y, k, clusters)
    ranks = np.arange(1, k + 1)
    gap, total = np.abs(ranks[:, None] - ranks), ranks[:, None] + ranks
    is_common = near_x[:, :, None] == near_y[:, None, :]
    score = np.sum(is_common * (2 / ((1 + gap) * total)), axis=(1, 2))
    best = np.concatenate([[1.0], np.cumsum(1 / ranks)])[is_common.sum(axis=(1, 2))]
    return float(np.mean(score / best))


def second_order_cosine(
    x: Vectors, y: Vectors, k: int = DEFAULT_K, clusters: Ids | None = None
) -> float:
    """How alike the distances are from a clip to its neighbours in either encoder.

    Of each clip, the cosine of its two vectors of cosine distances to all clips that are among its
    neighbours in x or in y. Distances are positive, so unrelated encoders are near 1 too: values
    order encoders and say little alone.

    Args:
        x: Embeddings `[clip, dim]` of one encoder's layer.
        y: Embeddings `[clip, dim]` of another, the same clips in the same order.
        k: Neighbours per clip in each encoder.
        clusters: Cluster id of each clip; clips of one cluster are no neighbours.

    Returns:
        The mean over clips, in [0, 1].

    Raises:
        ShapeError: other numbers of clips, or a clip with fewer than k possible neighbours.
        DegenerateError: values that are not finite, or all clips in one direction.

    Source: Hamilton et al. 2016 (arXiv:1606.02821), as in ReSi (Klabunde et al. 2025).

    >>> x = np.random.default_rng(0).normal(size=(30, 5))
    >>> round(second_order_cosine(x, 2 * x, k=3), 6)
    1.0
    """
    near_x, near_y = neighbours_in_both(x, y, k, clusters)
    near = np.hstack([near_x, near_y])
    is_new = np.ones(near.shape, dtype=np.bool_)
    is_new[:, k:] = ~np.any(near_y[:, :, None] == near_x[:, None, :], axis=2)
    a, b = (_cosine_distances(side, near) * is_new for side in (x, y))
    product = np.einsum("ij,ij->i", a, b)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    # Copies of a clip are at distance 0 of it, which has no direction.
    is_copy = norms == 0
    return float(np.mean(np.where(is_copy, 1.0, product / np.where(is_copy, 1.0, norms))))


def _cosine_distances(x: Vectors, near: Indices) -> Matrix:
    """Distances of each clip to some others `[clip, neighbour]`."""
    unit = normalise_rows(np.asarray(x, dtype=np.float64))
    cosine = np.stack([np.einsum("id,id->i", unit, unit[column]) for column in near.T], axis=1)
    return np.maximum(1.0 - cosine, 0.0)
