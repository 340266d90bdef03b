"""Teacher attribution: the student's geometry fitted as a mixture of its teachers'.

The student's Gram matrix is fitted as a non-negative mixture of the teachers', all U-centred and
of trace 1. Where the student is a concatenation of rotated teachers, the weights are the shares
of its variance, also where teachers share most of theirs. Similarities divided by their sum are
no such shares.

Linear maps that stretch some directions far more than others lower the fit: below ``MIN_FIT`` the
weights should not be read, and variance partitioning should be.

A good fit alone shows nothing: encoders that were trained apart have geometry in common, and a
student that never saw the teachers is fitted by them all the same (shares .28 each at a fit of
.54 where 80% of every encoder is common). So placebos, encoders that never taught, are offered
beside the teachers. What they get of such a student is as much as a teacher gets; of a mixture
of the teachers it is .01. Teachers of one geometry cannot be told apart, only their sum can.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.sparse.csgraph import connected_components

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
MAX_FALSE_SHARE = 0.1
"""Placebos together may get this much. On planted worlds (80, 300 clips; 1 to 6 placebos): at most .016 of
mixtures of the teachers, .14 to .66 of students that never saw them, unless the fit gave them away
already (.06 to .46 at a fit of .02)."""
OVERFULL = 1e-3
"""Shares that sum to more than 1 by less are rounding: an exact mixture sums to 1 + 1e-9."""
COLLINEAR = 0.05
"""An eigenvalue of the teachers' cosines below this is a direction in which their shares trade
against each other: two teachers have it from a cosine of 0.95 on (Belsley, Kuh and Welsch 1980)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TeacherGroup:
    """Teachers whose geometries cannot be told apart, and the share that they have together."""

    teachers: tuple[str, ...]
    share: float
    ci_low: float
    ci_high: float
    """95% delete-one-cluster jackknife."""

    def describe(self) -> str:
        """The share with its interval."""
        if math.isnan(self.ci_low + self.ci_high):
            return f"{self.share:.2f} (no interval)"
        return f"{self.share:.2f} [{self.ci_low:.2f}, {self.ci_high:.2f}]"


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
    collinear: tuple[TeacherGroup, ...]
    """Teachers of which only the sum of the shares is known; none where all can be told apart."""
    false_shares: Mapping[str, float]
    """What each placebo gets that is offered beside the teachers; empty where there is none."""
    clip_shares: Mapping[str, Matrix]
    """Shares fitted to each clip's row alone `[clip]`."""
    n_clips: int
    n_clusters: int
    reason: str

    @property
    def is_reliable(self) -> bool:
        """Whether every share can be read: see ``doubts``."""
        return not self.doubts

    @property
    def doubts(self) -> list[str]:
        """Why the shares are not to be read, a sentence each; empty where they are reliable."""
        said = []
        if not self.fit_r2 >= MIN_FIT:
            said.append(f"the mixture fits badly (R2 below {MIN_FIT}): read the variance panel")
        if self.is_overfull:
            said.append(
                "the shares sum to more than 1, as the student stretches few directions: read the "
                "variance panel"
            )
        said += [
            f"{' and '.join(group.teachers)} are collinear: they have {group.describe()} together, "
            "and how much each of them has is not known"
            for group in self.collinear
        ]
        if not self.false_shares:
            said.append(
                "no encoder that did not teach stands beside the teachers: a student that never "
                "saw them might have the same shares"
            )
        elif not self.false_share <= MAX_FALSE_SHARE:
            said.append(
                f"{', '.join(self.false_shares)}: they never taught and get {self.false_share:.2f} "
                f"beside the teachers, more than {MAX_FALSE_SHARE}: as much of the shares is "
                "common to encoders that were trained apart"
            )
        return said

    @property
    def false_share(self) -> float:
        """What all placebos get together; NaN where there is none."""
        return sum(self.false_shares.values()) if self.false_shares else math.nan

    @property
    def is_overfull(self) -> bool:
        """Whether the shares sum to more than 1, beyond chance.

        The student's variance then lies in fewer directions than that of its teachers.
        """
        return self.novel_ci_high < -OVERFULL


def attribute(
    student: Vectors,
    teachers: Mapping[str, Vectors],
    clusters: Ids,
    *,
    placebos: Mapping[str, Vectors] | None = None,
    n_permutations: int = 100,
    seed: int = 0,
) -> Attribution:
    """The share of the student's geometry that each teacher explains.

    Args:
        student: Embeddings `[clip, dim]`.
        teachers: The same clips of each teacher.
        clusters: Cluster id of each clip.
        placebos: The same clips of encoders that never taught, for a second fit.
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
    names = list(teachers)
    null_q95, p_value = _null(centred, products.whole, weights, codes, n_permutations, seed)

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
        collinear=tuple(
            _group(names, members, weights, left_out, reason)
            for members in collinear_groups(products.whole[1:, 1:])
        ),
        false_shares=_false_shares(centred, placebos or {}, codes),
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


def collinear_groups(products: Matrix) -> list[list[int]]:
    """Teachers `[teacher]` whose shares trade against each other, as positions.

    Args:
        products: Of the centred Gram matrices of the teachers `[teacher, teacher]`.

    >>> collinear_groups(np.array([[1., .99, 0.], [.99, 1., 0.], [0., 0., 1.]]))
    [[0, 1]]
    """
    lengths = np.sqrt(np.diag(products))
    if not (np.isfinite(products).all() and (lengths > 0).all()):
        return []
    values, vectors = np.linalg.eigh(products / np.outer(lengths, lengths))
    weak = vectors[:, values < COLLINEAR]
    # What moves along a weak direction together; the projector does not depend on their basis.
    moves = weak @ weak.T
    sizes = np.sqrt(np.maximum(np.diag(moves), 1e-12))
    n_groups, group = connected_components(np.abs(moves / np.outer(sizes, sizes)) > 0.1)
    found = [np.flatnonzero((group == one) & (sizes > 0.1)).tolist() for one in range(n_groups)]
    return [members for members in found if len(members) > 1]


def _group(
    names: Sequence[str], members: Sequence[int], weights: Matrix, left_out: Matrix, reason: str
) -> TeacherGroup:
    share = np.asarray(weights[members].sum())
    low, high = np.asarray(math.nan), np.asarray(math.nan)
    if not reason:
        low, high = jackknife_limits(share, left_out[:, members].sum(axis=1))
    return TeacherGroup(
        teachers=tuple(names[i] for i in members),
        share=float(share),
        ci_low=max(float(low), 0.0),
        ci_high=float(high),
    )


def _false_shares(
    centred: NDArray[np.float64], placebos: Mapping[str, Vectors], codes: NDArray[np.intp]
) -> dict[str, float]:
    """The share of each placebo in a fit of the student by teachers and placebos together."""
    if not placebos:
        return {}
    beside = centred_grams(unit_grams(list(placebos.values())), codes)
    flat = np.concatenate([centred, beside]).reshape(len(centred) + len(beside), -1)
    weights = mixture_weights(flat @ flat.T)
    return dict(zip(placebos, weights[len(centred) - 1 :].tolist(), strict=True))
