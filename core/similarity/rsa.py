"""Representational similarity analysis: do two encoders order the distances of clips alike?"""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from usad_workbench.core.arrays import (
    Ids,
    Matrix,
    Vectors,
    as_vectors,
    check_aligned,
    cluster_codes,
)
from usad_workbench.core.errors import DegenerateError
from usad_workbench.core.similarity.distances import squared_euclidean_distance

MIN_CLIPS = 3
"""Two clips have one distance: nothing to order."""


def dissimilarities(x: Vectors, clusters: Ids | None = None) -> Matrix:
    """Squared Euclidean distances of all pairs of clips of different clusters `[pair]`.

    Raises:
        ShapeError: fewer than 3 clips.
        DegenerateError: values that are not finite.

    >>> dissimilarities(np.array([[0.0], [1.0], [3.0]])).round(9).tolist()
    [1.0, 9.0, 4.0]
    """
    square = squared_euclidean_distance(as_vectors(x, "x", MIN_CLIPS))
    codes = cluster_codes(clusters, len(square))
    return np.asarray(square[np.triu(codes[:, None] != codes[None, :])])


def rsa_spearman(x: Vectors, y: Vectors, clusters: Ids | None = None) -> float:
    """Spearman correlation of the distances between clips in two embeddings.

    Invariant to any rising change of the distances. Memory: clips². Where both embeddings
    only know which clips are outliers it is far above 0: a second opinion, not a first.

    Args:
        x: Embeddings `[clip, dim]` of one encoder's layer.
        y: Embeddings `[clip, dim]` of another, the same clips in the same order.
        clusters: Cluster id of each clip; clips of one cluster are not compared.

    Returns:
        In [-1, 1].

    Raises:
        ShapeError: other numbers of clips, or fewer than 3.
        DegenerateError: values that are not finite, or all distances of one side equal.

    Source: Kriegeskorte et al. 2008; rank correlation with mid-ranks for ties.

    >>> x = np.random.default_rng(0).normal(size=(20, 4))
    >>> round(rsa_spearman(x, 2 * x), 6)
    1.0
    """
    x, y = check_aligned(x, y, MIN_CLIPS)
    codes = cluster_codes(clusters, len(x))
    a, b = (
        _centred_ranks(dissimilarities(side, codes), name) for side, name in ((x, "x"), (y, "y"))
    )
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def _centred_ranks(distances: Matrix, name: str) -> NDArray[np.float64]:
    # Distances that differ by rounding only are ties.
    scale = float(distances.max(initial=0.0))
    ranks = rankdata(np.round(distances / scale, 12)) if scale > 0 else np.zeros(len(distances))
    centred = np.asarray(ranks - ranks.mean(), dtype=np.float64)
    if not np.any(centred):
        raise DegenerateError(
            f"All distances between clips of {name} are equal, expected some nearer than others. "
            "Leave this layer out or add clips."
        )
    return centred
