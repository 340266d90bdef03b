"""Cosine k-NN probe: does the label lie in the neighbourhood, with nothing fitted?

Rows are centred with the training fold's mean (an offset common to all clips would make
hubs), several blocks are scaled as in ``blocks``. The k training rows of the largest cosine
vote with one vote each; a tie goes to the class with the larger sum of cosines, then to the
first class. With fewer training rows than k, all vote. A row at the mean has cosine 0.
"""

import numpy as np

from usad_workbench.core.arrays import Matrix
from usad_workbench.core.probes.blocks import Features, as_blocks
from usad_workbench.core.probes.folds import Codes
from usad_workbench.core.similarity.neighbours import TIE_DIGITS, top_columns

DEFAULT_K = 10


class KnnProbe:
    """A k-NN probe on one set of clips, for any split of them.

    Centring with a training mean is done on the Gram matrix: all folds and seeds cost one
    product of the embeddings. Memory: 8 bytes × blocks × clips².
    """

    def __init__(self, x: Features, labels: Codes, k: int = DEFAULT_K) -> None:
        """Computes the Gram matrices.

        Args:
            x: Embeddings `[clip, dim]` or blocks of them.
            labels: Class number of each clip.
            k: Votes.

        Raises:
            ShapeError: no array `[clip, dim]`, or blocks of other numbers of clips.
            DegenerateError: values that are not finite.
        """
        self._grams = [_gram(block) for block in as_blocks(x)]
        self._labels = labels
        self._k = k

    def predict(
        self, train: Codes, test: Codes, n_settings: int = 1, tolerance: float = 0.0
    ) -> Codes:
        """Class numbers of the test rows `[1, test]`: this probe has one setting.

        Args:
            train: Rows that vote.
            test: Rows that are asked.
            n_settings: Without effect.
            tolerance: Without effect: nothing is fitted.

        >>> x = np.array([[1.0, 0.0], [0.9, 0.1], [-1.0, 0.0], [0.8, 0.0], [-1.0, 0.1]])
        >>> probe = KnnProbe(x, np.array([0, 0, 1, 0, 1]), k=1)
        >>> probe.predict(np.array([0, 1, 2]), np.array([3, 4])).tolist()
        [[0, 1]]
        """
        score = np.round(self._cosine(train, test), TIE_DIGITS)
        near = top_columns(score, min(self._k, len(train)))
        cosine = np.take_along_axis(score, near, axis=1)
        votes = np.zeros((len(test), int(self._labels.max()) + 1))
        sums = np.zeros_like(votes)
        rows = np.broadcast_to(np.arange(len(test))[:, None], near.shape)
        np.add.at(votes, (rows, self._labels[train][near]), 1.0)
        np.add.at(sums, (rows, self._labels[train][near]), cosine)
        tied = votes == votes.max(axis=1, keepdims=True)
        first = np.argmax(np.where(tied, np.round(sums, 9), -np.inf), axis=1)
        return np.asarray(first)[None, :]

    def _cosine(self, train: Codes, test: Codes) -> Matrix:
        """Cosine of centred rows `[test, train]`."""
        cross = np.zeros((len(test), len(train)))
        length_train, length_test = np.zeros(len(train)), np.zeros(len(test))
        for gram in self._grams:
            inner = gram[np.ix_(train, train)]
            outer = gram[np.ix_(test, train)]
            mean_train, mean_test = inner.mean(axis=1), outer.mean(axis=1)
            middle = float(mean_train.mean())
            square_train = np.diag(inner) - 2 * mean_train + middle
            square_test = gram[test, test] - 2 * mean_test + middle
            size = float(square_train.mean())
            if size <= 0:
                continue
            cross += (outer - mean_test[:, None] - mean_train[None, :] + middle) / size
            length_train += square_train / size
            length_test += square_test / size
        lengths = np.sqrt(np.outer(np.maximum(length_test, 0), np.maximum(length_train, 0)))
        # Lengths are in units of the mean length: this is the rounding of a zero row.
        zero = np.zeros_like(cross)
        return np.asarray(np.divide(cross, lengths, out=zero, where=lengths > 1e-10))


def _gram(x: Matrix) -> Matrix:
    """Gram matrix of rows near the origin, so that centring it anew loses no digits."""
    largest = float(np.abs(x).max())
    x = x / largest if largest > 0 else x
    x = x - x.mean(axis=0)
    return np.asarray(x @ x.T)
