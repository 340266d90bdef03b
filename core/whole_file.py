"""Files that are written at once: complete under their name, or what was there before."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from usad_workbench.core.storage.claims import abandoned, claimed

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
