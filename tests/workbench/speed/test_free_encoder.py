"""The encoder that costs nothing goes the whole way, and its rows are told apart."""

import pytest

from usad_workbench.workbench.speed.free_encoder import bench_free_encoder


@pytest.mark.long
def test_the_benchmark_of_a_free_encoder_in_small() -> None:
    rows = list(bench_free_encoder(n_segments=3, repeats=1))
    assert [row.name for row in rows] == [
        f"embed with a free encoder, {stack}, 3 segments, {clock}"
        for stack in ("13 x 384", "49 x 1280")
        for clock in ("processor", "wall")
    ]
    assert all(row.value > 0 and row.peer_value > 0 for row in rows)
