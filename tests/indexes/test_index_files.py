"""An index belongs to its vectors: what does not match is named, not used, and built again."""

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.stored_vectors import ENCODER, add, clustered, store
from usad_workbench.core.locks import claimed
from usad_workbench.core.storage.deletion import delete_encoder
from usad_workbench.core.storage.workspace import Embeddings, Workspace
from usad_workbench.indexes import search, update_index
from usad_workbench.indexes.building import build_index
from usad_workbench.indexes.check import check_workspace
from usad_workbench.indexes.faiss_index import VectorIndex
from usad_workbench.indexes.files import clear_leftovers, index_file, open_index
from usad_workbench.workbench.cli import main

VECTORS = clustered(300, 8, 5)[0]


@pytest.fixture
def made(tmp_path: Path) -> Workspace:
    workspace = store(tmp_path / "w", VECTORS)
    update_index(workspace, ENCODER, 0)
    return workspace


def file_of(workspace: Workspace) -> Path:
    found = index_file(workspace, workspace.space_id(ENCODER, 0))
    assert found is not None
    return found


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))


def other_index(path: Path) -> None:
    """A sound file, of other vectors with the same ids."""
    build_index(np.arange(300), VECTORS[::-1].copy()).index.save(path)


@pytest.mark.parametrize(
    "spoil",
    [
        flip,
        other_index,
        Path.unlink,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-7]),
        lambda path: path.write_bytes(path.read_bytes() + b"\0"),
        lambda path: (path.unlink(), path.mkdir()),
    ],
)
def test_a_spoiled_file_is_named_not_used_and_built_again(
    made: Workspace,
    caplog: pytest.LogCaptureFixture,
    spoil,
    capsys,  # type: ignore[no-untyped-def]
) -> None:
    spoil(file_of(made))
    with caplog.at_level(logging.WARNING):
        hits = search(made, VECTORS[7], ENCODER, 0, k=5)
    exact = made.search(VECTORS[7], ENCODER, 0, 5)
    assert hits.segment_ids.tolist() == exact.segment_ids.tolist()
    assert f"The index of {ENCODER} layer 0 (mean)" in hits.notice
    assert "usad index" in hits.notice and hits.notice in caplog.text
    assert any(f"The index of {ENCODER} layer 0 (mean)" in one for one in check_workspace(made))
    if file_of(made).is_dir():
        file_of(made).rmdir()
    assert main(["index", "--workspace", str(made.folder), "--json"]) == 0
    assert check_workspace(made) == []
    assert search(made, VECTORS[7], ENCODER, 0).notice == ""


def test_the_index_of_another_space_is_not_used(made: Workspace) -> None:
    add(made, VECTORS[::-1].copy(), pooling="native")
    update_index(made, ENCODER, 0, "native")
    other = index_file(made, made.space_id(ENCODER, 0, "native"))
    shutil.copy(str(other), file_of(made))
    hits = search(made, VECTORS[7], ENCODER, 0, k=1)
    assert hits.segment_ids.tolist() == [7] and hits.notice


def test_vectors_that_came_later_are_found_before_and_after_the_update(made: Workspace) -> None:
    with made.database.write() as connection:
        connection.execute(
            "INSERT INTO clips (clip_id, path, domain, dataset, cluster_id) "
            "VALUES ('new', '', 'sound', 'made', 'new')"
        )
        connection.execute("INSERT INTO segments VALUES (300, 'new', 0, 0, '10.0s')")
    new = np.full((1, 8), -4, np.float32)
    add(made, new, first=300)
    hits = search(made, new[0], ENCODER, 0, k=1)
    assert hits.segment_ids.tolist() == [300] and "is behind" in hits.notice
    old = file_of(made)
    report = update_index(made, ENCODER, 0)
    assert (report.n, report.is_new) == (301, True)
    assert not old.exists() and [p.name for p in old.parent.iterdir()] == [file_of(made).name]
    assert search(made, new[0], ENCODER, 0, k=1).notice == ""
    for query in (0, 150, 299):
        exact = made.search(VECTORS[query], ENCODER, 0)
        assert search(made, VECTORS[query], ENCODER, 0).segment_ids.tolist() == (
            exact.segment_ids.tolist()
        )


