"""Distance correlation: dependence of any kind between the distances of clips, not linear only."""

import numpy as np
from scipy.spatial.distance import pdist, squareform

from usad_workbench.core.arrays import Ids, Matrix, Vectors, check_aligned
from usad_workbench.core.errors import DegenerateError
from usad_workbench.core.similarity.cka import MIN_CLIPS, NORM_FLOOR, hsic1_gram


def distance_correlation(x: Vectors, y: Vectors, clusters: Ids | None = None) -> float:
    """Bias-corrected distance correlation of two embeddings of the same clips.

    The debiased CKA of distances in place of inner products: far pairs weigh less than in CKA, and
    encoders that depend on each other in any way are above 0 with enough clips. Unlike the biased
    form it is 0 on average for independent encoders, at any number of clips. Memory: clips².

    Args:
        x: Embeddings `[clip, dim]` of one encoder's layer.
        y: Embeddings `[clip, dim]` of another, the same clips in the same order.
        clusters: Cluster id of each clip; clips of one cluster are not compared.

    Returns:
        A value without unit, within -1 and 1; not squared back, as negative values have no root.

    Raises:
        ShapeError: other numbers of clips, or fewer than 4.
        DegenerateError: values that are not finite, fewer than 4 clusters, or all clips of one
            side equally far from each other.

    Source: Székely and Rizzo 2013 (J. Multivariate Analysis 117:193), over clips of
    different clusters as in ``cka``.

    >>> x = np.random.default_rng(0).normal(size=(40, 4))
    >>> round(distance_correlation(x, 3 * x[:, ::-1]), 6)
    1.0
    """
    x, y = check_aligned(x, y, MIN_CLIPS)
    a, b = _distances(x), _distances(y)
    own = [hsic1_gram(side, side, clusters) for side in (a, b)]
    for value, distances, name in zip(own, (a, b), "xy", strict=True):
        if value <= NORM_FLOOR * float(np.mean(distances**2)):
            raise DegenerateError(
                f"All distances between clips of {name} are equal, expected some nearer than "
                "others. Leave this layer out or add clips."
            )
    return float(hsic1_gram(a, b, clusters) / np.sqrt(own[0] * own[1]))


def _distances(x: Matrix) -> Matrix:
    """Euclidean distances `[clip, clip]` of the embeddings scaled to a largest value of 1."""
    largest = float(np.abs(x).max(initial=0.0))
    return np.asarray(squareform(pdist(x / largest if largest > 0 else x)))
