"""Shards: every segment once, whoever dies; what kills whoever touches it is found."""

import random

import pytest

from usad_workbench.core.distributed.shards import (
    MAX_DEATHS_IN_A_ROW,
    SHARD_S,
    Shard,
    ShardQueue,
    cut,
)
from usad_workbench.core.errors import WorkerError
from usad_workbench.core.storage.segment_audio import SegmentAudio


def segments(n: int, duration_s: float = 10.0) -> list[SegmentAudio]:
    return [SegmentAudio(i, f"{i}.wav", 0.0, duration_s, None) for i in range(n)]


def test_shards_hold_every_segment_once_and_are_small() -> None:
    asked = segments(5000)
    for n_workers in (1, 2, 100):
        shards = cut(asked, n_workers, shard_segments=300)
        assert [s for shard in shards for s in shard.segments] == asked
        assert max(len(shard) for shard in shards) <= 300
        assert len(shards) > 3.8 * n_workers
    large = cut(asked, 1, segment_bytes=49 * 1280 * 4)
    assert max(len(shard) for shard in large) == 64 * 2**20 // (49 * 1280 * 4)
    assert [len(s) for s in cut(segments(2), 1, segment_bytes=2**40)] == [1, 1]
    assert cut([], 3) == []
    assert [len(s) for s in cut(segments(3, SHARD_S), 1)] == [1, 1, 1]


def test_names_of_shards_go_by_their_content() -> None:
    first, second = Shard(segments=tuple(segments(3))), Shard(segments=tuple(segments(4)))
    assert first.name == Shard(segments=tuple(segments(3)), n_deaths=1).name
    assert first.name != second.name
    changed = (*segments(2), SegmentAudio(2, "2.wav", 0.0, 10.0, "other audio"))
    assert Shard(segments=changed).name != first.name


@pytest.mark.parametrize("seed", range(20))
def test_the_poisoned_are_named_and_the_rest_is_done(seed: int) -> None:
    """Workers die of poisoned segments always, and of nothing now and then."""
    chance = random.Random(seed)
    asked = segments(chance.randint(1, 400))
    poisoned = {s.segment_id for s in chance.sample(asked, min(len(asked), chance.randint(0, 3)))}
    queue = ShardQueue(cut(asked, 2, shard_segments=64), 2)
    done: list[int] = []
    given_up: list[int] = []
    n_random = 3
    while queue:
        shard = queue.take()
        dies_of_nothing = n_random > 0 and chance.random() < 0.1
        n_random -= dies_of_nothing
        if dies_of_nothing or poisoned & {s.segment_id for s in shard.segments}:
            lost = queue.died(shard)
            given_up += [lost.segment_id] if lost else []
        else:
            queue.done()
            done += [s.segment_id for s in shard.segments]
    assert sorted(given_up) == sorted(poisoned)
    assert sorted(done) == sorted({s.segment_id for s in asked} - poisoned)


def test_one_poisoned_segment_costs_eleven_workers() -> None:
    queue = ShardQueue([Shard(segments=tuple(segments(256)))], 1)
    n_deaths = 0
    while queue:
        shard = queue.take()
        if 77 in {s.segment_id for s in shard.segments}:
            n_deaths += 1
            queue.died(shard)
        else:
            queue.done()
    assert n_deaths == 11


def test_workers_that_all_die_end_the_work() -> None:
    queue = ShardQueue(cut(segments(100_000), 5), 5)
    n_deaths = 0
    with pytest.raises(WorkerError, match="not one file"):
        while queue:
            n_deaths += 1
            queue.died(queue.take())
    assert n_deaths == MAX_DEATHS_IN_A_ROW + 3 * 5 + 1


def test_a_lost_machine_with_all_its_workers_is_no_reason_to_stop() -> None:
    queue = ShardQueue(cut(segments(100_000), 64), 64)
    for shard in [queue.take() for _ in range(64)]:
        assert queue.died(shard) is None
    queue.put_back(queue.take())
    assert len(queue) == len(cut(segments(100_000), 64))
