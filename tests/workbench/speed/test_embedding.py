"""The bare pass and ``embed`` run the same clips through the same network."""

import pytest

from usad_workbench.workbench.speed.embedding import bench_embed


@pytest.mark.long
def test_the_benchmark_of_embedding_in_small() -> None:
    rows = list(bench_embed(("usad-demo",), clips_per_domain=1, repeats=1))
    assert [row.name for row in rows] == [
        f"embed usad-demo, 4 clips {form}, all layers, {clock}"
        for form in ("as Ogg", "as WAV")
        for clock in ("processor", "wall")
    ]
    assert all(row.value > 0 and row.peer_value > 0 for row in rows)
    assert {row.peer for row in rows} == {"the bare forward pass"}
