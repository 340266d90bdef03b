"""Locks end with the process that holds them, and are not shared with its children."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from usad_workbench.core import locks
from usad_workbench.core.locks import FileLock, LocksUnknownError, describe_holder, is_locked

HOLD = """
import sys, time
from pathlib import Path
from usad_workbench.core.locks import FileLock
assert FileLock.take(Path(sys.argv[1])) is not None
print("held", flush=True)
time.sleep(600)
"""


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert is_locked(path) is None
    lock = FileLock.take(path)
    assert lock is not None and is_locked(path) is True
    assert FileLock.take(path, patience_s=0.0) is None
    assert f"process {os.getpid()}" in describe_holder(path)
    lock.release()
    lock.release()
    assert is_locked(path) is False
    again = FileLock.take(path)
    assert again is not None
    again.release()


def test_a_kill_lets_go_whatever_the_file_says(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        assert is_locked(path) is True and FileLock.take(path, patience_s=0.0) is None
        process.kill()
    assert is_locked(path) is False
    assert f"process {process.pid}" in describe_holder(path)


def test_a_forked_worker_does_not_go_on_holding(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    lock = FileLock.take(path)
    assert lock is not None
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(reading, 1)  # lives until the parent has looked
        os._exit(0)
    time.sleep(0.1)
    lock.release()
    assert is_locked(path) is False
    os.write(writing, b"x")
    os.waitpid(child, 0)
    os.close(reading)
    os.close(writing)


def test_a_holder_elsewhere_is_not_known_to_be_gone(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_text(json.dumps({"host": "another-machine", "process": 1}))
    assert is_locked(path) is None
    path.write_bytes(b"\xff")
    assert is_locked(path) is None and describe_holder(path) == "a process that is not known"


def test_a_file_system_without_locks_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, kind: int) -> None:
        raise OSError(95, "Operation not supported")

    path = tmp_path / "lock"
    path.touch()
    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    assert is_locked(path) is None
    with pytest.raises(LocksUnknownError):
        FileLock.take(path)


def test_a_full_disk_keeps_nobody_from_locking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a killed command left is cleared most of all then."""

    def full(*_: object) -> int:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(locks.os, "write", full)
    lock = FileLock.take(tmp_path / "lock")
    assert lock is not None and FileLock.take(tmp_path / "lock", patience_s=0.0) is None
    lock.release()
