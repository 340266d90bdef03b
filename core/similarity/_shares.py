"""What each clip adds to a similarity: shares whose mean over clips is the value."""

import numpy as np

from usad_workbench.core.arrays import Ids, Matrix, Vectors, check_aligned, cluster_codes
from usad_workbench.core.similarity._cka_layers import dual, prepare_gram
from usad_workbench.core.similarity._cluster_hsic import check_cluster_number
from usad_workbench.core.similarity.cka import MIN_CLIPS, standardised
from usad_workbench.core.similarity.layers import Measure
from usad_workbench.core.similarity.neighbours import DEFAULT_K, neighbour_overlap


def clip_shares(
    x: Vectors,
    y: Vectors,
    clusters: Ids,
    *,
    measure: Measure = "debiased_linear_cka",
    k: int = DEFAULT_K,
) -> Matrix:
    """What each clip adds to the similarity of two encoders; the mean is the similarity.

    For CKA the clip's row of the inner product that HSIC is (``_cka_layers.dual``), over the
    norms; for mutual k-NN the overlap.

    Args:
        x: Embeddings `[clip, dim]`.
        y: The same clips of another encoder.
        clusters: Cluster id of each clip.
        measure: Which similarity.
        k: Neighbours per clip, for ``mutual_knn``.

    Returns:
        `[clip]`.

    Raises:
        ShapeError: other numbers of clips, or too few.
        DegenerateError: values that are not finite, or an encoder without geometry.

    >>> x = np.random.default_rng(0).normal(size=(20, 4))
    >>> round(float(clip_shares(x, x, list(range(20))).mean()), 6)
    1.0
    """
    if measure == "mutual_knn":
        return neighbour_overlap(x, y, k, clusters)
    x, y = check_aligned(x, y, MIN_CLIPS)
    codes = cluster_codes(clusters, len(x))
    check_cluster_number(codes)
    if measure == "standardised_linear_cka":
        x, y = standardised(x, "x", codes), standardised(y, "y", codes)
    a, b = dual(prepare_gram(x, "x", codes), codes), prepare_gram(y, "y", codes)
    return np.asarray(len(x) * np.sum(a * b, axis=1))
