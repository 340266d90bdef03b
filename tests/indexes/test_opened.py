"""An open workspace is searched without opening its database, and never by what was before."""

import os
import time
from pathlib import Path

import numpy as np
import pytest

from tests.stored_vectors import ENCODER, add, clustered, literal_nearest, store
from usad_workbench.core.metrics import METRICS, Metric
from usad_workbench.core.storage import array_files
from usad_workbench.core.storage.database import Database
from usad_workbench.core.storage.deletion import delete_clips, delete_encoder
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.indexes import files, opened, search, search_many, update_index
from usad_workbench.indexes.files import index_file, open_index
from usad_workbench.indexes.stored import ArrayVectors, stored_vectors

N, DIM = 3000, 8
VECTORS = clustered(N, DIM, 20)[0]


@pytest.fixture(autouse=True)
def arrays_of_small_spaces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(array_files, "MIN_BYTES", 0)


def settled(workspace: Workspace) -> Workspace:
    """Waits until a later write would give the file another time for certain."""
    while not opened.database_stamps(workspace):
        time.sleep(0.01)
    return workspace


@pytest.mark.parametrize("is_held", [False, True])
@pytest.mark.parametrize("kind", ["none", "flat", "ivf", "hnsw"])
def test_a_second_search_opens_no_database_and_finds_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, is_held: bool
) -> None:
    """Of vectors that are mapped, and of those of a small space, which are held in memory."""
    if is_held:
        monkeypatch.setattr(array_files, "MIN_BYTES", 1 << 40)
    workspace = store(tmp_path / "w", VECTORS)
    workspace.embeddings(ENCODER, 0)  # writes the array file
    if kind != "none":
        update_index(workspace, ENCODER, 0, kind=kind)  # type: ignore[arg-type]
    settled(workspace)
    assert workspace.array_file(workspace.space(ENCODER, 0)).path.is_file() != is_held
    first = search(workspace, VECTORS[5], ENCODER, 0)
    assert (
        first.segment_ids.tolist() == workspace.search(VECTORS[5], ENCODER, 0).segment_ids.tolist()
    )
    filtered = search(workspace, VECTORS[5], ENCODER, 0, where="clip_id < 'c000100'")
    monkeypatch.setattr(Database, "read", lambda *_: pytest.fail("opened"))
    monkeypatch.setattr(files, "sha256_of_file", lambda _: pytest.fail("hashed"))
    again = search(workspace, VECTORS[5], ENCODER, 0)
    np.testing.assert_array_equal(again.segment_ids, first.segment_ids)
    np.testing.assert_array_equal(again.scores, first.scores)
    once_more = search(workspace, VECTORS[5], ENCODER, 0, where="clip_id < 'c000100'")
    assert once_more.segment_ids.tolist() == filtered.segment_ids.tolist()
    assert filtered.segment_ids.tolist() == literal_nearest(VECTORS, VECTORS[5], 10, np.arange(100))
    many = search_many(workspace, VECTORS[:20], ENCODER, 0)
    for i, hits in enumerate(many):
        assert (
            hits.segment_ids.tolist()
            == search(workspace, VECTORS[i], ENCODER, 0).segment_ids.tolist()
        )


@pytest.mark.parametrize("is_held", [False, True])
def test_a_write_is_seen_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_held: bool
) -> None:
    if is_held:
        monkeypatch.setattr(array_files, "MIN_BYTES", 1 << 40)
    workspace = store(tmp_path / "w", VECTORS)
    update_index(workspace, ENCODER, 0)
    settled(workspace)
    assert search(workspace, VECTORS[7], ENCODER, 0, k=1).segment_ids.tolist() == [7]
    delete_clips(workspace, ["c000007"])
    for _ in range(3):  # as long as the stamp is young, too
        assert 7 not in search(workspace, VECTORS[7], ENCODER, 0).segment_ids
    update_index(workspace, ENCODER, 0)
    assert 7 not in search(workspace, VECTORS[7], ENCODER, 0).segment_ids
    delete_encoder(workspace, ENCODER)
    add(workspace, VECTORS[::-1].copy()[:-1])
    settled(workspace)
    for _ in range(3):
        assert search(workspace, VECTORS[9], ENCODER, 0, k=1).segment_ids.tolist() == [N - 10]


