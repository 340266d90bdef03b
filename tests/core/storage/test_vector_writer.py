"""Vectors that a thread stores beside the work, and how the file grows by them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pytest

from tests.stored_vectors import record, store
from usad_workbench.core.errors import ProvenanceError, ShapeError, StoreError
from usad_workbench.core.storage.database import ROW_GROUP_ROWS, Database
from usad_workbench.core.storage.deletion import delete_clips, delete_encoder
from usad_workbench.core.storage.spaces import EncoderRecord, append_vectors, register_encoder
from usad_workbench.core.storage.vector_tables import StoredIds, digest_of
from usad_workbench.core.storage.vector_writer import VectorWriter
from usad_workbench.core.storage.workspace import Workspace

N_SEGMENTS = 5000
LAYERS = (0, 2)


def _record(name: str = "e") -> EncoderRecord:
    made = record(3, n_layers=2)
    return replace(made, spec=replace(made.spec, name=name))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Clips without audio, one segment each, and an encoder without vectors."""
    workspace = store(tmp_path / "w", np.ones((N_SEGMENTS, 2), np.float32))
    register_encoder(workspace, _record())
    return workspace


def _vectors(ids: np.ndarray) -> dict[int, np.ndarray]:
    """Every segment's own, another in each layer."""
    return {
        layer: np.stack([ids, ids**2 + layer, np.ones(len(ids)) * layer], 1).astype(np.float32)
        for layer in LAYERS
    }


def _check(workspace: Workspace, ids: np.ndarray) -> None:
    for layer, expected in _vectors(np.sort(ids)).items():
        found = workspace.embeddings("e", layer)
        assert found.segment_ids.tolist() == np.sort(ids).tolist()
        assert np.array_equal(found.vectors, expected)
        assert found.space.n == len(ids)
        assert found.space.digest == digest_of(found.segment_ids, found.vectors)


def _portions(ids: np.ndarray, n: int = 50) -> Iterator[tuple[np.ndarray, dict[int, np.ndarray]]]:
    for start in range(0, len(ids), n):
        yield ids[start : start + n], _vectors(ids[start : start + n])


