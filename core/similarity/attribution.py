"""Teacher attribution: what share of the student's geometry comes from each teacher.

The student's Gram matrix is fitted as a non-negative mixture of the teachers', all U-centred and
of trace 1. Where the student is a concatenation of rotated teachers, the weights are the shares
of its variance, also where teachers share most of theirs. Similarities divided by their sum are
no such shares.

Linear maps that stretch some directions far more than others lower the fit: below ``MIN_FIT`` the
weights should not be read, and variance partitioning should be.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from usad_workbench.core.arrays import Ids, Matrix, Vectors, cluster_codes
from usad_workbench.core.errors import ShapeError
from usad_workbench.core.similarity._gram_products import (
    centred_grams,
    gram_products,
    unit_grams,
)
from usad_workbench.core.similarity.resampling import (
    jackknife_groups,
    jackknife_limits,
    permutation_p_value,
    permutations_within,
    strata,
    too_few_clusters,
)

MIN_FIT = 0.5
"""Weights of a worse fit say little: the fit falls as a linear map stretches directions apart."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Attribution:
    """Shares of the student's variance by teacher. NaN: not defined, ``reason`` says why."""

    shares: Mapping[str, float]
    ci_low: Mapping[str, float]
    ci_high: Mapping[str, float]
    """95% delete-one-cluster jackknife."""
    null_q95: Mapping[str, float]
    """What a teacher gets whose rows are exchanged within strata: the bias of w >= 0."""
    p_value: Mapping[str, float]
    novel: float
    """1 minus the sum: of no teacher, slightly negative by chance."""
    novel_ci_low: float
    novel_ci_high: float
    fit_r2: float
    clip_shares: Mapping[str, Matrix]
    """Shares fitted to each clip's row alone `[clip]`."""
    n_clips: int
    n_clusters: int
    reason: str

    @property
    def is_reliable(self) -> bool:
        """Whether the mixture fits well enough to be read, and its shares are shares."""
        return self.fit_r2 >= MIN_FIT and not self.is_overfull

    @property
    def is_overfull(self) -> bool:
        """Whether the shares sum to more than 1, beyond chance.

        The student's variance then lies in fewer directions than that of its teachers.
        """
        return self.novel_ci_high < 0


def attribute(
    student: Vectors,
    teachers: Mapping[str, Vectors],
    clusters: Ids,
    *,
    n_permutations: int = 100,
    seed: int = 0,
) -> Attribution:
    """The share of the student's geometry that each teacher explains.

    Args:
        student: Embeddings `[clip, dim]`.
        teachers: The same clips of each teacher; controls may stand among them.
        clusters: Cluster id of each clip.
        n_permutations: Size of the null of each teacher; 0 for none.
        seed: Of the permutations.

    Raises:
        ShapeError: no teachers, other numbers of clips, or fewer than 4.
        DegenerateError: values that are not finite, an encoder whose rows are all equal.

    >>> rng = np.random.default_rng(0)
    >>> a, b, new = (rng.normal(size=(300, 40)) for _ in range(3))
    >>> student = np.hstack([.6 ** .5 * a, .2 ** .5 * b, .2 ** .5 * new])
    >>> found = attribute(student, {"a": a, "b": b}, list(range(300)), n_permutations=19)
    >>> round(found.shares["a"], 1), round(found.shares["b"], 1), round(found.novel, 1)
    (0.6, 0.2, 0.2)
    """
    if not teachers:
        raise ShapeError("There are no teachers, expected at least one. Name them.")
    grams = unit_grams([student, *teachers.values()])
    codes = cluster_codes(clusters, len(grams[0]))
    groups = jackknife_groups(codes, len(codes))
    products = gram_products(grams, codes, groups)
    weights = mixture_weights(products.whole)
    left_out = np.array([mixture_weights(one) for one in products.left_out])
    reason = too_few_clusters(int(codes.max()) + 1)
    low, high = _limits(weights, left_out, reason)
    centred = centred_grams(grams, codes)
    null_q95, p_value = _null(centred, products.whole, weights, codes, n_permutations, seed)
    names = list(teachers)

    def named(values: Matrix) -> dict[str, float]:
        return dict(zip(names, np.asarray(values, dtype=np.float64).tolist(), strict=False))

    per_clip = _clip_weights(centred)
    return Attribution(
        shares=named(weights),
        ci_low=named(low),
        ci_high=named(high),
        null_q95=named(null_q95),
        p_value=named(p_value),
        novel=1.0 - float(weights.sum()),
        novel_ci_low=float(low[-1]),
        novel_ci_high=float(high[-1]),
        fit_r2=fit_of(products.whole, weights),
        clip_shares={name: per_clip[:, column] for column, name in enumerate(names)},
        n_clips=len(codes),
        n_clusters=int(codes.max()) + 1,
        reason=reason,
    )


