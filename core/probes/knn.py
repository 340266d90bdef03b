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
from usad_workbench.core.similarity.neighbours import BLOCK_ROWS, TIE_DIGITS, top_columns

DEFAULT_K = 10
ROUNDING = 1e-26
"""A mean square below this, of values up to 1, is the rounding of a mean."""


class KnnProbe:
    """A k-NN probe on one set of clips, for any split of them.

    Clips are compared a block of test rows at a time, so that nothing of the size clips × clips
    exists. Dropped: one Gram matrix for all folds, which took 8 bytes × clips².
    """

    def __init__(self, x: Features, labels: Codes, k: int = DEFAULT_K) -> None:
        """Takes the embeddings.

        Args:
            x: Embeddings `[clip, dim]` or blocks of them.
            labels: Class number of each clip.
            k: Votes.

        Raises:
            ShapeError: no array `[clip, dim]`, or blocks of other numbers of clips.
            DegenerateError: values that are not finite.
        """
        self._blocks = as_blocks(x)
        # The scale goes first: squares of very large or small values would leave the range.
        self._largest = [float(max(x.max(), -x.min())) or 1.0 for x in self._blocks]
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
        trained, asked = self._unit_rows(train, test)
        chosen = np.empty(len(test), dtype=np.intp)
        for start in range(0, len(test), BLOCK_ROWS):
            block = slice(start, start + BLOCK_ROWS)
            chosen[block] = self._vote(asked[block] @ trained.T, self._labels[train])
        return chosen[None, :]

    def _vote(self, cosines: Matrix, labels: Codes) -> Codes:
        """The class that wins in each row of cosines with the training rows."""
        score = np.round(cosines, TIE_DIGITS)
        near = top_columns(score, min(self._k, len(labels)))
        cosine = np.take_along_axis(score, near, axis=1)
        votes = np.zeros((len(score), int(self._labels.max()) + 1))
        sums = np.zeros_like(votes)
        rows = np.broadcast_to(np.arange(len(score))[:, None], near.shape)
        np.add.at(votes, (rows, labels[near]), 1.0)
        np.add.at(sums, (rows, labels[near]), cosine)
        tied = votes == votes.max(axis=1, keepdims=True)
        first = np.argmax(np.where(tied, np.round(sums, 9), -np.inf), axis=1)
        return np.asarray(first, dtype=np.intp)

    def _unit_rows(self, train: Codes, test: Codes) -> tuple[Matrix, Matrix]:
        """Training and test rows, centred on the former, blocks side by side, of length 1."""
        blocks = []
        rows = np.concatenate([train, test])
        for x, largest in zip(self._blocks, self._largest, strict=True):
            scaled = x[rows] / np.float64(largest)
            centred = scaled - scaled[: len(train)].mean(axis=0)
            size = float(np.mean(np.sum(centred[: len(train)] ** 2, axis=1)))
            # What is constant in training says nothing; its differences are rounding.
            blocks.append(centred / np.sqrt(size) if size > ROUNDING else np.zeros_like(centred))
        joint = np.hstack(blocks)
        lengths = np.sqrt(np.sum(joint**2, axis=1, keepdims=True))
        # Lengths are in units of the mean length: this is the rounding of a zero row.
        unit = np.divide(joint, lengths, out=np.zeros_like(joint), where=lengths > 1e-10)
        return unit[: len(train)], unit[len(train) :]
