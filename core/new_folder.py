"""Folders that are written at once: complete under their name, or not there."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from usad_workbench.core.errors import ConfigError

try:
    import fcntl
except ImportError:  # a system without such locks keeps what a killed process left
    fcntl = None  # type: ignore[assignment]


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
    try:
        with _held(partial):
            yield partial
            os.replace(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def remove_abandoned(parent: Path, start: str) -> None:
    """Removes folders whose names begin so and that no process writes to any more."""
    if not parent.is_dir():
        return
    for folder in parent.iterdir():
        if folder.name.startswith(start) and folder.is_dir():
            with suppress(BlockingIOError, FileNotFoundError), _held(folder):
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Holds a folder as long as this process lives, however it ends.

    Raises:
        BlockingIOError: another process holds it.
    """
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
