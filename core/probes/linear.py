"""Linear probe: multinomial logistic regression with an L2 penalty, one per penalty at once.

The loss is mean cross-entropy + penalty / 2 × |weights|², the intercept free. Features come with
mean square length 1 (``blocks.scaled_features``), so that the same grid of penalties means the
same for every width.

Fitted in the coordinates of the training rows' principal axes, which changes nothing but the
time: at most as many as clips, and there the curvature of the loss is bounded by a diagonal
(Böhning 1992) that makes L-BFGS converge in tens of steps. Penalties go from strong to weak, each
starting where the last one ended.
"""

import numpy as np
from scipy.optimize import minimize

from usad_workbench.core.arrays import Matrix
from usad_workbench.core.probes.blocks import Features, as_blocks, scaled_features
from usad_workbench.core.probes.folds import Codes

PENALTIES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
"""The grid that is chosen from, strong to weak. In scikit-learn's terms on standardised
features C = 1 / (penalty × clips × dims), so about 2e-5 to 0.2 for 720 clips of 768 dims."""
MAX_STEPS = 1000
GRADIENT_TOLERANCE = 1e-4
"""Largest slope of the preconditioned loss at which a fit has converged: weights to 0.3%."""
CHOICE_TOLERANCE = 1e-3
"""The largest slope for fits that only choose a layer and a penalty: weights to 3%.

What that costs: ``docs/statistics.md``, "Probes".
"""
N_CORRECTIONS = 5
"""Steps that L-BFGS remembers: 5 take 3% more evaluations than 10, and less time each."""
RANK_FLOOR = 1e-10
"""Axes with a smaller share of the largest variance are rounding."""


class LinearProbe:
    """A linear probe on one set of clips, for any split of them."""

    def __init__(
        self, x: Features, labels: Codes, penalties: tuple[float, ...] = PENALTIES
    ) -> None:
        """Takes the embeddings.

        Args:
            x: Embeddings `[clip, dim]` or blocks of them.
            labels: Class number of each clip.
            penalties: Grid, strong to weak.

        Raises:
            ShapeError: no array `[clip, dim]`, or blocks of other numbers of clips.
            DegenerateError: values that are not finite.
        """
        blocks = as_blocks(x)
        self._x: Features = blocks[0] if isinstance(x, np.ndarray) else blocks
        self._labels = labels
        self._penalties = penalties

    def predict(
        self,
        train: Codes,
        test: Codes,
        n_settings: int | None = None,
        tolerance: float = GRADIENT_TOLERANCE,
    ) -> Codes:
        """Class numbers of the test rows for every penalty, `[penalty, test]`.

        Args:
            train: Rows that are fitted.
            test: Rows that are asked.
            n_settings: Only the first so many penalties.
            tolerance: The slope at which a fit ends.

        >>> x = np.array([[1.0, 0.0], [0.9, 0.1], [-1.0, 0.0], [-0.9, 0.0], [0.8, 0.0]])
        >>> probe = LinearProbe(x, np.array([0, 0, 1, 1, 0]))
        >>> probe.predict(np.array([0, 1, 2, 3]), np.array([4]), 1).tolist()
        [[0]]
        """
        return np.asarray(np.argmax(self.scores(train, test, n_settings, tolerance), axis=2))

    def scores(
        self,
        train: Codes,
        test: Codes,
        n_settings: int | None = None,
        tolerance: float = GRADIENT_TOLERANCE,
    ) -> Matrix:
        """Log-odds up to a constant of each clip, `[penalty, test, class]`.

        Minus infinity for a class that no training row has.

        Args:
            train: Rows that are fitted.
            test: Rows that are asked.
            n_settings: Only the first so many penalties.
            tolerance: The slope at which a fit ends.
        """
        x = scaled_features(self._x, train, np.concatenate([train, test]))
        classes, codes = np.unique(self._labels[train], return_inverse=True)
        penalties = self._penalties[:n_settings]
        scores = np.full((len(penalties), len(test), int(self._labels.max()) + 1), -np.inf)
        if len(classes) == 1:
            scores[:, :, classes[0]] = 0.0
            return scores
        trained, asked = x[: len(train)], x[len(train) :]
        axes = _principal_axes(trained)
        path = fit_path(trained @ axes, codes, penalties, tolerance)
        on_axes = asked @ axes
        for row, (weights, intercept) in enumerate(path):
            scores[row][:, classes] = on_axes @ weights + intercept
        return scores


def fit_path(
    z: Matrix,
    labels: Codes,
    penalties: tuple[float, ...],
    tolerance: float = GRADIENT_TOLERANCE,
) -> list[tuple[Matrix, Matrix]]:
    """Weights `[axis, class]` and intercepts `[class]` for each penalty.

    Args:
        z: Centred features `[clip, axis]` whose axes are uncorrelated; with correlated axes
            the result is the same, later.
        labels: Class number of each clip, every class present.
        penalties: From strong to weak.
        tolerance: The slope at which a fit ends.

    >>> z = np.array([[-1.0], [-0.5], [0.5], [1.0]])
    >>> weights, intercept = fit_path(z, np.array([0, 0, 1, 1]), (0.01,))[0]
    >>> bool(weights[0, 1] > 0 > weights[0, 0])
    True
    """
    n_classes = int(labels.max()) + 1
    truth = np.zeros((len(z), n_classes))
    truth[np.arange(len(z)), labels] = 1.0
    variance = np.mean(z**2, axis=0)
    path = []
    weights = np.zeros((z.shape[1] + 1, n_classes))
    for penalty in penalties:
        # The Hessian of the loss is at most half the variance on each axis.
        scale = 1 / np.sqrt(np.append(variance / 2 + penalty, 0.5))[:, None]
        options = {"maxiter": MAX_STEPS, "maxcor": N_CORRECTIONS, "gtol": tolerance, "ftol": 0.0}
        optimum = minimize(
            _loss,
            (weights / scale).ravel(),
            args=(z, truth, penalty, scale),
            jac=True,
            method="L-BFGS-B",
            options=options,
        )
        weights = optimum.x.reshape(weights.shape) * scale
        path.append((weights[:-1], weights[-1]))
    return path


def _loss(
    flat: Matrix, z: Matrix, truth: Matrix, penalty: float, scale: Matrix
) -> tuple[float, Matrix]:
    """Penalised mean cross-entropy and its slope, in weights divided by ``scale``."""
    weights = flat.reshape(len(scale), -1) * scale
    scores = z @ weights[:-1] + weights[-1]
    scores -= scores.max(axis=1, keepdims=True)
    chances = np.exp(scores)
    total = chances.sum(axis=1, keepdims=True)
    value = float(np.mean(np.log(total[:, 0]) - np.sum(scores * truth, axis=1)))
    value += penalty / 2 * float(np.sum(weights[:-1] ** 2))
    miss = (chances / total - truth) / len(z)
    slope = np.vstack([z.T @ miss + penalty * weights[:-1], miss.sum(axis=0)])
    return value, (slope * scale).ravel()


def _principal_axes(x: Matrix) -> Matrix:
    """Directions `[dim, axis]` on which centred rows are uncorrelated, of length 1."""
    n_clips, dim = x.shape
    if dim <= n_clips:
        squares, axes = np.linalg.eigh(x.T @ x)
        return np.asarray(axes[:, squares > RANK_FLOOR * squares[-1]])
    squares, sides = np.linalg.eigh(x @ x.T)
    kept = squares > RANK_FLOOR * squares[-1]
    return np.asarray(x.T @ (sides[:, kept] / np.sqrt(squares[kept])))