def _count_transactions(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    counted: list[bool] = []
    write = Database.write

    @contextmanager
    def counting(self: Database, *, bulk: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
        counted.append(bulk)
        with write(self, bulk=bulk) as connection:
            yield connection

    monkeypatch.setattr(Database, "write", counting)
    return counted


def test_small_portions_become_few_transactions(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = _count_transactions(monkeypatch)
    ids = np.random.default_rng(0).permutation(N_SEGMENTS)
    with VectorWriter(workspace, _record(), "mean") as writer:
        for portion in _portions(ids):
            writer.add(*portion)
    assert counted == [True] and writer.n_stored == N_SEGMENTS
    _check(workspace, ids)


def test_transactions_are_of_the_size_that_was_asked_for(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = _count_transactions(monkeypatch)
    ids = np.arange(N_SEGMENTS)
    of_portion = 50 * 3 * 4 * len(LAYERS)
    with VectorWriter(workspace, _record(), "mean", commit_bytes=10 * of_portion) as writer:
        for portion in _portions(ids):
            writer.add(*portion)
    assert 3 <= len(counted) <= 10  # four times as many may wait while one is written
    _check(workspace, ids)


def test_what_waits_for_more_is_stored_after_a_time(workspace: Workspace) -> None:
    ids = np.arange(100)
    with VectorWriter(workspace, _record(), "mean", commit_s=0.0) as writer:
        writer.add(ids[:60], _vectors(ids[:60]))
        with writer._changed:  # no more is handed over
            assert writer._changed.wait_for(lambda: writer.n_committed == 60, timeout=60)
        _check(workspace, ids[:60])
        writer.add(ids[60:], _vectors(ids[60:]))
        writer.flush()
        _check(workspace, ids)


def test_what_was_stored_is_counted_and_not_what_was_handed_over(workspace: Workspace) -> None:
    """Ten are there already, ten are of segments that are gone."""
    ids = np.arange(N_SEGMENTS - 50, N_SEGMENTS + 10)
    append_vectors(workspace, _record(), "mean", ids[:10], _vectors(ids[:10]))
    with VectorWriter(workspace, _record(), "mean") as writer:
        for portion in _portions(ids):
            writer.add(*portion)
    assert (writer.n_committed, writer.n_stored) == (60, 40)
    with VectorWriter(workspace, _record(), "mean") as writer:
        writer.add(ids, _vectors(ids))
    assert (writer.n_committed, writer.n_stored) == (60, 0)


def test_an_error_of_the_store_is_raised_in_the_caller(workspace: Workspace) -> None:
    ids = np.arange(100)
    writer = VectorWriter(workspace, _record(), "mean")
    writer.add(ids[:50], _vectors(ids[:50]))
    writer.flush()
    delete_encoder(workspace, "e")
    writer.add(ids[50:], _vectors(ids[50:]))
    for act in (writer.flush, lambda: writer.add(ids, _vectors(ids)), writer.close):
        with pytest.raises(ProvenanceError, match="was deleted"):
            act()
    assert writer.n_stored == 50 and workspace.embedded() == ["made"]


def test_what_was_handed_over_is_stored_when_the_work_fails(workspace: Workspace) -> None:
    ids = np.arange(100)
    with pytest.raises(ZeroDivisionError), VectorWriter(workspace, _record(), "mean") as writer:
        writer.add(ids, _vectors(ids))
        1 / 0  # noqa: B018
    _check(workspace, ids)


def test_two_writers_of_the_same_segments_store_each_once(workspace: Workspace) -> None:
    """The second has looked up what is stored before the first adds to it, and after."""
    ids = np.arange(600)
    known = (StoredIds(), StoredIds())
    rng = np.random.default_rng(0)
    for _ in range(12):
        for stored_ids in known:
            some = rng.choice(ids, 200, replace=False)
            append_vectors(workspace, _record(), "mean", some, _vectors(some), None, stored_ids)
    append_vectors(workspace, _record(), "mean", ids, _vectors(ids))
    _check(workspace, ids)


def test_two_precisions_of_one_encoder_never_meet(workspace: Workspace) -> None:
    """Two commands may begin before either has stored anything, each with layers of its own."""
    other = replace(_record(), precision="bfloat16")
    register_encoder(workspace, other)
    ids = np.arange(3)
    append_vectors(workspace, _record(), "mean", ids, {0: _vectors(ids)[0]})
    with pytest.raises(ProvenanceError, match=r"float32; now .*bfloat16.*must not be mixed"):
        append_vectors(workspace, other, "mean", ids, {2: _vectors(ids)[2]})
    assert workspace.layers("e") == [0]


def test_segments_that_were_deleted_meanwhile_get_no_vector(workspace: Workspace) -> None:
    ids = np.arange(100)
    with VectorWriter(workspace, _record(), "mean") as writer:
        writer.add(ids[:50], _vectors(ids[:50]))
        writer.flush()
        delete_clips(workspace, [f"c{i:06}" for i in (3, 70)])
        writer.add(ids[50:], _vectors(ids[50:]))
    _check(workspace, np.delete(ids, [3, 70]))


def test_what_is_handed_to_a_closed_writer_is_refused(workspace: Workspace) -> None:
    ids = np.arange(5)
    with VectorWriter(workspace, _record(), "mean") as writer:
        pass
    with pytest.raises(StoreError, match="closed"):
        writer.add(ids, _vectors(ids))


def test_a_segment_twice_in_a_batch_is_refused(workspace: Workspace) -> None:
    ids = np.array([1, 2, 1])
    with pytest.raises(ShapeError, match="twice"):
        append_vectors(workspace, _record(), "mean", ids, _vectors(ids))
    assert workspace.embedded() == ["made"]


def test_what_is_stored_is_looked_up_once(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look-up at each commit would make the whole quadratic."""
    from usad_workbench.core.storage import vector_tables

    asked: list[int] = []
    ids_of = vector_tables.ids_of
    monkeypatch.setattr(
        vector_tables, "ids_of", lambda c, space_id: asked.append(space_id) or ids_of(c, space_id)
    )
    ids = np.arange(N_SEGMENTS)
    append_vectors(workspace, _record(), "mean", ids[:9], _vectors(ids[:9]))
    with VectorWriter(workspace, _record(), "mean", commit_bytes=1) as writer:
        for portion in _portions(ids, 500):
            writer.add(*portion)
            writer.flush()
    assert sorted(asked) == [1, 2]  # of both layers
    _check(workspace, ids)


def test_a_commit_writes_what_is_new_alone(workspace: Workspace) -> None:
    """DuckDB's own groups of 122,880 rows are written anew by every small commit."""
    rng = np.random.default_rng(0)
    made = replace(record(256), spec=replace(record(256).spec, name="wide"))
    register_encoder(workspace, made)
    n = 8 * ROW_GROUP_ROWS
    ids = np.arange(n)
    append_vectors(workspace, made, "mean", ids, {0: rng.normal(size=(n, 256)).astype("f4")})
    before = _written_bytes()
    few = np.arange(n, n + 64)
    append_vectors(workspace, made, "mean", few, {0: rng.normal(size=(64, 256)).astype("f4")})
    after_one = _written_bytes()
    with workspace.database.write() as connection:  # an ordinary one joins groups, but no large one
        connection.execute("INSERT INTO failures VALUES ('a', 'b', 'c')")
    assert after_one - before < n * 256 * 4 / 4
    assert _written_bytes() - after_one < n * 256 * 4 / 4


def _written_bytes() -> int:
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["wchar"])
