"""Spaces that a process has mapped, and need not read again until somebody commits.

To open the database and to read the ids of clips takes 30 ms at 100,000 segments, four times as
long as to go through the mapped vectors.
"""

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from usad_workbench.core.storage.array_files import is_mapped

MAX_MAPPED = 16
"""So many spaces are kept mapped, with the ids of their clips."""


class _Vectors(Protocol):
    @property
    def vectors(self) -> npt.NDArray[np.float32]: ...


Found = TypeVar("Found", bound=_Vectors)
Key = tuple[str, int, str]
"""Encoder, layer and pooling, as they are asked for."""


class MappedSpaces(Generic[Found]):
    """What was read of spaces whose array files are mapped, for as long as it is so."""

    def __init__(self, state: Callable[[], object]) -> None:
        self._state = state
        self._known: dict[Key, tuple[object, Found]] = {}

    def get(self, key: Key, read: Callable[[], Found]) -> Found:
        """What ``read`` gives, or gave where nothing has changed since.

        Args:
            key: Of the space.
            read: Out of the workspace.
        """
        state = self._state()  # before it is read: see ``Database.state``
        known = self._known.get(key)
        if known and known[0] == state and is_mapped(known[1].vectors):
            return known[1]
        found = read()
        self._known.pop(key, None)
        if is_mapped(found.vectors):
            if len(self._known) >= MAX_MAPPED:
                self._known.pop(next(iter(self._known)), None)
            self._known[key] = (state, found)
        return found
