"""How far two rankings agree: overlap of their first k, and rank-biased overlap."""

from collections.abc import Hashable, Sequence

from usad_workbench.core.errors import ConfigError, DegenerateError
from usad_workbench.core.metrics import check_k

PERSISTENCE = 0.9
"""With this, the first 10 ranks have 86 % of the weight."""


def overlap_at_k(first: Sequence[Hashable], second: Sequence[Hashable], k: int) -> float:
    """The share of the first k of two rankings that both hold, 0 to 1.

    Of rankings shorter than k, as a share of the longer one.

    Args:
        first: Items, best first, each once.
        second: The same.
        k: How deep to look.

    Raises:
        ConfigError: a ``k`` below 1.
        DegenerateError: both are empty, or an item stands twice.

    >>> overlap_at_k([1, 2, 3, 4], [2, 1, 9, 8], 2), overlap_at_k([1, 2, 3, 4], [2, 1, 9, 8], 4)
    (1.0, 0.5)
    """
    check_k(k)
    _check(first, second)
    depth = min(k, max(len(first), len(second)))
    return len(set(first[:k]) & set(second[:k])) / depth


def rank_biased_overlap(
    first: Sequence[Hashable], second: Sequence[Hashable], p: float = PERSISTENCE
) -> float:
    """Extrapolated rank-biased overlap of two rankings: 1 where they are equal, 0 where disjoint.

    A reader goes from one rank to the next with probability p; the overlap at each depth counts
    by how many get there. What lies below the lists is assumed to agree as they do at their
    end: RBO_EXT of Webber, Moffat & Zobel 2010, *A similarity measure for indefinite rankings*,
    equation 32, which takes lists of unequal length.

    Args:
        first: Items, best first, each once.
        second: The same.
        p: Persistence, above 0 and below 1.

    Raises:
        ConfigError: a persistence that is not between 0 and 1.
        DegenerateError: both are empty, or an item stands twice.

    >>> rank_biased_overlap("abc", "abc"), rank_biased_overlap("abc", "xyz")
    (1.0, 0.0)
    >>> round(rank_biased_overlap("abc", "bac"), 3)
    0.9
    """
    if not 0 < p < 1:
        raise ConfigError(f"Found the persistence {p:g}, expected one above 0 and below 1.")
    _check(first, second)
    short, long = sorted((list(first), list(second)), key=len)
    if not short:
        return 0.0
    shorter, longer = len(short), len(long)
    overlaps = [len(set(short[:depth]) & set(long[:depth])) for depth in range(1, longer + 1)]
    at_short, at_long = overlaps[shorter - 1], overlaps[-1]
    weighted = sum(overlaps[d - 1] / d * p**d for d in range(1, longer + 1))
    below = sum(
        at_short * (d - shorter) / (shorter * d) * p**d for d in range(shorter + 1, longer + 1)
    )
    rest = ((at_long - at_short) / longer + at_short / shorter) * p**longer
    return min(1.0, (1 - p) / p * (weighted + below) + rest)


def _check(first: Sequence[Hashable], second: Sequence[Hashable]) -> None:
    if not len(first) and not len(second):
        raise DegenerateError("Found two empty rankings, expected items in one of them.")
    for ranking in (first, second):
        if len(set(ranking)) < len(ranking):
            raise DegenerateError("A ranking holds an item twice, expected each once.")
