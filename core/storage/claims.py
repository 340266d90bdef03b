"""Names for what a command is making, which tell whether that command still lives.

A command that makes something beside what is there (a new database, vectors that are to
replace others) claims a name for it: a file ``.new-<name>.lock`` in the folder, locked for as
long as the process lives. The system lets go of a lock with its process, however that ends. So
whoever finds a claim that nobody holds may clear away what goes by its name. Process ids would
not do: they are used again, and mean nothing to another machine that shares the folder.
"""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_SUFFIX = ".lock"


@contextmanager
def claimed(folder: Path, work: str) -> Iterator[str]:
    """A name that nobody else has, ``<work>-<random>``, held to the end of the block.

    A block that fails leaves its claim as a killed command does, to be cleared away.
    """
    while True:
        name = f"{work}-{secrets.token_hex(6)}"
        path = _path(folder, name)
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        try:
            with suppress(OSError):  # a file system without locks: nothing is cleared there
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if not path.exists():  # cleared by another command before it was locked
                continue
            yield name
            path.unlink(missing_ok=True)
            return
        finally:
            os.close(descriptor)


@contextmanager
def abandoned(folder: Path, work: str) -> Iterator[list[str]]:
    """The names that ended commands have left; their files are gone when the block ends well."""
    held: dict[str, int] = {}
    try:
        for path in sorted(folder.glob(f".{work}-*{_SUFFIX}")):
            descriptor = _lock_of_a_dead(path)
            if descriptor is not None:
                held[path.name.removeprefix(".").removesuffix(_SUFFIX)] = descriptor
        yield list(held)
        for name in held:
            _path(folder, name).unlink(missing_ok=True)
    finally:
        for descriptor in held.values():
            os.close(descriptor)


def _path(folder: Path, name: str) -> Path:
    return folder / f".{name}{_SUFFIX}"


def _lock_of_a_dead(path: Path) -> int | None:
    """A descriptor that holds the lock, or none where a living process does."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return None
        return descriptor
    return None
