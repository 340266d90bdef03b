"""Array files: copies of large spaces that are mapped, bound to what they are copies of."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.stored_vectors import ENCODER, add, record, store
from usad_workbench.core.storage import array_files
from usad_workbench.core.storage.deletion import delete_clips, delete_encoder
from usad_workbench.core.storage.spaces import (
    append_vectors,
    register_encoder,
    replacing,
    take_place,
)
from usad_workbench.core.storage.vector_tables import pages
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.indexes.check import check_workspace

N, DIM = 500, 8


@pytest.fixture(autouse=True)
def every_space_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(array_files, "MIN_BYTES", 1)


@pytest.fixture
def vectors() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(N, DIM)).astype(np.float32)


@pytest.fixture
def made(tmp_path: Path, vectors: np.ndarray) -> Workspace:
    """Segments whose vectors were stored in no order."""
    workspace = _with_segments(tmp_path / "w")
    order = np.random.default_rng(1).permutation(N)
    append_vectors(workspace, record(DIM), "mean", order, {0: vectors[order]})
    return workspace


def _with_segments(folder: Path) -> Workspace:
    workspace = Workspace.create(folder)
    register_encoder(workspace, record(DIM))
    with workspace.database.write() as connection:
        connection.execute(
            "INSERT INTO clips (clip_id, path, domain, dataset, cluster_id) SELECT "
            "format('c{:06}', range), '', CASE WHEN range % 3 = 0 THEN 'music' ELSE 'sound' END, "
            f"'made', 'c' FROM range({N})"
        )
        connection.execute(
            f"INSERT INTO segments SELECT range, format('c{{:06}}', range), 0, 0, '10' FROM range({N})"
        )
    return workspace


def _files(workspace: Workspace, suffix: str = ".array") -> list[Path]:
    return sorted((workspace.folder / "arrays").glob(f"*{suffix}"))


def _is_mapped(array: np.ndarray) -> bool:
    return isinstance(array.base, np.memmap)


def _check(workspace: Workspace, vectors: np.ndarray) -> None:
    found = workspace.embeddings(ENCODER, 0)
    assert found.segment_ids.tolist() == list(range(N))
    assert found.clip_ids.tolist() == [f"c{i:06}" for i in range(N)]
    assert np.array_equal(found.vectors, vectors)


def test_the_first_reader_makes_it_and_the_second_maps_it(
    made: Workspace, vectors: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not _files(made)
    _check(made, vectors)
    assert len(_files(made)) == 1
    again = Workspace.open(made.folder)
    from usad_workbench.core.storage import vector_reading

    monkeypatch.setattr(vector_reading, "pages", lambda *_: pytest.fail("the table was read"))
    for workspace in (made, again):
        _check(workspace, vectors)
        found = workspace.embeddings(ENCODER, 0)
        assert _is_mapped(found.vectors) and not found.vectors.flags.writeable
        some = workspace.embeddings(ENCODER, 0, where="domain = 'music'")
        assert some.segment_ids.tolist() == list(range(0, N, 3))
        assert np.array_equal(some.vectors, vectors[::3])
        assert some.clip_ids.tolist() == [f"c{i:06}" for i in range(0, N, 3)]


def test_what_is_in_order_goes_from_the_table_to_the_file(
    tmp_path: Path, vectors: np.ndarray
) -> None:
    workspace = store(tmp_path / "v", vectors)
    found = workspace.embeddings(ENCODER, 0)
    assert _is_mapped(found.vectors) and np.array_equal(found.vectors, vectors)
    assert not _files(workspace, ".partial")


def test_of_vectors_that_are_not_what_the_space_says_there_is_no_file(
    made: Workspace, vectors: np.ndarray
) -> None:
    with made.database.write() as connection:
        connection.execute(
            f"UPDATE vectors_0 SET vector = list_value({', '.join('1' * DIM)}) WHERE segment_id = 3"
        )
    changed = vectors.copy()
    changed[3] = 1
    for _ in range(2):
        _check(made, changed)
        assert not _files(made) and not _files(made, ".partial")
    assert any("not those that were stored" in problem for problem in check_workspace(made))


def test_a_reader_leaves_the_settings_of_its_connection(made: Workspace) -> None:
    settings = "SELECT current_setting('threads'), current_setting('memory_limit')"
    with made.database.read() as connection:
        before = connection.execute(settings).fetchall()
        assert sum(len(ids) for ids, _ in pages(connection, 0)) == N
        assert connection.execute(settings).fetchall() == before
        left = pages(connection, 0)
        next(left)
        left.close()  # as an error does
        assert connection.execute(settings).fetchall() == before


def test_search_finds_the_same_in_it(made: Workspace, vectors: np.ndarray) -> None:
    query = vectors[7] + 0.1
    for where in (None, "domain = 'music'", "domain = 'nothing'"):
        shutil.rmtree(made.folder / "arrays", ignore_errors=True)
        before = made.search(query, ENCODER, 0, 20, where)
        made.embeddings(ENCODER, 0)
        after = made.search(query, ENCODER, 0, 20, where)
        assert before.segment_ids.tolist() == after.segment_ids.tolist()
        assert np.allclose(before.scores, after.scores)


@pytest.mark.parametrize("damage", ["value", "id", "order", "shorter", "empty", "another"])
def test_damaged_or_foreign_files_are_never_used(
    made: Workspace, vectors: np.ndarray, damage: str
) -> None:
    made.embeddings(ENCODER, 0)
    (path,) = _files(made)
    raw = bytearray(path.read_bytes())
    if damage in ("value", "id"):
        raw[-3 if damage == "value" else 8] ^= 1
    if damage == "order":  # the same rows: no digest tells
        for first, width in ((0, 8), (len(raw) - 4 * N * DIM, 4 * DIM)):
            rows = np.frombuffer(raw, np.uint8, N * width, first).reshape(N, width)
            raw[first : first + N * width] = rows[::-1].tobytes()
    cut = {"shorter": len(raw) - 4, "empty": 0}.get(damage, len(raw))
    path.write_bytes(bytes(len(raw)) if damage == "another" else bytes(raw[:cut]))
    assert any("arrays/" in problem for problem in check_workspace(made))
    for workspace in (made, Workspace.open(made.folder)):
        _check(workspace, vectors)
    assert not check_workspace(made)


def test_a_hash_is_taken_again_only_of_a_file_that_was_touched(
    made: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.embeddings(ENCODER, 0)
    hashed: list[int] = []
    digest = array_files._digest
    monkeypatch.setattr(array_files, "_digest", lambda arrays: hashed.append(1) or digest(arrays))

    def read_in_another_process() -> int:
        array_files._verified.clear()
        hashed.clear()
        Workspace.open(made.folder).embeddings(ENCODER, 0)
        return len(hashed)

    assert [read_in_another_process() for _ in range(3)] == [1, 0, 0]
    (path,) = _files(made)
    os.utime(path)
    assert [read_in_another_process() for _ in range(2)] == [1, 0]
    shutil.copy2(path, path.with_suffix(".copy"))
    os.replace(path.with_suffix(".copy"), path)  # same size and time
    assert [read_in_another_process() for _ in range(2)] == [1, 0]


def test_new_vectors_have_another_file(made: Workspace, vectors: np.ndarray) -> None:
    old = made.embeddings(ENCODER, 0)
    (path,) = _files(made)
    delete_clips(made, ["c000003"])
    assert not path.exists()
    found = made.embeddings(ENCODER, 0)
    assert found.segment_ids.tolist() == [i for i in range(N) if i != 3]
    assert np.array_equal(found.vectors, np.delete(vectors, 3, axis=0))
    assert np.array_equal(old.vectors, vectors)  # what was mapped before stays
    assert len(_files(made)) == 1


def test_added_vectors_are_read(tmp_path: Path, vectors: np.ndarray) -> None:
    workspace = _with_segments(tmp_path / "a")
    add(workspace, vectors[:100])
    assert len(workspace.embeddings(ENCODER, 0)) == 100
    ids = np.arange(100, N)
    append_vectors(workspace, record(DIM), "mean", ids, {0: vectors[100:]})
    _check(workspace, vectors)
    assert len(_files(workspace)) == 1


def test_it_goes_with_its_space(made: Workspace, vectors: np.ndarray) -> None:
    made.embeddings(ENCODER, 0)
    with replacing(made) as run:
        append_vectors(made, record(DIM), "mean", np.arange(N), {0: -vectors}, run)
        take_place(made, record(DIM), run)
    assert not _files(made)
    _check(made, -vectors)
    delete_encoder(made, ENCODER)
    assert not list((made.folder / "arrays").iterdir())


def test_a_moved_or_copied_folder_works(
    made: Workspace, vectors: np.ndarray, tmp_path: Path
) -> None:
    made.embeddings(ENCODER, 0)
    copy = Workspace.open(shutil.copytree(made.folder, tmp_path / "copy"))
    moved = Workspace.open(shutil.move(made.folder, tmp_path / "moved"))
    for workspace in (copy, moved):
        _check(workspace, vectors)
        assert _is_mapped(workspace.embeddings(ENCODER, 0).vectors)


def test_a_folder_that_cannot_be_written_works_without(
    made: Workspace, vectors: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "mkdir", refuse)
    _check(made, vectors)
    assert not (made.folder / "arrays").exists()


def test_a_full_disk_leaves_nothing(
    made: Workspace, vectors: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(array_files, "_write", full)
    _check(made, vectors)
    assert not list((made.folder / "arrays").iterdir())
    monkeypatch.undo()
    monkeypatch.setattr(array_files, "MIN_BYTES", 1)
    usage = shutil.disk_usage(made.folder)._replace(free=N)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    _check(made, vectors)
    assert not _files(made)


def test_what_a_killed_reader_left_is_cleared_by_the_next(
    made: Workspace, vectors: np.ndarray
) -> None:
    space = made.space(ENCODER, 0)
    draft = made.array_file(space).create()
    assert draft is not None
    draft.add(np.arange(9), vectors[:9])
    Workspace.open(made.folder)
    assert len(_files(made, ".partial")) == 1  # somebody is writing it
    os.close(draft._descriptor)  # as a kill does
    Workspace.open(made.folder)
    assert not _files(made, ".partial")


def test_small_spaces_have_none(
    made: Workspace, vectors: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    _check(made, vectors)
    assert not _files(made)