def test_only_so_many_bytes_are_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(array_files, "MIN_BYTES", 1 << 40)
    monkeypatch.setattr(opened, "MAX_HELD_BYTES", 2 * VECTORS.nbytes)
    workspaces = [settled(store(tmp_path / name, VECTORS)) for name in "abc"]
    keys = [(workspace.database.path, ENCODER, 0, "mean") for workspace in workspaces]
    for one in (0, 1, 0, 2):  # the second is the one that was not asked for longest
        found = search(workspaces[one], VECTORS[5], ENCODER, 0, k=1)
        assert found.segment_ids.tolist() == [5]
    assert [key in opened._spaces for key in keys] == [True, False, True]
    monkeypatch.setattr(opened, "MAX_HELD_BYTES", 1)  # the one that is asked for stays in any case
    search(workspaces[1], VECTORS[5], ENCODER, 0, k=1)
    assert list(opened._spaces) == [keys[1]]


def test_a_file_is_hashed_only_where_its_stamp_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = store(tmp_path / "w", VECTORS)
    update_index(workspace, ENCODER, 0)
    space = workspace.space(ENCODER, 0)
    path = index_file(workspace, space.space_id)
    assert path is not None
    hashed: list[Path] = []
    whole = files.sha256_of_file
    monkeypatch.setattr(files, "sha256_of_file", lambda p: hashed.append(p) or whole(p))
    files._open.clear()  # as another process begins
    assert open_index(workspace, space).index is not None and hashed == []
    assert open_index(workspace, space, is_hashed=True).index is not None and hashed == [path]
    os.utime(path, ns=(1, 1))
    assert open_index(workspace, space).index is not None and len(hashed) == 2
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    assert "not as it was written" in open_index(workspace, space).problem


@pytest.mark.parametrize("metric", METRICS)
def test_an_index_of_another_metric_is_never_used(tmp_path: Path, metric: Metric) -> None:
    vectors = VECTORS * np.linspace(0.2, 3, N, dtype=np.float32)[:, None]  # lengths matter
    workspace = store(tmp_path / "w", vectors)
    report = update_index(workspace, ENCODER, 0, kind="ivf", metric=metric)
    assert (report.metric, report.kind) == (metric, "ivf")
    assert workspace.read("SELECT metric FROM indexes").metric.tolist() == [metric]
    assert update_index(workspace, ENCODER, 0).metric == metric  # and is kept
    for asked in METRICS:
        exact = workspace.search(vectors[9], ENCODER, 0, metric=asked)
        found = search(workspace, vectors[9], ENCODER, 0, metric=asked)
        np.testing.assert_array_equal(found.scores, exact.scores)
        np.testing.assert_array_equal(found.segment_ids, exact.segment_ids)
    other = "l2" if metric != "l2" else "cosine"
    assert update_index(workspace, ENCODER, 0, metric=other).is_new  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw"])
def test_deleted_clips_are_taken_out_without_building_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    workspace = store(tmp_path / "w", VECTORS)
    update_index(workspace, ENCODER, 0, kind=kind)  # type: ignore[arg-type]
    gone = np.arange(0, N, 11)
    delete_clips(workspace, [f"c{i:06}" for i in gone])
    monkeypatch.setattr(
        "usad_workbench.indexes.spaces.build_index", lambda *_, **__: pytest.fail("built anew")
    )
    report = update_index(workspace, ENCODER, 0)
    assert (report.kind, report.n, report.is_new) == (kind, N - len(gone), True)
    assert f"{len(gone):,} taken out" in report.reason
    kept = np.setdiff1d(np.arange(N), gone)
    for query in (0, 5, 2999):
        expected = literal_nearest(VECTORS, VECTORS[query], 10, kept)
        found = search(workspace, VECTORS[query], ENCODER, 0)
        assert found.segment_ids.tolist() == expected and found.notice == ""


def test_without_an_array_file_the_table_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(array_files, "ROOM", 1 << 40)  # a full disk
    workspace = store(tmp_path / "w", VECTORS)
    update_index(workspace, ENCODER, 0, kind="ivf")
    stored = stored_vectors(workspace, workspace.space(ENCODER, 0))
    assert not isinstance(stored, ArrayVectors)
    asked = np.array([2999, 5, 5, 0])
    np.testing.assert_array_equal(stored.rows(asked), VECTORS[asked])
    assert stored.rows(asked[:0]).shape == (0, DIM)
    found = search(workspace, VECTORS[5], ENCODER, 0)
    np.testing.assert_array_equal(found.scores, workspace.search(VECTORS[5], ENCODER, 0).scores)
