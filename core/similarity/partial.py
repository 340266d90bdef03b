"""Partial similarity: does a teacher look similar only through another one?

U-centred matrices of clips × clips form an inner-product space: the part of two of them that
others span is taken out, and the cosine of what is left is the partial similarity. With distances
in place of products this is the partial distance correlation of Székely and Rizzo. Clips of
different clusters are compared only, with the inner product of ``cka``.

It adjusts for what the covariate measures and no more. A control that is a noisy copy of the
shared content under-adjusts: .41 is left with one control where nothing was copied. So it answers
whether B is near only because it is like A, and never what was inherited; that is ``excess``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist, squareform

from usad_workbench.core.arrays import (
    Ids,
    Indices,
    Matrix,
    Vectors,
    as_vectors,
    cluster_codes,
)
from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.similarity._cka_layers import (
    encoder_pair_parts,
    encoder_products,
    prepare_gram,
)
from usad_workbench.core.similarity._cluster_hsic import check_cluster_number
from usad_workbench.core.similarity.cka import MIN_CLIPS, hsic1_gram
from usad_workbench.core.similarity.resampling import (
    jackknife_groups,
    jackknife_limits,
    pair_variance,
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
    plain_ci_low: float
    plain_ci_high: float
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
        DegenerateError: values that are not finite, an encoder without geometry, or fewer than 4
            clusters.

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
    products = _products([student, *teachers.values()], clusters)
    n_clusters = int(products.codes.max()) + 1
    reason = too_few_clusters(n_clusters)
    parts = None if reason else products.pair_parts()
    results = {}
    for row, name in enumerate(teachers, start=1):
        others = [place for place in range(1, len(teachers) + 1) if place != row]
        value, low, high = _with_limits(products, parts, [0, row, *others])
        plain, plain_low, plain_high = _with_limits(products, parts, [0, row])
        results[name] = Partial(
            value=value,
            ci_low=low,
            ci_high=high,
            plain=plain,
            plain_ci_low=plain_low,
            plain_ci_high=plain_high,
            n_clips=len(products.codes),
            n_clusters=n_clusters,
            reason=reason,
        )
    return results


def _with_limits(
    products: "_Products", parts: NDArray[np.float64] | None, places: list[int]
) -> tuple[float, float, float]:
    """Similarity of the first two of some encoders, the rest taken out, with its limits."""
    chosen = np.ix_(places, places)
    value = partial_of(products.whole[chosen], 0, 1)
    if parts is None:
        return value, np.nan, np.nan
    slopes = _slopes(products.whole[chosen], 0, 1)
    low, high = jackknife_limits(
        np.asarray(value),
        np.array([partial_of(one[chosen], 0, 1) for one in products.left_out]),
        largest=1.0,
        of_pairs=pair_variance(np.einsum("ghab,ab->gh", parts[:, :, chosen[0], chosen[1]], slopes)),
    )
    return value, float(low), float(high)


def _slopes(products: Matrix, a: int, b: int) -> Matrix:
    """How the partial similarity moves with each product, both halves together `[...]`."""
    slopes = np.zeros_like(products)
    for i, j in np.ndindex(products.shape):
        step = np.zeros_like(products)
        step[i, j] = step[j, i] = 1e-6 * np.sqrt(products[i, i] * products[j, j])
        ahead, back = (partial_of(products + sign * step, a, b) for sign in (1, -1))
        # A product off the diagonal stands twice among the parts.
        slopes[i, j] = (ahead - back) / (2 * step[i, j]) / (1 if i == j else 2)
    return slopes


def partial_distance_correlation(
    x: Vectors, y: Vectors, given: Sequence[Vectors], clusters: Ids | None = None
) -> float:
    """Distance correlation (bias-corrected, not squared back) with the others taken out.

    Args:
        x: Embeddings `[clip, dim]`.
        y: The same clips of another encoder.
        given: The same clips of those that are taken out; none for the plain correlation.
        clusters: Cluster id of each clip; clips of one cluster are not compared.

    Raises:
        ShapeError: other numbers of clips, or fewer than 4.
        DegenerateError: values that are not finite, rows that are all equal, or fewer than 4
            clusters.

    Source: Székely and Rizzo 2014, definition 3 and eq. 3.2.

    >>> x, y = np.random.default_rng(0).normal(size=(2, 60, 3))
    >>> round(partial_distance_correlation(x, x, [y]), 6)
    1.0
    """
    arrays = _aligned([x, y, *given])
    distances = [squareform(pdist(one)) for one in arrays]
    products = np.array([[hsic1_gram(a, b, clusters) for b in distances] for a in distances])
    return partial_of(products, 0, 1)


def _aligned(encoders: Sequence[Vectors]) -> list[Matrix]:
    arrays = [as_vectors(one, f"encoder {i}", MIN_CLIPS) for i, one in enumerate(encoders)]
    if len({len(one) for one in arrays}) != 1:
        raise ShapeError(
            f"The encoders have {[len(one) for one in arrays]} clips, expected the same clips in "
            "all. Select the clips that all have."
        )
    return arrays


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Products:
    """Products of every pair of encoders, and the same without each group of clusters."""

    whole: Matrix
    left_out: NDArray[np.float64]
    grams: list[Matrix]
    codes: Indices
    groups: Indices

    def pair_parts(self) -> NDArray[np.float64]:
        return encoder_pair_parts(self.grams, self.codes, self.groups)


def _products(encoders: Sequence[Vectors], clusters: Ids) -> _Products:
    arrays = _aligned(encoders)
    codes = cluster_codes(clusters, len(arrays[0]))
    check_cluster_number(codes)
    grams = [prepare_gram(one, f"encoder {i}", codes) for i, one in enumerate(arrays)]
    groups = jackknife_groups(codes, len(codes))
    whole, left_out = encoder_products(grams, codes, groups)
    return _Products(whole=whole, left_out=left_out, grams=grams, codes=codes, groups=groups)


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
