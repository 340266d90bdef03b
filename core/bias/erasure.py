"""Erasing a concept from embeddings, and what that does to a task.

LEACE removes all linear information on a concept with the least change in the mean-square
sense. What it promises holds for the rows it was fitted on: an eraser that has seen the
test rows drives a probe below chance (0.000 where clips are fewer than dims), so every
function here fits on training rows alone. A probe trained on the eraser's own rows finds
nothing by construction; the honest check is a fresh probe on other clusters. And LEACE
guards linear readers only: a multilayer perceptron is asked as well.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from usad_workbench.core.arrays import Ids, Matrix, Vectors, as_vectors
from usad_workbench.core.bias._linear import (
    checked_vectors,
    class_scores,
    reduced_features,
    ridge_values,
)
from usad_workbench.core.bias.factors import Factor, score, score_interval
from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.probes.folds import Codes, codes_of, grouped_folds
from usad_workbench.core.similarity.resampling import (
    Interval,
    bootstrap_limits,
    bootstrap_samples,
    too_few_clusters,
)

Reader = Literal["linear", "mlp"]
"""What reads the concept: the ridge probe, or a perceptron with one hidden layer."""
RANK_TOLERANCE = 1e-8
"""Singular values below this share of the largest are rounding, not directions. The
reference package's default of 0.01 skips weak concepts."""
N_HIDDEN = 64
MLP_STEPS = 100
N_RANDOM = 5
"""Random subspaces that a reliance is compared with."""
N_RESAMPLES = 1000


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Eraser:
    """An affine map that takes a subspace away: x - (x - mean) removed."""

    mean: Matrix
    """`[dim]`"""
    reads: Matrix
    """What is measured `[rank, dim]`."""
    writes: Matrix
    """What is subtracted for each measured unit `[rank, dim]`."""

    @property
    def rank(self) -> int:
        """Number of directions that go."""
        return len(self.reads)

    def apply(self, x: Vectors) -> Matrix:
        """The embeddings without the subspace, `[clip, dim]`."""
        array = as_vectors(x, "the embeddings")
        return np.asarray(array - ((array - self.mean) @ self.reads.T) @ self.writes)


def fit_leace(x: Vectors, concept: Vectors) -> Eraser:
    """The least change of x after which no linear reader finds the concept in these rows.

    Args:
        x: Embeddings `[clip, dim]` of the training rows; more clips than dims, or first on
            principal axes (``reduced_features``).
        concept: `[clip, column]`: indicators of classes (``indicators``) or values.

    Returns:
        An eraser r(x) = x - W⁺ P W (x - mean), W = (cov(x)^½)⁺, P the projector on the
        columns of W cov(x, concept). Cov(r(x), concept) is 0.

    Raises:
        ShapeError: other numbers of clips.
        DegenerateError: values that are not finite, or embeddings that are all equal.

    Source: Belrose et al. 2023 (arXiv:2306.03819), theorem 4.3.

    >>> rng = np.random.default_rng(0)
    >>> z = rng.normal(size=(50, 1))
    >>> x = rng.normal(size=(50, 4)) + z
    >>> erased = fit_leace(x, z).apply(x)
    >>> bool(np.abs(z.T @ (erased - erased.mean(axis=0))).max() < 1e-10)
    True
    """
    z = as_vectors(concept, "the concept", min_clips=2)
    array = checked_vectors(x, len(z))
    mean, root, inverse = _whitening(array)
    covariance = (array - mean).T @ (z - z.mean(axis=0)) / len(array)
    sides, sizes, _ = np.linalg.svd(inverse @ covariance, full_matrices=False)
    kept = sizes > RANK_TOLERANCE * max(float(sizes[0]), np.finfo(float).tiny)
    return _oblique(mean, root, inverse, sides[:, kept])


def fit_random_eraser(x: Vectors, rank: int, seed: int = 0) -> Eraser:
    """Takes away a random subspace, to tell a concept's removal from any removal.

    Drawn in the same whitened coordinates in which ``fit_leace`` works.

    Args:
        x: Embeddings `[clip, dim]` of the training rows.
        rank: Directions that go.
        seed: The same seed gives the same subspace.

    Raises:
        ShapeError: a rank above the number of dims.
        DegenerateError: values that are not finite, or embeddings that are all equal.

    Source: Elazar et al. 2021 (amnesic probing), random control.

    >>> x = np.random.default_rng(0).normal(size=(50, 4))
    >>> fit_random_eraser(x, 2).rank
    2
    """
    array = checked_vectors(x, len(x))
    if not 0 <= rank <= array.shape[1]:
        raise ShapeError(
            f"A random subspace of rank {rank} in {array.shape[1]} dims, expected at most as many. "
            "Erase fewer directions."
        )
    mean, root, inverse = _whitening(array)
    rng = np.random.default_rng(seed)
    sides = np.linalg.qr(rng.standard_normal((array.shape[1], rank)))[0]
    return _oblique(mean, root, inverse, sides)


