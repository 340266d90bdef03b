"""The order of batches: a function of seed and step, with the shares that were asked for."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from usad_workbench.training.batches import split_batch
from usad_workbench.training.sampler import BatchSampler

N = 400
RNG = np.random.default_rng(0)
DURATIONS_S = np.where(RNG.random(N) < 0.4, 10.0, RNG.uniform(0.5, 10, N))
SOURCES = [0] * 250 + [1] * 100 + [2] * 50


def sampler(seed: int = 0, share: dict[int, float] | None = None) -> BatchSampler:
    return BatchSampler(DURATIONS_S, SOURCES, batch_s=60.0, share=share, seed=seed)


def epoch(of: BatchSampler, number: int) -> list[int]:
    steps = range(number * of.n_batches, (number + 1) * of.n_batches)
    return [piece for step in steps for piece in of.batch(step)]


def test_any_step_can_be_asked_for_first() -> None:
    whole = sampler()
    sequence = [whole.batch(step) for step in range(5 * whole.n_batches)]
    steps = np.random.default_rng(1).permutation(len(sequence))
    jumping = sampler()
    assert all(jumping.batch(int(step)) == sequence[step] for step in steps)
    far = 600_000
    assert sampler().batch(far) == jumping.batch(far)
    other = sampler(seed=1)
    assert any(other.batch(step) != sequence[step] for step in range(5))
    assert sequence[0] != sequence[whole.n_batches]


def test_each_piece_once_an_epoch_in_batches_that_fit() -> None:
    one = sampler()
    for number in range(3):
        assert sorted(epoch(one, number)) == list(range(N))
    lengths = [DURATIONS_S[one.batch(step)] for step in range(one.n_batches)]
    held_s = [len(of_batch) * of_batch.max() for of_batch in lengths]
    assert max(held_s) <= 60.0
    assert sum(held < 30.0 for held in held_s) <= 1
    padding = 1 - sum(of_batch.sum() for of_batch in lengths) / sum(held_s)
    assert one.padding_share() == pytest.approx(padding) and padding < 0.06


@pytest.mark.parametrize("share", [{0: 1.0, 1: 1.0, 2: 1.0}, {0: 1.0, 1: 3.0, 2: 0.2}])
def test_shares_are_kept_to_a_piece_and_no_piece_is_forgotten(share: dict[int, float]) -> None:
    of = sampler(share=share)
    seconds = {g: DURATIONS_S[np.asarray(SOURCES) == g].sum() for g in share}
    per_piece: Counter[int] = Counter()
    n_epochs = 60
    for number in range(n_epochs):
        drawn = epoch(of, number)
        per_piece.update(drawn)
        counts = Counter(SOURCES[piece] for piece in drawn)
        for group, amount in share.items():
            wanted_s = amount / sum(share.values()) * DURATIONS_S.sum()
            wanted = wanted_s / seconds[group] * SOURCES.count(group)
            assert abs(counts[group] - wanted) < 1.0
    for group in share:
        drawn_of = np.array([per_piece[i] for i in range(N) if SOURCES[i] == group])
        expected = drawn_of.mean()
        assert drawn_of.min() > 0.4 * expected and drawn_of.max() < 2 * expected


def test_processes_share_a_batch_without_loss() -> None:
    of = sampler()
    for step in range(10):
        batch = of.batch(step)
        for n in (1, 2, 3):
            parts = [split_batch(batch, rank, n, 2) for rank in range(n)]
            found = [piece for share in parts for part, counts in share if counts for piece in part]
            assert sorted(found) == sorted(batch)
            assert len({len(share) for share in parts}) == 1
