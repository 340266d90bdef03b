"""Folders that are written at once: complete under their name, or not there."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from usad_workbench.core.errors import ConfigError


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
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
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
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)
