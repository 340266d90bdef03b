"""What goes into a probe: the embeddings of one encoder, or of several side by side.

Blocks of several encoders are centred and scaled to equal mean square length with the
training fold's statistics: unscaled, the block with the largest norm would be the only one
that counts (an oracle of three specialists at 0.94 falls to the one at 0.48).

Dims of a single encoder are standardised one by one. Principal axes must not be: it would
whiten them, so that the last axis counts as much as the first. They come as a list of one.
"""

from collections.abc import Sequence

import numpy as np

from usad_workbench.core.arrays import Matrix, Vectors, finite_vectors
from usad_workbench.core.errors import ShapeError
from usad_workbench.core.probes.folds import Codes

Features = Vectors | Sequence[Vectors]
"""Embeddings `[clip, dim]`, or a list of them: the encoders of a concatenation. The blocks of a
list keep the variances of their dims, also where it is a list of one."""


def as_blocks(x: Features) -> list[Vectors]:
    """One array `[clip, dim]` for each encoder, as it came: rows become float64 when used.

    Raises:
        ShapeError: no array `[clip, dim]`, or blocks of other numbers of clips.
        DegenerateError: values that are not finite.
    """
    arrays = [x] if isinstance(x, np.ndarray) else list(x)
    blocks = [finite_vectors(block, f"block {number}") for number, block in enumerate(arrays)]
    if not blocks or len({len(block) for block in blocks}) != 1:
        raise ShapeError(
            f"The blocks have {[len(block) for block in blocks]} clips, expected at least one "
            "block and the same clips in each. Select the clips that all encoders have."
        )
    return blocks


def scaled_features(x: Features, train: Codes, rows: Codes | None = None) -> Matrix:
    """The features of a linear probe, with mean square length 1 on the training rows.

    One array: every dim standardised; a dim that is constant in training is dropped to 0.
    A list: each block centred and scaled as a whole. The overall scale makes one grid of
    penalties fit all encoders.

    Args:
        x: Finite embeddings `[clip, dim]`, or a list of such blocks.
        train: Training rows.
        rows: The rows that are asked for; all where none.

    Returns:
        `[row, dim]` for the rows that are asked for.
    """
    if not isinstance(x, np.ndarray):
        scaled = np.hstack([centred_block(block, train, rows) for block in x])
        return np.asarray(scaled / np.sqrt(len(x)))
    largest = np.maximum(x.max(axis=0), -x.min(axis=0)).astype(np.float64)
    unit = np.where(largest > 0, largest, 1.0)
    trained, asked = x[train] / unit, (x if rows is None else x[rows]) / unit
    mean = trained.mean(axis=0)
    deviation = np.sqrt(np.mean((trained - mean) ** 2, axis=0))
    # Below this, the deviation is the rounding of the mean.
    scale = np.where(deviation > 1e-12, 1 / np.maximum(deviation, 1e-12), 0.0)
    return np.asarray((asked - mean) * scale / np.sqrt(max(1, int(np.sum(scale > 0)))))


def centred_block(block: Vectors, train: Codes, rows: Codes | None = None) -> Matrix:
    """A block with mean 0 and mean square length 1 on the training rows.

    A block that is constant there stays 0.

    >>> centred_block(np.array([[1.0, 0.0], [3.0, 0.0], [5.0, 1.0]]), np.array([0, 1])).tolist()
    [[-1.0, 0.0], [1.0, 0.0], [3.0, 1.0]]
    """
    trained = block[train].astype(np.float64)
    mean = trained.mean(axis=0)
    length = np.sqrt(np.mean(np.sum((trained - mean) ** 2, axis=1)))
    centred = (block if rows is None else block[rows]) - mean
    return np.asarray(centred / length if length > 0 else centred)
