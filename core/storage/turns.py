"""Whose turn it is at a workspace's file: a query of people lets a waiting writer go first.

DuckDB gives the file to whoever asks first, and to readers together: queries that follow each
other closely would keep a writer of another process out for ever. So a writer that has to wait
says so with a lock on the folder, which leaves no file behind and ends with its process, and
a query does not start while anybody says so. It then waits for the queries that run: no
longer than their limit of time.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from usad_workbench.core.locks import try_lock

PAUSE_S = 0.05


@contextmanager
def waiting_to_write(folder: Path) -> Iterator[None]:
    """Says, as long as the block lasts, that this process waits to write."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks: queries do not know, and end soon
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def let_writers_first(folder: Path, wait_s: float) -> None:
    """Returns when nobody waits to write, or after a while."""
    deadline = time.monotonic() + wait_s
    while somebody_waits(folder) and time.monotonic() < deadline:
        time.sleep(PAUSE_S)


def somebody_waits(folder: Path) -> bool:
    """Whether a process waits to write."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # no such folder, or not to be read: opening the file says so
        return False
    try:
        return not try_lock(descriptor)
    except OSError:
        return False
    finally:
        os.close(descriptor)
