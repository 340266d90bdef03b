"""Both sides of the benchmarks of the store do the same work, and rows are what they say."""

from pathlib import Path

import duckdb
import numpy as np
import pytest

from usad_workbench.workbench.speed import storing
from usad_workbench.workbench.speed.planted import plant, workspace_of


def test_ours_and_duckdb_hold_the_same_vectors(tmp_path: Path) -> None:
    planted = plant(300, dim=6)
    vectors = planted.vectors()
    workspace = workspace_of(planted, tmp_path / "ours")
    storing.fill(workspace, {0: vectors[:250], 1: vectors[50:]})
    storing.fill_duckdb(tmp_path / "peer.duckdb", {0: vectors, 1: vectors + 1})
    stored = workspace.embeddings(storing.ENCODER, 0)
    assert np.array_equal(stored.vectors, vectors[:250])
    assert stored.clip_ids.tolist() == planted.clip_ids[:250]
    assert np.array_equal(workspace.embeddings(storing.ENCODER, 1).vectors, vectors[50:])
    assert np.array_equal(storing.read_duckdb(tmp_path / "peer.duckdb"), vectors)
    with duckdb.connect(str(tmp_path / "peer.duckdb")) as connection:
        (kind,) = [row[1] for row in connection.sql("DESCRIBE vectors_1").fetchall()][1:]
    assert kind == "FLOAT[6]"


def test_portions_hold_every_row_once() -> None:
    for n, n_layers in ((1, 1), (45_000, 1), (100, 13)):
        rows = [row for part in storing._portions(n, n_layers) for row in range(n)[part]]
        assert rows == list(range(n))


@pytest.mark.long
def test_the_benchmarks_in_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storing, "REPEATS", 1)
    monkeypatch.setattr(storing, "STACKS", ((3, 8),))
    rows = [
        *storing.bench_store_write(400),
        *storing.bench_store_read(400),
        *storing.bench_store_stack(400),
    ]
    assert len({row.name for row in rows}) == len(rows) == 10
    assert all(row.value > 0 and row.peer_value > 0 for row in rows)
    assert {row.unit for row in rows} == {"MB/s", "bytes per byte", "segments/s", "audio s/s"}
