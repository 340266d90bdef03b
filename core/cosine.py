"""The cosine, as every way of searching computes it.

A query is brought to length one in float32, as are the vectors of an index. A score is the product
of a stored vector and the query over the vector's length, in float64 and rounded once. Each row is
summed by itself: a product of matrices adds the same row in another order where it lies at another
place of a block, and scores near zero differ then.
"""

import math

import numpy as np
import numpy.typing as npt

from usad_workbench.core.errors import DegenerateError, ShapeError

FloatArray = npt.NDArray[np.float32]

_BLOCK_ROWS = 1024
"""Rows that are brought to length one at once: they stay in the processor's cache."""
_LEAST = 1e-200
"""Of a sum of squares that has lost nothing to the range of float64."""
_SHORTEST = 1e-100
"""Length that a row of zeros is divided by: that of no other row of float32."""


def normalise(vectors: FloatArray) -> FloatArray:
    """Rows at length one; a zero row stays zero, so that its cosine with anything is 0.

    >>> normalise(np.array([[3.0, 4.0], [0.0, 0.0]], dtype=np.float32)).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    unit = np.empty(vectors.shape, dtype=np.float32)
    for start in range(0, len(vectors), _BLOCK_ROWS):
        block = vectors[start : start + _BLOCK_ROWS].astype(np.float64)
        norms = np.sqrt(np.vecdot(block, block))
        norms[norms == 0] = 1.0
        block /= norms[:, None]
        unit[start : start + _BLOCK_ROWS] = block
    return unit


def unit_query(vector: npt.ArrayLike, dim: int) -> FloatArray:
    """One query at length one, shape [dim].

    Raises:
        ShapeError: no numbers, or another number of them than ``dim``.
        DegenerateError: values that are not finite, or a vector of zeros, which has no
            direction to compare.

    >>> unit_query([3, 4], 2).tolist()
    [0.6000000238418579, 0.800000011920929]
    """
    query = _numbers(vector, dim)
    square = _square(query)
    if not _LEAST < square < 1 / _LEAST:  # very large and very small values, or not finite ones
        largest = np.abs(query).max(initial=0.0)
        if largest == 0:
            raise DegenerateError(
                "The query is a vector of zeros: it has no direction, so its cosine with anything "
                "is undefined. Choose another query, or the metric l2."
            )
        _refuse_not_finite(query)
        query = query / largest
        square = float(query.dot(query))
    unit: FloatArray = (query / math.sqrt(square)).astype(np.float32)
    return unit


@np.errstate(over="ignore", invalid="ignore")
def _square(query: npt.NDArray[np.float64]) -> float:
    return float(query.dot(query))


def finite_query(vector: npt.ArrayLike, dim: int) -> FloatArray:
    """One query as it is, shape [dim], in float32.

    Raises:
        ShapeError: no numbers, or another number of them than ``dim``.
        DegenerateError: values that are not finite in float32.
    """
    with np.errstate(over="ignore"):
        query: FloatArray = _numbers(vector, dim).astype(np.float32)
    _refuse_not_finite(query)
    return query


def _numbers(vector: npt.ArrayLike, dim: int) -> npt.NDArray[np.float64]:
    try:
        query = np.asarray(vector, dtype=np.float64).reshape(-1)
    except (TypeError, ValueError) as error:
        raise ShapeError(f"The query is no array of numbers, expected {dim} of them.") from error
    if len(query) != dim:
        raise ShapeError(
            f"The query has {len(query)} values, the stored vectors have {dim}. Embed the query "
            "with the same encoder and layer."
        )
    return query


def _refuse_not_finite(query: npt.NDArray[np.floating]) -> None:
    if not np.isfinite(query).all():
        raise DegenerateError(
            "The query holds values that are not finite (NaN or infinite), expected numbers. "
            "Choose another query."
        )


def cosines(vectors: FloatArray, query: FloatArray) -> FloatArray:
    """Cosines [row] of vectors [row, dim] as they are stored and a query at length one.

    A row of zeros has the cosine 0.

    >>> cosines(np.array([[30, 40], [-6, -8], [0, 0]], np.float32), unit_query([3, 4], 2)).tolist()
    [1.0, -1.0, 0.0]
    """
    wide = vectors.astype(np.float64)
    products: npt.NDArray[np.float64] = np.vecdot(wide, query.astype(np.float64))
    lengths = np.vecdot(wide, wide)
    np.sqrt(lengths, out=lengths)
    np.maximum(lengths, _SHORTEST, out=lengths)
    products /= lengths
    found = products.astype(np.float32)
    np.minimum(found, 1, out=found)
    return np.maximum(found, -1, out=found)
