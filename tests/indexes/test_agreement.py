"""Agreement of rankings against their literal definitions."""

import numpy as np
import pytest

from usad_workbench.core.errors import ConfigError, DegenerateError
from usad_workbench.indexes.agreement import overlap_at_k, rank_biased_overlap


def literal_rbo(first: list, second: list, p: float) -> float:  # type: ignore[type-arg]
    """The infinite sum (Webber et al., eq. 4) over agreements extrapolated to great depth.

    Below the shorter list its items go on to agree as they do at its end (their section 3.3),
    below the longer one the agreement stays.
    """
    short, long = sorted((first, second), key=len)
    s, n = len(short), len(long)
    total = 0.0
    for depth in range(1, 3000):
        d = min(depth, n)
        overlap = float(len(set(short[:d]) & set(long[:d])))
        if d > s:
            overlap += (d - s) * len(set(short) & set(long[:s])) / s
        total += p ** (depth - 1) * overlap / d
    return (1 - p) * total


@pytest.mark.parametrize("p", [0.5, 0.9, 0.98])
def test_rank_biased_overlap_is_its_infinite_sum(p: float) -> None:
    rng = np.random.default_rng(0)
    for lengths in ((1, 1), (10, 10), (4, 9), (9, 4), (10, 3)):
        for _ in range(5):
            first, second = (rng.permutation(14)[:n].tolist() for n in lengths)
            expected = literal_rbo(first, second, p)
            assert rank_biased_overlap(first, second, p) == pytest.approx(expected, abs=1e-9)
            assert rank_biased_overlap(second, first, p) == pytest.approx(expected, abs=1e-9)


def test_the_ends_and_the_weight_of_the_top() -> None:
    items = list(range(20))
    assert rank_biased_overlap(items, items) == pytest.approx(1)
    assert rank_biased_overlap(items, [-i - 1 for i in items]) == 0
    top = [1, 0, *items[2:]]
    bottom = [*items[:-2], 19, 18]
    assert rank_biased_overlap(items, bottom) > rank_biased_overlap(items, top)
    assert rank_biased_overlap([], [1]) == 0


def test_overlap_is_the_share_of_common_items() -> None:
    assert overlap_at_k("abcdef", "fedcba", 3) == 0
    assert overlap_at_k("abcdef", "fedcba", 4) == 0.5
    assert overlap_at_k("ab", "abcd", 10) == 0.5


def test_what_is_no_ranking_is_refused() -> None:
    for way in (rank_biased_overlap, lambda a, b: overlap_at_k(a, b, 3)):
        with pytest.raises(DegenerateError, match="empty"):
            way([], [])
        with pytest.raises(DegenerateError, match="twice"):
            way([1, 1], [2])
    with pytest.raises(ConfigError, match="persistence"):
        rank_biased_overlap([1], [1], 1.0)
    with pytest.raises(ConfigError):
        overlap_at_k([1], [1], 0)
