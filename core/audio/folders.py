"""The files of a folder, as imports and trainings take them."""

import os
from collections.abc import Iterator
from pathlib import Path

from usad_workbench.core.audio.reading import AUDIO_SUFFIXES

FOREIGN_FOLDERS = frozenset({"__MACOSX"})
"""What other systems leave beside one's files, as well as all whose name begins with a dot."""


def walk(folder: Path, unreadable: list[OSError] | None = None) -> Iterator[Path]:
    """Every file under a folder that is not hidden, links to folders followed, each folder once.

    Args:
        folder: Where to begin.
        unreadable: Takes the errors of the folders that cannot be read.
    """
    seen: set[tuple[int, int]] = set()
    note = None if unreadable is None else unreadable.append
    for parent, folders, files in os.walk(folder, onerror=note, followlinks=True):
        state = os.stat(parent)
        if (state.st_dev, state.st_ino) in seen:
            folders.clear()
            continue
        seen.add((state.st_dev, state.st_ino))
        # A folder that is called like a sound is named as one, as all else under such a name.
        for name in files + [name for name in folders if is_audio_name(Path(name))]:
            if not name.startswith("."):
                yield Path(parent, name)
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and name not in FOREIGN_FOLDERS
        )


def is_audio_name(path: Path) -> bool:
    """Whether a file of a folder is taken for audio."""
    return path.suffix.lower() in AUDIO_SUFFIXES
