"""Folders that are written at once: complete under their name, or not there."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from usad_workbench.core.errors import ConfigError


@contextmanager
def new_folder(folder: str | Path) -> Iterator[Path]:
    """A folder to write to, which takes its name when the block ends without an error.

    Raises:
        ConfigError: a file of that name, or a folder that is not empty.
    """
    target = Path(folder)
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise ConfigError(
            f"{target} exists and is not an empty folder. Nothing is overwritten: name a new "
            "folder, or remove it first."
        )
    partial = target.absolute().with_name(f".{target.absolute().name}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
    except OSError as error:
        raise ConfigError(f"{target} cannot be made: {error}. Name another folder.") from error
    try:
        yield partial
        os.replace(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
