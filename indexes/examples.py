"""One query from several examples: segments like these, and unlike those."""

from collections.abc import Sequence

import numpy as np

from usad_workbench.core.cosine import unit_query
from usad_workbench.core.errors import ConfigError, DegenerateError
from usad_workbench.core.metrics import Metric, query_of
from usad_workbench.indexes.hits import FloatArray

UNLIKE_WEIGHT = 0.5
"""Of examples against: less than those for, so that hits stay like what was asked for (Rocchio
1971 weighs them the same way)."""


def query_of_examples(
    like: Sequence[FloatArray],
    unlike: Sequence[FloatArray] = (),
    metric: Metric = "cosine",
) -> FloatArray:
    """The vector [dim] whose nearest are those with the best score of several examples.

    The score of a segment x is the mean of its cosines with the examples for, less half the mean
    of its cosines with the examples against: ``mean(cos(x, like)) - 0.5 mean(cos(x, unlike))``.
    That is its product with ``mean(like) - 0.5 mean(unlike)``, examples at length one, so that
    every way of searching finds its nearest by one query; the same by the inner product, examples
    as they are. By L2 the query is the mean of the examples for, whose nearest have the least
    mean square of distances to them. The scores of hits are those with this one vector.

    Args:
        like: Vectors [dim], one or more.
        unlike: Vectors [dim]; not by L2.
        metric: By which is searched.

    Raises:
        ConfigError: no example for, or examples against by L2.
        ShapeError, DegenerateError: an example that cannot be a query.
        DegenerateError: examples that cancel each other out.

    >>> a, b = np.array([1, 0], np.float32), np.array([0, 2], np.float32)
    >>> query_of_examples([a, b]).round(3).tolist(), query_of_examples([a], [b]).round(3).tolist()
    ([0.5, 0.5], [1.0, -0.5])
    """
    if not len(like):
        raise ConfigError("Found no example to search for. Give one with --query or --clip.")
    if metric == "l2" and len(unlike):
        raise ConfigError(
            "Found examples against and the metric l2, by which they have no meaning. Search by "
            "cosine or inner_product, or leave them out."
        )
    if len(like) == 1 and not len(unlike):
        query_of(like[0], len(like[0]), metric)
        return np.asarray(like[0], np.float32)
    dim = len(like[0])
    ready = unit_query if metric == "cosine" else _as_it_is
    mean = np.mean([ready(one, dim).astype(np.float64) for one in like], axis=0)
    if len(unlike):
        against = np.mean([ready(one, dim).astype(np.float64) for one in unlike], axis=0)
        mean = mean - UNLIKE_WEIGHT * against
    if metric == "cosine" and np.linalg.norm(mean) < 1e-6:
        raise DegenerateError(
            "The examples cancel each other out: no direction is left to search in. Leave some "
            "of them out."
        )
    return np.asarray(mean, np.float32)


def _as_it_is(vector: FloatArray, dim: int) -> FloatArray:
    return query_of(vector, dim, "l2")