def indicators(labels: Codes) -> Matrix:
    """One column for each class, 1 where the clip is of it.

    >>> indicators(np.array([0, 1, 0])).tolist()
    [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]
    """
    return np.asarray(np.eye(int(labels.max()) + 1)[labels])


@dataclass(frozen=True, kw_only=True, slots=True)
class ErasureCheck:
    """How well a fresh probe reads a factor before and after its erasure."""

    before: float
    """Balanced accuracy, or R2 of a continuous factor."""
    after: float
    after_ci_low: float
    after_ci_high: float
    chance: float
    n_clips: int
    n_clusters: int
    reason: str


def check_erasure(
    x: Vectors,
    factor: Factor,
    clusters: Ids,
    *,
    reader: Reader = "linear",
    n_folds: int = 5,
    seed: int = 0,
) -> ErasureCheck:
    """Whether a factor is still there after erasure, asked by a fresh probe.

    The clusters that are not tested fall in two halves: the eraser is fitted on one, the
    probe on the other, then the other way round. Before erasure the probe has the same
    half, so that both numbers rest on equally many clips.

    Args:
        x: Embeddings `[clip, dim]`.
        factor: What is erased and read.
        clusters: Cluster id of each clip.
        reader: Linear, or a perceptron for what is left to nonlinear readers (classes only).
        n_folds: Folds of whole clusters.
        seed: Of folds and perceptron.

    Raises:
        ShapeError: other numbers of clips, or a perceptron asked for a continuous factor.
        DegenerateError: constant embeddings, or too few clusters for three parts.
    """
    array = checked_vectors(x, len(factor))
    if reader == "mlp" and factor.is_continuous:
        raise ShapeError("A perceptron reads classes here, the factor is continuous. Bin it.")
    predict = _mlp_prediction if reader == "mlp" else linear_prediction
    units = codes_of(clusters, "cluster")
    if int(units.max()) + 1 < 3:
        raise DegenerateError(
            f"There are {int(units.max()) + 1} clusters, expected at least 3: eraser, probe and "
            "test each need their own. Add speakers, tracks or recordings."
        )
    before, after = (np.zeros((2, len(factor))) for _ in range(2))
    baseline = np.zeros(len(factor))
    for fold in factor.folds(clusters, n_folds, seed):
        halves = grouped_folds(factor.strata_labels[fold.train], units[fold.train], 2, seed)
        baseline[fold.test] = factor.level(fold.train)
        for turn, half in enumerate(halves):
            fitted, probed = fold.train[half.train], fold.train[half.test]
            z = reduced_features(array, fitted)
            before[turn, fold.test] = predict(z, factor, probed, fold.test, seed)
            erased = fit_leace(z[fitted], factor.columns(fitted)).apply(z)
            after[turn, fold.test] = predict(erased, factor, probed, fold.test, seed)
    interval = score_interval(factor, after, baseline, units)
    return ErasureCheck(
        before=score(factor, before, baseline),
        after=score(factor, after, baseline),
        after_ci_low=interval.ci_low,
        after_ci_high=interval.ci_high,
        chance=factor.chance,
        n_clips=len(factor),
        n_clusters=interval.n_clusters,
        reason=interval.reason,
    )


def linear_prediction(
    z: Matrix, factor: Factor, train: Codes, test: Codes, seed: int = 0
) -> Matrix:
    """What the ridge probe says of the test rows: class numbers, or values."""
    if factor.is_continuous:
        return np.asarray(ridge_values(z, factor.values[None], train, test)[0])
    scores = class_scores(z, factor.codes, factor.n_levels, train, test)
    return np.asarray(np.argmax(scores, axis=1), dtype=np.float64)


