"""Ridge of many targets at once, out of fold, with folds and penalty by cluster.

Written in the clips' Gram matrix, so that hundreds of dims cost no more than a few: one
eigendecomposition for each training part gives every penalty and every target. The penalty
is chosen for each target set on clusters left out of the training part, in closed form.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from usad_workbench.core.similarity._arrays import Indices, Matrix

PENALTIES = np.geomspace(1e-4, 1e3, 8)
"""In units of the mean eigenvalue of the training part's Gram matrix."""
N_FOLDS = 5
N_INNER_FOLDS = 10
Kernel = Callable[[Indices], Matrix]
"""Gram matrix `[clip, clip]` of all clips, made with the statistics of training rows."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Errors:
    """Squared errors of out-of-fold predictions `[target set, clip]`."""

    residual: Matrix
    """Of the prediction."""
    total: Matrix
    """Of the training mean."""

    def r2(self) -> Matrix:
        """1 - residual / total `[target set]`."""
        return np.asarray(1.0 - self.residual.sum(axis=1) / self.total.sum(axis=1))


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


def out_of_fold(kernel: Kernel, targets: Sequence[Matrix], codes: Indices) -> Errors:
    """Errors of every clip, predicted from clusters that it is not in.

    Args:
        kernel: What is regressed on.
        targets: Sets of targets `[clip, dim]`, each with a penalty of its own.
        codes: Cluster of each clip, 0, 1, ... `[clip]`.
    """
    folds = cluster_folds(codes)
    residual = np.empty((len(targets), len(codes)))
    total = np.empty_like(residual)
    for fold in range(int(folds.max()) + 1):
        train, test = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        gram = kernel(train)
        values, vectors = _without_mean(gram[np.ix_(train, train)])
        penalties = PENALTIES * max(float(values.mean()), 1e-300)
        means = [y[train].mean(axis=0) for y in targets]
        turned = [vectors.T @ (y[train] - m) for y, m in zip(targets, means, strict=True)]
        chosen = _penalties(values, vectors, turned, codes[train], penalties)
        across = gram[np.ix_(test, train)] @ vectors
        for place, (y, mean) in enumerate(zip(targets, means, strict=True)):
            weights = turned[place] / (values + chosen[place])[:, None]
            residual[place, test] = np.sum((y[test] - mean - across @ weights) ** 2, axis=1)
            total[place, test] = np.sum((y[test] - mean) ** 2, axis=1)
    return Errors(residual=residual, total=total)


def _without_mean(gram: Matrix) -> tuple[Matrix, Matrix]:
    """Eigenvalues and vectors of a centred Gram matrix on all that is no constant.

    The constant is the intercept, which no penalty holds. Left in with its eigenvalue of 0 it
    would make the errors of rows left out vanish at small penalties.
    """
    n = len(gram)
    lifted = gram + 10 * max(float(np.trace(gram)), 1e-300) / n
    values, vectors = np.linalg.eigh(lifted)
    return np.maximum(values[:-1], 0.0), vectors[:, :-1]


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