@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw"])
def test_replaced_vectors_are_never_answered_from_the_old_index(tmp_path: Path, kind: str) -> None:
    workspace = store(tmp_path / "w", VECTORS)
    update_index(workspace, ENCODER, 0, kind=kind)  # type: ignore[arg-type]
    delete_encoder(workspace, ENCODER)
    add(workspace, VECTORS[::-1].copy())
    assert search(workspace, VECTORS[7], ENCODER, 0, k=1).segment_ids.tolist() == [292]
    assert update_index(workspace, ENCODER, 0).is_new
    assert search(workspace, VECTORS[7], ENCODER, 0, k=1).segment_ids.tolist() == [292]
    assert check_workspace(workspace) == []


def test_vectors_replaced_while_they_are_indexed_are_indexed_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = store(tmp_path / "w", VECTORS)
    read = Workspace.embeddings
    n_read = []

    def replaced_after(self: Workspace, *args: object) -> Embeddings:
        found = read(self, *args)  # type: ignore[arg-type]
        n_read.append(len(found))
        if len(n_read) == 1:
            delete_encoder(workspace, ENCODER)
            add(workspace, VECTORS[::-1].copy())
        return found

    monkeypatch.setattr(Workspace, "embeddings", replaced_after)
    report = update_index(workspace, ENCODER, 0)
    assert len(n_read) == 2 and report.is_new
    assert search(workspace, VECTORS[7], ENCODER, 0, k=1).segment_ids.tolist() == [292]
    clear_leftovers(workspace)
    assert len(list((workspace.folder / "indexes").iterdir())) == 1


def test_two_at_once_end_in_one_right_index(made: Workspace) -> None:
    """The second to note its index finds the row of the first."""
    space = made.space(ENCODER, 0)
    again = update_index(made, ENCODER, 0, kind="hnsw")
    update_index(made, ENCODER, 0, kind="flat")
    assert again.is_new and open_index(made, space).problem == ""
    assert [p.name for p in (made.folder / "indexes").iterdir()] == [file_of(made).name]


def test_what_killed_commands_left_is_cleared_and_what_lives_is_not(made: Workspace) -> None:
    folder = made.folder / "indexes"
    for name in ("space_0.4711.part", "space_0.faiss", ".index-abc.lock", ".index-abc.part"):
        (folder / name).write_bytes(b"left")
    assert any("space_0.faiss is the index of no space" in one for one in check_workspace(made))
    with claimed(folder, "index") as living:
        (folder / f".{living}.part").write_bytes(b"half")
        assert main(["index", "--workspace", str(made.folder)]) == 0
        assert {p.name for p in folder.iterdir()} == {
            file_of(made).name,
            f".{living}.part",
            f".{living}.lock",
        }
    assert check_workspace(made) == []


def test_a_killed_command_that_could_not_note_its_index_is_completed(
    made: Workspace, tmp_path: Path
) -> None:
    with made.database.write() as connection:
        connection.execute("DELETE FROM indexes")
    (file_of_old,) = (made.folder / "indexes").iterdir()
    assert main(["index", "--workspace", str(made.folder)]) == 0
    assert file_of(made) == file_of_old  # the same content has the same name
    assert check_workspace(made) == []


def test_a_folder_that_cannot_be_written_is_said_in_words(
    made: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(made.folder / "indexes")
    (made.folder / "indexes").write_text("a file in the way")
    assert main(["index", "--workspace", str(made.folder)]) == 2
    assert "indexes" in capsys.readouterr().err


def test_an_open_index_is_read_once_until_its_file_changes(
    made: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = made.space(ENCODER, 0)
    first = open_index(made, space).index
    monkeypatch.setattr(VectorIndex, "load", lambda *_: pytest.fail("read again"))
    assert open_index(made, space).index is first


def test_an_index_of_an_earlier_version_is_said_to_be_one(made: Workspace) -> None:
    with made.database.write() as connection:
        connection.execute("UPDATE indexes SET vectors_digest = NULL")
    hits = search(made, VECTORS[7], ENCODER, 0, k=1)
    assert hits.segment_ids.tolist() == [7]
    assert "by a version that did not note from which vectors" in hits.notice


def test_an_index_that_cannot_be_measured_is_named(
    made: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    flip(file_of(made))
    assert main(["index", "test", "--workspace", str(made.folder), "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == [] and "cannot be used" in err and "`usad index`" in err
