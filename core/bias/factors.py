"""A factor to be read from embeddings: classes or values, one for each clip.

The same folds, score and resampling for both kinds, so that a probe is written once.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from usad_workbench.core.arrays import Ids, Indices, Matrix
from usad_workbench.core.errors import DegenerateError
from usad_workbench.core.probes.folds import Codes, Fold, codes_of, grouped_folds
from usad_workbench.core.probes.metrics import count_hits, metric_of_counts
from usad_workbench.core.similarity.resampling import (
    Interval,
    bootstrap_limits,
    bootstrap_samples,
    permutations_within,
    too_few_clusters,
)

N_RESAMPLES = 1000
N_STRATA = 4
"""Folds of a continuous factor are stratified by quarters of it."""
VARYING_SHARE = 0.5
"""From this share of clips in clusters of several values on, a factor varies within."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Factor:
    """Classes or values of the clips. Made by ``categorical`` and ``continuous``."""

    values: Matrix
    """Value, or class number, of each clip `[clip]`."""
    levels: tuple[str, ...]
    """Names of the classes; empty for a continuous factor."""

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.values)

    @property
    def is_continuous(self) -> bool:
        """Whether it is a regression."""
        return not self.levels

    @property
    def n_levels(self) -> int:
        """Number of classes."""
        return len(self.levels)

    @property
    def codes(self) -> Codes:
        """Class number of each clip."""
        return self.values.astype(np.intp)

    @property
    def chance(self) -> float:
        """Score of knowing nothing: 1 / classes, or an R2 of 0."""
        return 0.0 if self.is_continuous else 1 / self.n_levels

    @property
    def strata_labels(self) -> Codes:
        """What folds are stratified by."""
        if not self.is_continuous:
            return self.codes
        cuts = np.quantile(self.values, np.arange(1, N_STRATA) / N_STRATA)
        return np.searchsorted(cuts, self.values, side="right").astype(np.intp)

    def with_values(self, values: Matrix) -> "Factor":
        """The factor with other values, as a permutation has them."""
        return Factor(values=values, levels=self.levels)

    def level(self, train: Codes) -> float:
        """The mean of the training rows: what knows nothing says of a continuous factor."""
        return float(self.values[train].mean())

    def columns(self, rows: Codes) -> Matrix:
        """What an eraser takes: class indicators or standardised values `[row, column]`."""
        if self.is_continuous:
            part = self.values[rows]
            return np.asarray((part - part.mean())[:, None] / max(float(part.std()), 1e-12))
        return np.asarray(np.eye(self.n_levels)[self.codes[rows]])

    def folds(self, groups: Ids, n_folds: int = 5, seed: int = 0) -> list[Fold]:
        """Stratified folds of whole groups, no more than the rarest class has groups.

        Raises:
            ShapeError: other numbers of clips and groups.
            DegenerateError: a class that lies in one group alone, or one group only.
        """
        members = codes_of(groups, "group")
        if not self.is_continuous and len(members) == len(self):
            per_level = [len(np.unique(members[self.codes == k])) for k in range(self.n_levels)]
            if min(per_level) < 2:
                name = self.levels[int(np.argmin(per_level))]
                raise DegenerateError(
                    f"The level {name!r} lies in {min(per_level)} clusters, expected at least 2: "
                    "what is tested must not be trained on. Leave this level out."
                )
            n_folds = max(2, min(n_folds, min(per_level)))
        return grouped_folds(self.strata_labels, members, n_folds, seed)

    def resampler(
        self, predictions: Matrix, baseline: Matrix, units: Codes
    ) -> Callable[[Matrix], Matrix]:
        """The score as a function of how often each cluster counts `[resample, cluster]`."""
        if self.is_continuous:
            misses = ((np.atleast_2d(predictions) - self.values) ** 2).mean(axis=0)
            n = int(units.max()) + 1
            errors = np.bincount(units, misses, n)
            total = np.bincount(units, (self.values - baseline) ** 2, n)
            return lambda counts: np.asarray(
                1 - (counts @ errors) / np.maximum(counts @ total, np.finfo(float).tiny)
            )
        hits, clips = count_hits(self.codes, np.asarray(predictions).astype(np.intp), units)
        return lambda counts: metric_of_counts(
            np.tensordot(counts, hits, 1), np.tensordot(counts, clips, 1), "balanced_accuracy"
        )


