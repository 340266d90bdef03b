"""A workspace is made whole or not at all, also by two at once; its folder may be any."""

import math
import os
import signal
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from usad_workbench.core import locks
from usad_workbench.core.errors import ConfigError, StoreError, UsadError
from usad_workbench.core.locks import FileLock, abandoned, claimed
from usad_workbench.core.storage import creation
from usad_workbench.core.storage.database import SharedLock
from usad_workbench.core.storage.schema import TABLES, VIEWS
from usad_workbench.core.storage.segments import Segmentation
from usad_workbench.core.storage.workspace import Workspace

KILLED = """
    import os, signal, sys
    from usad_workbench.core.storage import creation
    from usad_workbench.core.storage.workspace import Workspace
    def die(*_): os.kill(os.getpid(), signal.SIGKILL)
    setattr(creation if sys.argv[2].startswith("_") else creation.os, sys.argv[2], die)
    Workspace.create(sys.argv[1])
"""


@pytest.mark.parametrize("moment", ["_fill", "link"])
def test_a_kill_on_the_way_leaves_nothing_that_stays(tmp_path: Path, moment: str) -> None:
    run = [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path / "w"), moment]
    assert subprocess.run(run, check=False).returncode == -signal.SIGKILL
    assert not (tmp_path / "w" / "workspace.duckdb").exists()
    workspace = Workspace.create(tmp_path / "w")
    assert set(workspace.read("SHOW TABLES").name) == {*TABLES, *VIEWS, "embeddings"}
    assert os.listdir(tmp_path / "w") == ["workspace.duckdb"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_error_on_the_way_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def stop(*_: object) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(creation, "_fill", stop)
        with pytest.raises((KeyboardInterrupt, UsadError)):
            Workspace.create(tmp_path)
    assert Workspace.create(tmp_path).clips().empty
    assert os.listdir(tmp_path) == ["workspace.duckdb"]


def test_of_many_at_once_all_get_the_same(tmp_path: Path) -> None:
    seconds = [1.0, 2.0, 3.0, 4.0]

    def make(window_s: float) -> float:
        asked = Segmentation(window_s=window_s, hop_s=window_s)
        with suppress(ConfigError):  # who comes second with other windows is refused
            assert Workspace.create(tmp_path, asked).segmentation == asked
        return Workspace.open(tmp_path).segmentation.window_s

    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(make, seconds))
    assert len(found) == 1
    assert found <= set(seconds)
    assert os.listdir(tmp_path) == ["workspace.duckdb"]


def test_where_links_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(creation.os, "link", refuse)
    assert Workspace.create(tmp_path).clips().empty


@pytest.mark.parametrize("name", ["what?", "back\\slash", "?", os.fsdecode(b"caf\xe9")])
def test_names_that_the_database_misreads_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(StoreError, match="Rename it"):
        Workspace.create(tmp_path / name)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["a*b", "a#b", "a'b\"c", "a[1]", "é", "s3:", " a "])
def test_other_names_work(tmp_path: Path, name: str) -> None:
    assert Workspace.create(tmp_path / name).clips().empty
    assert Workspace.open(tmp_path / name).clips().empty


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "w").write_text("")
    with pytest.raises(UsadError, match="w"):
        Workspace.create(tmp_path / "w")
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "workspace.duckdb").write_text("no database")
    with pytest.raises(StoreError, match="cannot be opened"):
        Workspace.create(tmp_path / "x")


@pytest.mark.parametrize("value", ["x", "[1]", "[0, 0]", '["a", 1]', "null", "{}"])
def test_a_damaged_segmentation_is_named(tmp_path: Path, value: str) -> None:
    workspace = Workspace.create(tmp_path)
    with workspace.database.write() as connection:
        connection.execute("UPDATE meta SET value = ? WHERE key = 'segmentation'", [value])
    with pytest.raises(StoreError, match="segmentation"):
        _ = workspace.segmentation


def test_a_claim_is_abandoned_when_nobody_holds_it(tmp_path: Path) -> None:
    with claimed(tmp_path, "work") as name, abandoned(tmp_path, "work") as names:
        assert names == []
    with pytest.raises(ValueError, match="x"), claimed(tmp_path, "work") as name:
        raise ValueError("x")
    with abandoned(tmp_path, "other") as names:
        assert names == []
    with abandoned(tmp_path, "work") as names:
        assert names == [name]
    assert os.listdir(tmp_path) == []


def test_a_claim_that_is_being_cleared_is_no_claim(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = iter(["a", "b"])
    monkeypatch.setattr(locks.secrets, "token_hex", lambda n: next(tokens))
    lock = FileLock.take(tmp_path / ".work-a.lock")
    assert lock is not None
    with claimed(tmp_path, "work") as name:
        assert name == "work-b"
    lock.release()


def test_where_there_are_no_locks_nothing_is_cleared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    with claimed(tmp_path, "work") as name, abandoned(tmp_path, "work") as names:
        assert name.startswith("work-") and names == []
    assert os.listdir(tmp_path) == []


def test_readers_do_not_wait_for_each_other_and_writers_are_alone() -> None:
    lock, together = SharedLock(), threading.Barrier(3, timeout=10)
    seen: list[str] = []

    def read() -> None:
        with lock.reading(), lock.reading():
            together.wait()  # three of them are in at once, or this breaks

    def write() -> None:
        with lock.writing():
            seen.append("in")
            seen.append("out")

    with ThreadPoolExecutor(8) as pool:
        for job in [pool.submit(read) for _ in range(3)] + [pool.submit(write) for _ in range(5)]:
            job.result()
    assert seen == ["in", "out"] * 5
    with lock.reading(), pytest.raises(RuntimeError, match="waits for itself"), lock.writing():
        pass
    with lock.writing(), pytest.raises(RuntimeError, match="waits for itself"), lock.reading():
        pass


def test_other_windows_than_those_of_a_workspace_are_refused(tmp_path: Path) -> None:
    halves = Segmentation(window_s=5.0, hop_s=2.5)
    assert Workspace.create(tmp_path, halves).segmentation == halves
    assert Workspace.create(tmp_path, halves).segmentation == halves
    assert Workspace.create(tmp_path).segmentation == halves
    with pytest.raises(ConfigError, match=r"each 5 s, every 2.5 s of audio, found 10 s"):
        Workspace.create(tmp_path, Segmentation())


@pytest.mark.parametrize(
    ("window_s", "hop_s"), [(math.inf, math.inf), (math.nan, 1.0), (1.0, 2.0), (1.0, 0.0)]
)
def test_windows_that_leave_audio_out_or_never_end_are_refused(
    window_s: float, hop_s: float
) -> None:
    with pytest.raises(ConfigError, match="finite seconds"):
        Segmentation(window_s=window_s, hop_s=hop_s)