def mixture_weights(products: Matrix) -> Matrix:
    """Non-negative weights `[teacher]` from products of student (first) and teachers.

    >>> mixture_weights(np.array([[1., .5, -.1], [.5, 1., 0.], [-.1, 0., 1.]])).tolist()
    [0.5, 0.0]
    """
    if not np.isfinite(products).all():
        return np.full(len(products) - 1, np.nan)
    # A square root of the teachers' products turns the quadratic form into least squares.
    values, vectors = np.linalg.eigh(products[1:, 1:])
    root = np.sqrt(np.maximum(values, values.max() * 1e-12))
    return np.asarray(nnls(root[:, None] * vectors.T, vectors.T @ products[1:, 0] / root)[0])


def fit_of(products: Matrix, weights: Matrix) -> float:
    """R2 of the mixture over the pairs of clips."""
    error = products[0, 0] - 2 * weights @ products[1:, 0] + weights @ products[1:, 1:] @ weights
    return float(1.0 - error / products[0, 0])


def _limits(weights: Matrix, left_out: Matrix, reason: str) -> tuple[Matrix, Matrix]:
    """Limits of each weight and, last, of the novel share."""
    whole = np.append(weights, 1.0 - weights.sum())
    if reason:
        return np.full(whole.shape, np.nan), np.full(whole.shape, np.nan)
    replicates = np.column_stack([left_out, 1.0 - left_out.sum(axis=1)])
    low, high = jackknife_limits(whole, replicates)
    low[:-1] = np.maximum(low[:-1], 0.0)  # weights are not negative, what is new may be
    return low, high


def _null(
    centred: NDArray[np.float64],
    products: Matrix,
    weights: Matrix,
    codes: NDArray[np.intp],
    n_permutations: int,
    seed: int,
) -> tuple[Matrix, Matrix]:
    """95% level and p of each teacher when its own rows are exchanged within strata."""
    n_teachers = len(weights)
    if n_permutations == 0:
        return np.full(n_teachers, np.nan), np.full(n_teachers, np.nan)
    orders = permutations_within(strata(codes, len(codes)), n_permutations, seed)
    flat = centred.reshape(len(centred), -1)
    null = np.empty((n_permutations, n_teachers))
    for teacher in range(n_teachers):
        row = teacher + 1
        for i, order in enumerate(orders):
            mixed = products.copy()
            moved = centred[row][np.ix_(order, order)].ravel()
            mixed[row] = mixed[:, row] = flat @ moved
            mixed[row, row] = products[row, row]
            null[i, teacher] = mixture_weights(mixed)[teacher]
    p_value = [permutation_p_value(weights[t], null[:, t]) for t in range(n_teachers)]
    return np.quantile(null, 0.95, axis=0), np.asarray(p_value)


def _clip_weights(centred: NDArray[np.float64]) -> Matrix:
    """Weights fitted to each clip's row `[clip, teacher]`."""
    rows = np.einsum("icd,jcd->cij", centred, centred)
    return np.stack([mixture_weights(one) for one in rows])


def false_attribution(
    student: Vectors, teachers: Mapping[str, Vectors], controls: Sequence[Vectors], clusters: Ids
) -> float:
    """The share that goes to controls when they are offered beside the teachers.

    Raises:
        ShapeError: no controls; the rest as for ``attribute``.
    """
    if not controls:
        raise ShapeError("There are no controls, expected at least one. Name them.")
    grams = unit_grams([student, *teachers.values(), *controls])
    codes = cluster_codes(clusters, len(grams[0]))
    flat = centred_grams(grams, codes).reshape(len(grams), -1)
    return float(mixture_weights(flat @ flat.T)[len(teachers) :].sum())