def categorical(labels: Sequence[Any] | NDArray[Any]) -> Factor:
    """A factor of classes.

    Raises:
        ShapeError: a clip without a label.
        DegenerateError: one class only.

    >>> categorical(["f", "m", "f"]).codes.tolist()
    [0, 1, 0]
    """
    codes = codes_of(labels, "label")
    names = np.unique([str(one) for one in labels]) if len(labels) else np.array([])
    if len(names) < 2:
        raise DegenerateError(
            f"The factor has {len(names)} classes, expected at least 2. Choose another column."
        )
    order = {str(label): int(code) for label, code in zip(labels, codes, strict=True)}
    return Factor(
        values=codes.astype(np.float64), levels=tuple(sorted(order, key=order.__getitem__))
    )


def continuous(values: Sequence[float] | NDArray[Any]) -> Factor:
    """A factor of values.

    Raises:
        DegenerateError: values that are missing or all equal.

    >>> continuous([1.0, 2.0]).is_continuous
    True
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or len(array) < 2 or not np.isfinite(array).all() or np.ptp(array) == 0:
        raise DegenerateError(
            f"The factor has {len(array)} values that are missing, all equal or too few, expected "
            "finite values that differ. Leave out the clips without one."
        )
    return Factor(values=array, levels=())


def score(factor: Factor, predictions: Matrix, baseline: Matrix) -> float:
    """Balanced accuracy, or R2 about the training mean, of predictions `[seed, clip]`."""
    everyone = np.zeros(len(factor), dtype=np.intp)
    return float(factor.resampler(predictions, baseline, everyone)(np.ones((1, 1)))[0])


def score_interval(
    factor: Factor, predictions: Matrix, baseline: Matrix, units: Codes, seed: int = 0
) -> Interval:
    """The score with its 95% bootstrap interval over clusters."""
    n_clusters = int(units.max()) + 1
    value, reason = score(factor, predictions, baseline), too_few_clusters(n_clusters)
    low = high = math.nan
    if not reason and not factor.is_continuous and value in (0.0, 1.0):
        # Every resample would say the same: Clopper and Pearson with clusters as the trials.
        far = 0.025 ** (1 / n_clusters)
        low, high = (far, 1.0) if value == 1.0 else (0.0, 1 - far)
    elif not reason:
        resampler = factor.resampler(predictions, baseline, units)
        samples = bootstrap_samples(resampler, n_clusters, N_RESAMPLES, seed)
        low, high = bootstrap_limits(samples, n_clusters)
    return Interval(value=value, ci_low=low, ci_high=high, n_clusters=n_clusters, reason=reason)


def varying_share(values: Matrix, units: Codes) -> float:
    """Share of clips in clusters that have more than one value.

    >>> varying_share(np.array([0, 0, 1, 2.0]), np.array([0, 0, 1, 1]))
    0.5
    """
    low, high = (np.full(int(units.max()) + 1, limit) for limit in (np.inf, -np.inf))
    np.minimum.at(low, units, values)
    np.maximum.at(high, units, values)
    return float(np.mean((low < high)[units]))


def cluster_orders(units: Codes, strata: Codes, n: int, seed: int) -> Indices:
    """Rows to take values from so that each cluster has one value, that of another cluster.

    Args:
        units: Cluster number of each clip.
        strata: Which clusters exchange `[cluster]`.
        n: How many orders.
        seed: The same seed gives the same orders.

    Returns:
        `[order, clip]`: each cluster's clips take the value of one random clip of the
        cluster that it changed places with, in its stratum.

    >>> cluster_orders(np.array([0, 0, 1]), np.array([0, 1]), 1, 0)[0, 2].tolist()
    2
    """
    rng = np.random.default_rng([seed, 1])
    order = np.argsort(units, kind="stable")
    sizes = np.bincount(units)
    starts = np.cumsum(sizes) - sizes
    swaps = permutations_within(strata, n, seed)
    drawn = starts[swaps] + np.floor(rng.random(swaps.shape) * sizes[swaps]).astype(np.intp)
    return np.asarray(order[drawn][:, units])
