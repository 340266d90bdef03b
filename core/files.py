"""Files and folders that are written at once, complete under their name or not there; sha256 of files."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from usad_workbench.core.errors import ConfigError
from usad_workbench.core.locks import abandoned, claimed, try_lock


def sha256_of_file(path: Path) -> str:
    """The sha256 of a file's bytes in hexadecimal, read in blocks: recordings are long."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def new_folder(folder: str | Path) -> Iterator[Path]:
    """A folder to write to, which takes its name when the block ends without an error.

    What a killed process left half written under the same name is removed.

    Raises:
        ConfigError: a file of that name, or a folder that is not empty.
    """
    target = Path(folder)
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise ConfigError(
            f"{target} exists and is not an empty folder. Nothing is overwritten: name a new "
            "folder, or remove it first."
        )
    start = f".{target.absolute().name}.partial-"
    partial = target.absolute().with_name(f"{start}{os.getpid()}")
    remove_abandoned(partial.parent, start)
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
    except OSError as error:
        raise ConfigError(f"{target} cannot be made: {error}. Name another folder.") from error
    descriptor = os.open(partial, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks: nothing is cleared there
            try_lock(descriptor)
        yield partial
        os.replace(partial, target)
    finally:
        os.close(descriptor)
        shutil.rmtree(partial, ignore_errors=True)


def remove_abandoned(parent: Path, start: str) -> None:
    """Removes folders whose names begin so and that no process writes to any more.

    The one that writes holds a lock on its folder, which ends with the process.
    """
    if not parent.is_dir():
        return
    for folder in parent.iterdir():
        if not folder.name.startswith(start):
            continue
        with suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                if try_lock(descriptor):
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)


_WORK = "part"
"""What the claims of files that are being written are for."""


@contextmanager
def written_at_once(path: Path) -> Iterator[Path]:
    """A name beside a file to write to, which takes its place when the block ends well.

    What killed processes have left of such files in the folder is removed.
    """
    _clear(path.parent)
    try:
        with claimed(path.parent, _WORK) as name:
            partial = path.with_name(f".{name}")
            yield partial
            os.replace(partial, path)
    finally:
        _clear(path.parent)  # what a block that failed has left


def write_whole(path: Path, text: str) -> None:
    """Writes a text file as UTF-8, its line ends as they are: all of it or nothing.

    Raises:
        OSError: it cannot be written there; what was there before still is.
    """
    with written_at_once(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="")


def _clear(folder: Path) -> None:
    with abandoned(folder, _WORK) as names:
        for name in names:
            (folder / f".{name}").unlink(missing_ok=True)
