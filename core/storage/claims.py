"""Names for what a command is making, which tell whether that command still lives.

A command that makes something beside what is there (a new database, vectors that are to
replace others) claims a name for it: a file ``.new-<name>.lock`` in the folder, locked for as
long as the process lives (``locks``). So whoever finds a claim that nobody holds may clear away what
goes by its name.
"""

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from usad_workbench.core.locks import FileLock, LocksUnknownError

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
