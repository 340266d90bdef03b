"""Connections live as long as one piece of work; blocks of readers of one thread share theirs."""

import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from usad_workbench.core.errors import StoreError
from usad_workbench.core.storage.workspace import Workspace


def test_readers_within_a_block_open_nothing_and_see_its_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace.create(tmp_path / "w")
    opened: list[bool] = []
    connect = duckdb.connect

    def counting(*args: object, **settings: object) -> duckdb.DuckDBPyConnection:
        opened.append(True)
        return connect(*args, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(duckdb, "connect", counting)
    with workspace.database.read() as outer:
        pending = outer.execute("SELECT range AS i FROM range(5000)")
        first = pending.fetchone()
        assert workspace.clips().empty and workspace.spaces().empty
        with workspace.database.read() as inner:
            assert inner.execute("SELECT 7").fetchall() == [(7,)]
        # A result that is being read is not disturbed by what others ask.
        assert [first, *pending.fetchall()] == [(i,) for i in range(5000)]
    assert len(opened) == 1
    workspace.clips()
    assert len(opened) == 2
    with workspace.database.write() as connection:  # the block has left nothing behind
        connection.execute("INSERT INTO failures VALUES ('a', 'b', 'c')")
    assert len(workspace.read("SELECT * FROM failures")) == 1
    with (
        workspace.database.read(),
        pytest.raises(RuntimeError, match="waits for itself"),
        workspace.database.write(),
    ):
        pass


def test_a_plain_connection_of_this_process_is_named(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "w")
    with duckdb.connect(str(workspace.database.path), read_only=True):
        with pytest.raises(StoreError, match="Close that connection"):
            workspace.clips()
        with (
            pytest.raises(StoreError, match="Close that connection"),
            workspace.database.write(),
        ):
            pass
    assert workspace.clips().empty


KILLED = """
import os, sys
from usad_workbench.core.storage.database import Database
from pathlib import Path
database = Database(Path(sys.argv[1]))
with database._connected(False) as connection:
    connection.execute("INSERT INTO failures VALUES ('committed', 'b', 'c')")
    os.kill(os.getpid(), 9)
"""


def test_what_a_killed_command_has_committed_moves_into_the_file(tmp_path: Path) -> None:
    """So that the file alone, copied elsewhere, holds it; within a reader it waits for nobody."""
    workspace = Workspace.create(tmp_path / "w")
    path = workspace.database.path
    log = Path(f"{path}.wal")
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert killed.returncode == -9 and log.exists()
    with workspace.database.read():
        Workspace.open(workspace.folder)
    assert log.exists()
    Workspace.open(workspace.folder)
    assert not log.exists()
    (tmp_path / "moved").mkdir()
    shutil.copyfile(path, tmp_path / "moved" / path.name)
    moved = Workspace.open(tmp_path / "moved").read("SELECT * FROM failures")
    assert moved.iloc[0].tolist() == ["committed", "b", "c"]
