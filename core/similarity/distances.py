"""Scores and distances between vectors, one convention for the whole project.

A score is higher where nearer, a distance lower; the name says which. The cosine with a
zero vector is 0: it has no direction, so it is as near to everything as to its opposite.
"""

import numpy as np

from usad_workbench.core.arrays import Matrix, Vectors, as_vectors
from usad_workbench.core.errors import ShapeError


def normalise_rows(x: Vectors) -> Matrix:
    """Every row at length 1; a zero row stays zero.

    Args:
        x: Embeddings `[clip, dim]`.

    Raises:
        ShapeError: not `[clip, dim]`.
        DegenerateError: values that are not finite.

    >>> normalise_rows(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.6, 0.8], [0.0, 0.0]]
    """
    x = as_vectors(x, "x")
    largest = np.abs(x).max(axis=1, keepdims=True)
    x = np.divide(x, largest, out=np.zeros_like(x), where=largest > 0)
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return np.asarray(np.divide(x, length, out=np.zeros_like(x), where=length > 0))


def cosine_similarity(x: Vectors, y: Vectors | None = None) -> Matrix:
    """Cosine of every row of ``x`` with every row of ``y``, a score in [-1, 1].

    Args:
        x: Embeddings `[clip_x, dim]`.
        y: Embeddings `[clip_y, dim]`; ``x`` itself where none.

    Returns:
        Scores `[clip_x, clip_y]`; 0 where one side is a zero vector.

    Raises:
        ShapeError: other dims.
        DegenerateError: values that are not finite.

    >>> cosine_similarity(np.array([[1.0, 0.0]]), np.array([[2.0, 0.0], [0.0, 0.0]])).tolist()
    [[1.0, 0.0]]
    """
    a = normalise_rows(x)
    b = a if y is None else normalise_rows(y)
    _check_dims(a, b)
    return np.asarray(a @ b.T)


def squared_euclidean_distance(x: Vectors, y: Vectors | None = None) -> Matrix:
    """Squared Euclidean distance of every row of ``x`` to every row of ``y``.

    Args:
        x: Embeddings `[clip_x, dim]`.
        y: Embeddings `[clip_y, dim]`; ``x`` itself where none.

    Returns:
        Distances `[clip_x, clip_y]` in squared units of the embedding, never negative.

    Raises:
        ShapeError: other dims.
        DegenerateError: values that are not finite.

    >>> squared_euclidean_distance(np.array([[0.0, 0.0]]), np.array([[3.0, 4.0]])).tolist()
    [[25.0]]
    """
    a = as_vectors(x, "x")
    b = a if y is None else as_vectors(y, "y")
    _check_dims(a, b)
    # Distances do not change with the origin; near it the expansion loses no digits.
    origin = b.mean(axis=0)
    a, b = a - origin, b - origin
    squares = np.sum(a**2, axis=1)[:, None] + np.sum(b**2, axis=1)[None, :] - 2 * (a @ b.T)
    return np.asarray(np.maximum(squares, 0.0))


def _check_dims(a: Matrix, b: Matrix) -> None:
    if a.shape[1] != b.shape[1]:
        raise ShapeError(
            f"x has {a.shape[1]} dims and y has {b.shape[1]}, expected vectors of one space. "
            "Compare vectors of the same encoder, layer and pooling."
        )
