"""The linear probe behind nuisances and erasure: ridge with balanced classes, fast to refit.

A permutation null asks for a hundred fits of every cell. Ridge has a closed form and one
matrix of the size of the axes; the logistic probe of ``core.probes`` takes 20 to 50 times
as long. Classes are weighted to equal sums, for balanced accuracy is what is reported.
"""

import numpy as np
from scipy.linalg import eigh, solve

from usad_workbench.core.arrays import (
    Matrix,
    Vectors,
    as_vectors,
    centred_unit,
)
from usad_workbench.core.errors import ShapeError
from usad_workbench.core.probes.blocks import scaled_features
from usad_workbench.core.probes.folds import Codes
from usad_workbench.core.probes.linear import RANK_FLOOR

CLIPS_PER_AXIS = 5
"""Fewer training clips than 5 per dim: principal axes first (Belrose et al. 2023 fit
erasers on far more clips than dims; with fewer the erased subspace is mostly noise)."""
PENALTY = 1e-2
"""Ridge penalty per training clip, on features of mean square length 1."""


def checked_vectors(x: Vectors, n_clips: int) -> Matrix:
    """The embeddings as float64, if they differ and there is one for each of the clips.

    Raises:
        ShapeError: no `[clip, dim]`, or another number of clips.
        DegenerateError: values that are not finite, or all rows equal.
    """
    array = as_vectors(x, "the embeddings", min_clips=2)
    if len(array) != n_clips:
        raise ShapeError(
            f"There are {len(array)} embeddings for {n_clips} clips, expected one for each. "
            "Select the clips that have a value of the factor."
        )
    centred_unit(array, "the embeddings")
    return array


def reduced_features(x: Matrix, train: Codes) -> Matrix:
    """Standardised features, on principal axes where there are few clips, `[clip, axis]`.

    Everything is fitted on the training rows alone. Mean square length on them: at most 1.

    Args:
        x: Embeddings `[clip, dim]`.
        train: Training rows.

    >>> x = np.random.default_rng(0).normal(size=(20, 30))
    >>> reduced_features(x, np.arange(15)).shape
    (20, 3)
    """
    scaled = scaled_features(x, train)
    n_axes = max(1, len(train) // CLIPS_PER_AXIS)
    if n_axes >= x.shape[1]:
        return scaled
    rows = scaled[train]
    is_tall = len(rows) > rows.shape[1]
    gram = rows.T @ rows if is_tall else rows @ rows.T
    top = [len(gram) - min(n_axes, len(gram)), len(gram) - 1]
    squares, vectors = eigh(gram, subset_by_index=top)
    kept = squares > RANK_FLOOR * max(float(squares[-1]), np.finfo(float).tiny)
    axes = vectors[:, kept] if is_tall else rows.T @ (vectors[:, kept] / np.sqrt(squares[kept]))
    return np.asarray(scaled @ axes)


def class_scores(z: Matrix, labels: Codes, n_classes: int, train: Codes, test: Codes) -> Matrix:
    """How well each test row fits each class, `[test, class]`; -inf for classes not trained.

    Least squares on class indicators, each class with the same total weight. The same as
    scikit-learn's ``RidgeClassifier(alpha=PENALTY * clips, class_weight="balanced")``.

    Args:
        z: Features `[clip, axis]`.
        labels: Class number of each clip.
        n_classes: Number of classes.
        train: Rows that are fitted.
        test: Rows that are asked.
    """
    return ClassProbe(z, train, test).scores(labels, n_classes)


class ClassProbe:
    """The probe of ``class_scores`` on one split, for any labelling of its clips.

    A null has a hundred labellings of one split. What they share is computed once: the products
    of all training rows, to which a labelling adds those of the classes whose weight differs
    from the largest class's. With classes of one size these are none.
    """

    def __init__(self, z: Matrix, train: Codes, test: Codes) -> None:
        """Takes features `[clip, axis]`, the rows that are fitted and those that are asked."""
        self._train, self._rows, self._asked = train, z[train], z[test]
        self._gram = self._rows.T @ self._rows

    def scores(self, labels: Codes, n_classes: int) -> Matrix:
        """How well each test row fits each class, `[test, class]`; -inf for classes not trained.

        Args:
            labels: Class number of each clip.
            n_classes: Number of classes.
        """
        rows, codes = self._rows, labels[self._train]
        n, sizes = len(rows), np.bincount(codes, minlength=n_classes)
        present = sizes > 0
        weights = np.where(present, n / (present.sum() * np.maximum(sizes, 1)), 0.0)
        sums = np.eye(n_classes)[:, codes] @ rows
        mean = weights @ sums / n
        common = weights[np.argmax(sizes)]
        gram = common * self._gram - n * np.outer(mean, mean)
        for number in np.flatnonzero(present & (weights != common)):
            of_class = rows[codes == number]
            gram += (weights[number] - common) * (of_class.T @ of_class)
        gram[np.diag_indices_from(gram)] += PENALTY * n
        targets = weights[:, None] * (sums - sizes[:, None] * mean)
        slopes = solve(gram, targets.T, assume_a="pos")
        return np.where(present, (self._asked - mean) @ slopes, -np.inf)


def ridge_values(z: Matrix, targets: Matrix, train: Codes, test: Codes) -> Matrix:
    """Ridge regression of each target, predicted for the test rows, `[target, test]`.

    Args:
        z: Features `[clip, axis]`.
        targets: Values `[target, clip]`.
        train: Rows that are fitted.
        test: Rows that are asked.
    """
    mean, level = z[train].mean(axis=0), targets[:, train].mean(axis=1, keepdims=True)
    x = z[train] - mean
    gram = x.T @ x
    gram[np.diag_indices_from(gram)] += PENALTY * len(train)
    slopes = solve(gram, x.T @ (targets[:, train] - level).T, assume_a="pos")
    return np.asarray(level + ((z[test] - mean) @ slopes).T)
