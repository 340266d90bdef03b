"""Spaces that are open for search: looked up once, and again when the database was written.

A search on an open workspace opens no database. The stamp of ``workspace.duckdb`` and of its log
tells whether anything was written; a stamp that is younger than the clock of the file system is
coarse is not trusted yet, as two writes may have the same.

The vectors of small spaces are held in memory: of those that were searched last, up to
``MAX_HELD_BYTES``.
"""

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from usad_workbench.core.storage.vector_reading import rows_of
from usad_workbench.core.storage.workspace import Space, Workspace
from usad_workbench.indexes.files import Opened, open_index, stamp_of
from usad_workbench.indexes.hits import Ids
from usad_workbench.indexes.stored import ArrayVectors, StoredVectors, stored_vectors

SETTLED_NS = 50_000_000
"""A file that was written this long ago gets another time with the next write."""
MAX_OPEN = 64
MAX_HELD_BYTES = 1 << 29
MAX_FILTERS = 8

Key = tuple[Path, str, int, str]
Stamp = tuple[int, int, int]
DatabaseStamp = tuple[Stamp, Stamp | None]
"""Of the file and of its log."""


@dataclass(kw_only=True)
class OpenSpace:
    """A space, its index and its vectors, as they were at a stamp."""

    stamp: DatabaseStamp | None
    space: Space
    opened: Opened
    index_path: str
    index_stamp: Stamp | None
    stored: StoredVectors
    filters: OrderedDict[str, Ids] = field(default_factory=OrderedDict)
    """Rows of its vectors that pass a condition, for the conditions asked last."""


_spaces: OrderedDict[Key, OpenSpace] = OrderedDict()
_lock = threading.Lock()


def open_space(workspace: Workspace, encoder: str, layer: int, pooling: str) -> OpenSpace:
    """A space that is ready for search.

    Raises:
        UnknownNameError: a space that is not there.
        StoreError: the workspace cannot be read.
    """
    key = (workspace.database.path, encoder, layer, pooling)
    stamp = database_stamp(workspace)
    with _lock:
        known = _spaces.get(key)
        if known is not None:
            _spaces.move_to_end(key)
    if known is not None and stamp and known.stamp == stamp and _has_its_file(known):
        return known
    space = workspace.space(encoder, layer, pooling)
    opened = open_index(workspace, space)
    stored = stored_vectors(workspace, space)
    if opened.index is not None and not opened.is_behind:
        opened = replace(opened, index=opened.index.with_stored(stored))
    found = OpenSpace(
        stamp=stamp,
        space=space,
        opened=opened,
        index_path=str(opened.path or ""),
        index_stamp=stamp_of(opened.path) if opened.path else None,
        stored=stored,
    )
    with _lock:
        _spaces[key] = found
        _spaces.move_to_end(key)
        while len(_spaces) > MAX_OPEN or (len(_spaces) > 1 and _held_bytes() > MAX_HELD_BYTES):
            _spaces.popitem(last=False)
    return found


def _held_bytes() -> int:
    stored = [space.stored for space in _spaces.values()]
    return sum(one.held_bytes for one in stored if isinstance(one, ArrayVectors))


def rows_where(workspace: Workspace, space: OpenSpace, stored: ArrayVectors, where: str) -> Ids:
    """The rows of a space's vectors whose clips fulfil a condition, ascending.

    Raises:
        QueryError: a condition that is not SQL.
    """
    if space.stamp and where in space.filters:
        return space.filters[where]
    with workspace.among(workspace.clip_ids(where)) as (connection, chosen):
        ids = connection.execute(f"SELECT segment_id FROM segments WHERE {chosen}").fetchnumpy()
    rows = rows_of(stored.ids, np.sort(ids["segment_id"].astype(np.int64)))
    space.filters[where] = rows
    while len(space.filters) > MAX_FILTERS:
        space.filters.popitem(last=False)
    return rows


def database_stamp(workspace: Workspace) -> DatabaseStamp | None:
    """Changes when the database is written; none where that cannot be told yet."""
    path = str(workspace.database.path)
    now = time.time_ns()
    file, log = stamp_of(path), stamp_of(f"{path}.wal")
    if file is None or now - max(file[1], log[1] if log else 0) < SETTLED_NS:
        return None
    return file, log


def _has_its_file(known: OpenSpace) -> bool:
    return not known.index_path or stamp_of(known.index_path) == known.index_stamp
