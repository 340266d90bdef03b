"""Locks of files that end with the process that holds them, however it ends.

They are the system's own (``flock``): a number of a process in a file would outlive a kill,
be given to another process, and mean nothing in another container or on another machine.
Who holds a lock stands in its file, for messages alone.

A command that makes something beside what is there (a new database, vectors that are to
replace others) claims a name for it: a file ``.<name>.lock`` in the folder, locked for as long as
the process lives. So whoever finds a claim that nobody holds may clear away what goes by its name.
"""

import errno
import fcntl
import json
import os
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Self

_POLL_S = 0.05
_HELD: set[int] = set()
"""Descriptors of this process's locks."""
_UNKNOWN = frozenset([errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.ENOSYS, errno.EINVAL])


class LocksUnknownError(OSError):
    """A file system that knows no locks."""


class FileLock:
    """A lock that this process holds until ``release`` or its end.

    The file stays: a lock on a file that somebody else deletes would be no lock.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def take(cls, path: Path, patience_s: float = 1.0) -> Self | None:
        """The lock, or nothing where another process, or another part of this one, holds it.

        Args:
            path: Made where it is not there.
            patience_s: How long a held lock is asked for again: ``is_locked`` holds it for
                a moment.

        Raises:
            LocksUnknownError: the file system knows no locks.
            OSError: the file cannot be opened.
        """
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        ends = time.monotonic() + patience_s
        try:
            while not try_lock(descriptor):
                if time.monotonic() >= ends:
                    os.close(descriptor)
                    return None
                time.sleep(_POLL_S)
            with suppress(OSError):  # a full disk: it is locked all the same
                os.ftruncate(descriptor, 0)
                holder = {"host": socket.gethostname(), "process": os.getpid()}
                os.write(descriptor, json.dumps(holder).encode())
        except OSError:
            os.close(descriptor)
            raise
        _HELD.add(descriptor)
        return cls(descriptor)

    def release(self) -> None:
        """Lets go; may be called again."""
        if self._descriptor in _HELD:
            _HELD.discard(self._descriptor)
            os.close(self._descriptor)
        self._descriptor = -1  # the number may be another file's now


def is_locked(path: Path) -> bool | None:
    """Whether some process holds the lock of a file; none where that cannot be told.

    That is so where there is no such file, where its file system knows no locks, and where
    it was last held on another machine, whose locks may not reach here.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        is_free = try_lock(descriptor, shared=True)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    if is_free and _holder(path).get("host") != socket.gethostname():
        return None
    return not is_free


def describe_holder(path: Path) -> str:
    """Who holds a lock, or held it last, in words.

    >>> describe_holder(Path("nowhere"))
    'a process that is not known'
    """
    holder = _holder(path)
    if not holder:
        return "a process that is not known"
    return f"process {holder.get('process')} on {holder.get('host')}"


def _holder(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def try_lock(descriptor: int, *, shared: bool = False) -> bool:
    """Whether an open file or folder could be locked, until it is closed.

    Args:
        descriptor: Of the file or folder.
        shared: Together with others that ask so; alone by default.

    Raises:
        LocksUnknownError: the file system knows no locks.
        OSError: the file cannot be locked.
    """
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _UNKNOWN:
            raise LocksUnknownError(*error.args) from error
        raise
    return True


def _let_go() -> None:
    for descriptor in _HELD:
        os.close(descriptor)
    _HELD.clear()


# A fork shares the lock: a worker that outlives its parent would go on holding it.
os.register_at_fork(after_in_child=_let_go)


_SUFFIX = ".lock"


@contextmanager
def claimed(folder: Path, work: str) -> Iterator[str]:
    """A name that nobody else has, ``<work>-<random>``, held to the end of the block.

    A block that fails leaves its claim as a killed command does, to be cleared away.
    """
    while True:
        name = f"{work}-{secrets.token_hex(6)}"
        path = _path(folder, name)
        with ExitStack() as held:
            with suppress(LocksUnknownError):  # there nothing is cleared
                lock = FileLock.take(path)
                if lock is None:  # another command is clearing it
                    continue
                held.callback(lock.release)
                if not path.exists():  # cleared by another command before it was locked
                    continue
            yield name
            path.unlink(missing_ok=True)
            return


@contextmanager
def abandoned(folder: Path, work: str) -> Iterator[list[str]]:
    """The names that ended commands have left; their files are gone when the block ends well."""
    names = []
    with ExitStack() as held:
        for path in sorted(folder.glob(f".{work}-*{_SUFFIX}")):
            with suppress(OSError):
                if (lock := FileLock.take(path, patience_s=0.0)) is not None:
                    held.callback(lock.release)
                    names.append(path.name.removeprefix(".").removesuffix(_SUFFIX))
        yield names
        for name in names:
            _path(folder, name).unlink(missing_ok=True)


def _path(folder: Path, name: str) -> Path:
    return folder / f".{name}{_SUFFIX}"