def _mlp_prediction(z: Matrix, factor: Factor, train: Codes, test: Codes, seed: int) -> Matrix:
    # Unit variance on each axis: the perceptron's steps are of one size for all.
    spread = np.maximum(z[train].std(axis=0), 1e-12)
    codes = factor.codes[train]
    if len(np.unique(codes)) < 2:
        return np.full(len(test), float(codes[0]))
    sizes = np.bincount(codes)
    # A fixed budget of steps, as no perceptron here needs to converge to the last digit.
    model = MLPClassifier(
        (N_HIDDEN,), alpha=1.0, solver="lbfgs", max_iter=MLP_STEPS, random_state=seed
    )
    middle = z[train].mean(axis=0)
    weights = len(train) / (np.count_nonzero(sizes) * sizes[codes])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit((z[train] - middle) / spread, codes, sample_weight=weights)
    return np.asarray(model.predict((z[test] - middle) / spread), dtype=np.float64)


def reliance(
    x: Vectors,
    nuisance: Factor,
    task: Factor,
    clusters: Ids,
    groups: Ids | None = None,
    *,
    n_folds: int = 5,
    seed: int = 0,
) -> Interval:
    """What a task loses with a nuisance, beyond what it loses with any subspace of that rank.

    Score without a random subspace minus score without the nuisance, on the same folds;
    the mean over ``N_RANDOM`` random subspaces. 95% bootstrap over clusters.

    Args:
        x: Embeddings `[clip, dim]`.
        nuisance: What is erased, fitted on the training rows alone.
        task: What is read.
        clusters: What the interval resamples.
        groups: What folds keep whole; the clusters where none.
        n_folds: Folds.
        seed: Of folds and subspaces.

    Raises:
        ShapeError: other numbers of clips.
        DegenerateError: constant embeddings, or one group only.

    Source: Elazar et al. 2021, with LEACE (Belrose et al. 2023) for the erasure.
    """
    array = checked_vectors(x, len(task))
    without, at_random = np.zeros((1, len(task))), np.zeros((N_RANDOM, len(task)))
    baseline = np.zeros(len(task))
    for fold in task.folds(clusters if groups is None else groups, n_folds, seed):
        z = reduced_features(array, fold.train)
        eraser = fit_leace(z[fold.train], nuisance.columns(fold.train))
        baseline[fold.test] = task.level(fold.train)
        without[0, fold.test] = linear_prediction(eraser.apply(z), task, fold.train, fold.test)
        for turn in range(N_RANDOM):
            other = fit_random_eraser(z[fold.train], eraser.rank, seed + turn)
            at_random[turn, fold.test] = linear_prediction(
                other.apply(z), task, fold.train, fold.test
            )
    return paired_score_difference(task, at_random, without, baseline, clusters, seed)


def paired_score_difference(
    factor: Factor, a: Matrix, b: Matrix, baseline: Matrix, clusters: Ids, seed: int = 0
) -> Interval:
    """Score of predictions a minus score of predictions b, resampled together by cluster.

    Args:
        factor: What both predict.
        a: Predictions `[seed, clip]`.
        b: The same of the other.
        baseline: Training mean for each clip, for R2.
        clusters: What is resampled.
        seed: Of the resamples.
    """
    units = codes_of(clusters, "cluster")
    n_clusters = int(units.max()) + 1
    value = score(factor, a, baseline) - score(factor, b, baseline)
    reason = too_few_clusters(n_clusters)
    low = high = float("nan")
    if not reason:
        sides: Sequence[Callable[[Matrix], Matrix]] = [
            factor.resampler(side, baseline, units) for side in (a, b)
        ]
        samples = bootstrap_samples(
            lambda counts: sides[0](counts) - sides[1](counts), n_clusters, N_RESAMPLES, seed
        )
        low, high = bootstrap_limits(samples, n_clusters)
    return Interval(value=value, ci_low=low, ci_high=high, n_clusters=n_clusters, reason=reason)


def _whitening(x: Matrix) -> tuple[Matrix, Matrix, Matrix]:
    """Mean, square root of the covariance, and the root's pseudo-inverse."""
    mean = x.mean(axis=0)
    values, vectors = np.linalg.eigh((x - mean).T @ (x - mean) / len(x))
    # As NumPy's own rank of a symmetric matrix: dims × rounding of the largest.
    kept = values > values[-1] * len(values) * np.finfo(float).eps
    roots = np.sqrt(np.where(kept, values, 0.0))
    inverse = np.where(kept, 1 / np.where(kept, roots, 1.0), 0.0)
    return mean, (vectors * roots) @ vectors.T, (vectors * inverse) @ vectors.T


def _oblique(mean: Matrix, root: Matrix, inverse: Matrix, sides: Matrix) -> Eraser:
    return Eraser(mean=mean, reads=sides.T @ inverse, writes=(root @ sides).T)
