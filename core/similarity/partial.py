"""Partial similarity: does a teacher look similar only through another one?

U-centred matrices of clips × clips form an inner-product space: the part of two of them that
others span is taken out, and the cosine of what is left is the partial similarity. With distances
in place of products this is the partial distance correlation of Székely and Rizzo.
``partial_cka`` compares clips of different clusters only: clusters in common are no similarity
(``_gram_products``).

It adjusts for what the covariate measures and no more. A control that is a noisy copy of the
shared content under-adjusts: .41 is left with one control where nothing was copied. So it answers
whether B is near only because it is like A, and never what was inherited; that is ``excess``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import pdist, squareform

from usad_workbench.core.arrays import Ids, Matrix, Vectors, as_vectors, cluster_codes
from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.similarity._gram_products import gram_products, unit_grams
from usad_workbench.core.similarity.cka import MIN_CLIPS, u_centre
from usad_workbench.core.similarity.resampling import (
    jackknife_groups,
    jackknife_limits,
    too_few_clusters,
)

SPAN_FLOOR = 1e-8
"""What is left of a matrix below this share of it lies in the span of the others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Partial:
    """Similarity to one teacher with the others taken out."""

    value: float
    ci_low: float
    ci_high: float
    """95% delete-one-cluster jackknife."""
    plain: float
    """Debiased linear CKA with nothing taken out, over clips of different clusters."""
    n_clips: int
    n_clusters: int
    reason: str


def partial_cka(
    student: Vectors, teachers: Mapping[str, Vectors], clusters: Ids
) -> dict[str, Partial]:
    """Debiased linear CKA of the student with each teacher, all other teachers taken out.

    Args:
        student: Embeddings `[clip, dim]`.
        teachers: The same clips of at least two teachers.
        clusters: Cluster id of each clip.

    Raises:
        ShapeError: fewer than two teachers, other numbers of clips, or fewer than 4.
        DegenerateError: values that are not finite, an encoder without geometry.

    Source: Székely and Rizzo 2014 (Annals of Statistics 42:2382), sec. 3, with linear kernels.

    >>> rng = np.random.default_rng(0)
    >>> a = rng.normal(size=(200, 20))
    >>> b = a + rng.normal(size=(200, 20))
    >>> found = partial_cka(a[:, ::-1], {"a": a, "b": b}, list(range(200)))
    >>> found["a"].value > 0.9, abs(found["b"].value) < 0.1, found["b"].plain > 0.3
    (True, True, True)
    """
    if len(teachers) < 2:
        raise ShapeError(
            f"There are {len(teachers)} teachers, expected at least 2: one to look at and one to "
            "take out."
        )
    grams = unit_grams([student, *teachers.values()])
    codes = cluster_codes(clusters, len(grams[0]))
    products = gram_products(grams, codes, jackknife_groups(codes, len(codes)))
    reason = too_few_clusters(int(codes.max()) + 1)
    results = {}
    for row, name in enumerate(teachers, start=1):
        value = partial_of(products.whole, 0, row)
        low, high = np.nan, np.nan
        if not reason:
            left_out = np.array([partial_of(one, 0, row) for one in products.left_out])
            limits = jackknife_limits(np.asarray(value), left_out, largest=1.0)
            low, high = float(limits[0]), float(limits[1])
        scale = np.sqrt(products.whole[0, 0] * products.whole[row, row])
        results[name] = Partial(
            value=value,
            ci_low=low,
            ci_high=high,
            plain=float(products.whole[0, row] / scale),
            n_clips=len(codes),
            n_clusters=int(codes.max()) + 1,
            reason=reason,
        )
    return results


def partial_distance_correlation(x: Vectors, y: Vectors, given: Sequence[Vectors]) -> float:
    """Distance correlation (bias-corrected, not squared back) with the others taken out.

    Args:
        x: Embeddings `[clip, dim]`.
        y: The same clips of another encoder.
        given: The same clips of those that are taken out; none for the plain correlation.

    Raises:
        ShapeError: other numbers of clips, or fewer than 4.
        DegenerateError: values that are not finite, rows that are all equal.

    Source: Székely and Rizzo 2014, definition 3 and eq. 3.2.
    """
    arrays = [as_vectors(one, f"encoder {i}", MIN_CLIPS) for i, one in enumerate([x, y, *given])]
    if len({len(one) for one in arrays}) != 1:
        raise ShapeError(
            f"The encoders have {[len(one) for one in arrays]} clips, expected the same clips in "
            "all. Select the clips that all have."
        )
    flat = np.stack([u_centre(squareform(pdist(one))).ravel() for one in arrays])
    return partial_of(flat @ flat.T, 0, 1)


def partial_of(products: Matrix, a: int, b: int) -> float:
    """Cosine of two elements with all others taken out, from the products of all.

    Raises:
        DegenerateError: an element without length.

    >>> round(partial_of(np.array([[1., .5, .5], [.5, 1., 1.], [.5, 1., 2.]]), 0, 1), 3)
    0.378
    """
    if not np.isfinite(products).all():
        return float("nan")
    length = np.sqrt(np.diag(products))
    if (length == 0).any():
        raise DegenerateError(
            "An encoder has no geometry on these clips: all rows are equal. Leave it out."
        )
    cosines = products / np.outer(length, length)
    pair = np.array([a, b])
    others = np.setdiff1d(np.arange(len(products)), pair)
    left = cosines[np.ix_(pair, pair)]
    if len(others):
        across = cosines[np.ix_(others, pair)]
        solved = np.linalg.lstsq(cosines[np.ix_(others, others)], across, rcond=1e-12)[0]
        left = left - across.T @ solved
    # An element that the others span has nothing left to be similar with.
    if min(left[0, 0], left[1, 1]) <= SPAN_FLOOR:
        return 0.0
    return float(left[0, 1] / np.sqrt(left[0, 0] * left[1, 1]))
