"""What each clip adds to a similarity: shares whose mean over clips is the value."""

import math

import numpy as np

from usad_workbench.core.arrays import Ids, Matrix, Vectors, check_aligned
from usad_workbench.core.similarity._cka_layers import prepare_gram
from usad_workbench.core.similarity.cka import MIN_CLIPS, u_centre
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

    For debiased CKA the clip's row of the inner product of the two U-centred Gram matrices
    (HSIC_1 is their mean, a U-statistic), over the norms; for mutual k-NN the overlap.

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
    a, b = u_centre(prepare_gram(x, "x")), u_centre(prepare_gram(y, "y"))
    norm = math.sqrt(float(np.sum(a**2)) * float(np.sum(b**2)))
    return np.asarray(len(x) * np.sum(a * b, axis=1) / norm)
