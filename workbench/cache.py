"""Answers that all sessions share, bounded in number and in bytes.

Streamlit's own cache bounds the number alone: 256 results of any size.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TypeVar

T = TypeVar("T")


class BoundedCache:
    """The answers that were used last, as many as fit.

    >>> cache = BoundedCache(max_entries=2, max_bytes=10)
    >>> [cache.get(key, lambda: "x" * key, len) for key in (1, 2, 3)], len(cache)
    (['x', 'xx', 'xxx'], 2)
    """

    def __init__(self, max_entries: int, max_bytes: int) -> None:
        self.max_entries, self.max_bytes = max_entries, max_bytes
        self._kept: OrderedDict[Hashable, tuple[object, int]] = OrderedDict()
        self._n_bytes = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def n_bytes(self) -> int:
        """The size of all values that are kept, in bytes."""
        return self._n_bytes

    def get(self, key: Hashable, make: Callable[[], T], size: Callable[[T], int]) -> T:
        """The answer to a key: kept, else made now; what is too large is not kept.

        Nothing is locked while an answer is made: sessions do not wait for each other.
        """
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key][0]  # type: ignore[return-value]
        made = make()
        n_bytes = size(made)
        if n_bytes > self.max_bytes // 2:
            return made
        with self._lock:
            _, old = self._kept.pop(key, (None, 0))
            self._kept[key] = (made, n_bytes)
            self._n_bytes += n_bytes - old
            while len(self._kept) > self.max_entries or self._n_bytes > self.max_bytes:
                _, (_, gone) = self._kept.popitem(last=False)
                self._n_bytes -= gone
        return made
