"""Ridge of many targets at once, out of fold, with folds and penalty by cluster.

Written in the clips' Gram matrix, so that hundreds of dims cost no more than a few: one
eigendecomposition for each training part gives every penalty and every target. The penalty is
chosen for each target set on clusters left out of the training part, in closed form.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from usad_workbench.core.arrays import Indices, Matrix

PENALTIES = np.geomspace(1e-4, 1e3, 8)
"""In units of the mean eigenvalue of the training part's Gram matrix."""
N_FOLDS = 5
N_INNER_FOLDS = 10
N_SKETCH_DIMS = 48
"""Targets of more dims choose their penalty by as many random directions, whose squared
errors are those of all on average; what that moves: ``docs/statistics.md``."""
Kernel = Callable[[Indices], Matrix]
"""Gram matrix `[clip, clip]` of all clips, made with the statistics of training rows."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Errors:
    """Squared errors of out-of-fold predictions `[target set, clip]`."""

    residual: Matrix
    """Squared errors of the prediction `[target set, clip]`."""
    total: Matrix
    """Squared errors of the training mean `[target set, clip]`."""
    left_out: Matrix
    """Sums of both over all clips, trained and tested without each group
    `[2, target set, group]`; no groups where none were asked for."""

    def r2(self) -> Matrix:
        """1 - residual / total `[target set]`."""
        return np.asarray(1.0 - self.residual.sum(axis=1) / self.total.sum(axis=1))

    def left_out_r2(self) -> Matrix:
        """R2 without each group `[target set, group]`."""
        return np.asarray(1.0 - self.left_out[0] / self.left_out[1])


def cluster_folds(codes: Indices, n_folds: int = N_FOLDS) -> Indices:
    """The fold of each clip `[clip]`: whole clusters, dealt by size to the emptiest fold.

    >>> cluster_folds(np.array([0, 0, 0, 1, 2, 2]), 2).tolist()
    [0, 0, 0, 1, 1, 1]
    """
    sizes = np.bincount(codes)
    n_folds = min(n_folds, len(sizes))
    load = np.zeros(n_folds)
    fold = np.empty(len(sizes), dtype=np.intp)
    for cluster in np.argsort(-sizes, kind="stable"):
        fold[cluster] = int(np.argmin(load))
        load[fold[cluster]] += sizes[cluster]
    return fold[codes]


def out_of_fold(
    kernel: Kernel, targets: Sequence[Matrix], codes: Indices, groups: Indices | None = None
) -> Errors:
    """Errors of every clip, predicted from clusters that it is not in.

    Args:
        kernel: What is regressed on.
        targets: Sets of targets `[clip, dim]`, each with a penalty of its own.
        codes: Cluster of each clip, 0, 1, ... `[clip]`.
        groups: Group of each clip, whole clusters: for the errors without each group in turn.
            Folds, scales and penalties stay as they are.
    """
    folds = cluster_folds(codes)
    residual = np.empty((len(targets), len(codes)))
    total = np.empty_like(residual)
    n_groups = 0 if groups is None else int(groups.max()) + 1
    left_out = np.zeros((2, len(targets), n_groups))
    for fold in range(int(folds.max()) + 1):
        train, test = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        gram = kernel(train)
        values, vectors = _without_mean(gram[np.ix_(train, train)])
        penalties = PENALTIES * max(float(values.mean()), 1e-300)
        means = [y[train].mean(axis=0) for y in targets]
        turned = [vectors.T @ (y[train] - m) for y, m in zip(targets, means, strict=True)]
        sketches = [_sketch(one) for one in turned]
        chosen = _penalties(values, vectors, sketches, codes[train], penalties)
        across = gram[np.ix_(test, train)] @ vectors
        for target, (y, mean) in enumerate(zip(targets, means, strict=True)):
            inverse = 1.0 / (values + chosen[target])
            fitted = y[test] - mean - across @ (inverse[:, None] * turned[target])
            residual[target, test] = np.sum(fitted**2, axis=1)
            total[target, test] = np.sum((y[test] - mean) ** 2, axis=1)
            if groups is not None:
                one = _Fit(vectors, inverse, turned[target], across, fitted, y[test] - mean)
                left_out[:, target] += _without_groups(
                    one, y[train] - mean, groups[train], groups[test], n_groups
                )
    return Errors(residual=residual, total=total, left_out=left_out)


@dataclass(frozen=True, slots=True, eq=False)
class _Fit:
    """One ridge regression in the eigenvectors of its training part."""

    vectors: Matrix
    inverse: Matrix
    turned: Matrix
    across: Matrix
    residual: Matrix
    """Residuals of the test clips `[clip, dim]`."""
    deviation: Matrix
    """Deviations of the test clips from the training mean `[clip, dim]`."""


def _without_groups(
    fit: _Fit, trained: Matrix, of_train: Indices, of_test: Indices, n_groups: int
) -> Matrix:
    """Sums of squared errors of one fold without each group `[residual or total, group]`.

    Leaving out rows g of the training part moves a prediction by -W_g e_g: W are the weights
    of training targets in the prediction, e_g the residuals of the rows once left out.
    """
    n_train = len(of_train)
    weights = (fit.across * fit.inverse) @ fit.vectors.T + 1 / n_train
    dual = fit.vectors @ (fit.inverse[:, None] * fit.turned)
    sums = np.empty((2, n_groups))
    for group in range(n_groups):
        rows, kept = np.flatnonzero(of_train == group), of_test != group
        residual, deviation = fit.residual[kept], fit.deviation[kept]
        if len(rows):
            block = (fit.vectors[rows] * fit.inverse) @ fit.vectors[rows].T
            errors = np.linalg.solve(block, dual[rows])
            residual = residual + weights[np.ix_(kept, rows)] @ errors
            deviation = deviation + trained[rows].sum(axis=0) / (n_train - len(rows))
        sums[:, group] = np.sum(residual**2), np.sum(deviation**2)
    return sums


def _without_mean(gram: Matrix) -> tuple[Matrix, Matrix]:
    """Eigenvalues and vectors of a centred Gram matrix on all that is no constant.

    The constant is the intercept, which no penalty holds. Left in with its eigenvalue of 0 it
    would make the errors of rows left out vanish at small penalties.
    """
    n = len(gram)
    lifted = gram + 10 * max(float(np.trace(gram)), 1e-300) / n
    values, vectors = np.linalg.eigh(lifted)
    return np.maximum(values[:-1], 0.0), vectors[:, :-1]


def _sketch(target: Matrix) -> Matrix:
    n_dims = target.shape[1]
    if n_dims <= N_SKETCH_DIMS:
        return target
    directions = np.random.default_rng(0).normal(size=(n_dims, N_SKETCH_DIMS))
    return np.asarray(target @ directions)


def _penalties(
    values: Matrix,
    vectors: Matrix,
    turned: Sequence[Matrix],
    codes: Indices,
    penalties: Matrix,
) -> Matrix:
    """The best penalty of each target set, by leaving out whole clusters of the training part.

    With H = (K + penalty)^-1 the residuals of rows left out are H_gg^-1 (H y)_g, exactly.
    """
    folds = cluster_folds(np.unique(codes, return_inverse=True)[1], N_INNER_FOLDS)
    members = [np.flatnonzero(folds == fold) for fold in range(int(folds.max()) + 1)]
    stacked = np.hstack(list(turned))
    ends = np.cumsum([one.shape[1] for one in turned])
    errors = np.empty((len(penalties), len(turned)))
    for i, penalty in enumerate(penalties):
        scale = 1.0 / (values + penalty)
        dual = vectors @ (scale[:, None] * stacked)
        squared = np.zeros(stacked.shape[1])
        for rows in members:
            block = (vectors[rows] * scale) @ vectors[rows].T
            squared += np.sum(np.linalg.solve(block, dual[rows]) ** 2, axis=0)
        errors[i] = [part.sum() for part in np.split(squared, ends[:-1])]
    return np.asarray(penalties[np.argmin(errors, axis=0)])
