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
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from usad_workbench.core.storage.vector_reading import rows_of
from usad_workbench.core.storage.workspace import Space, Workspace
from usad_workbench.indexes.faiss_index import VectorIndex
from usad_workbench.indexes.files import Stamp, are_as_stamped, open_index, stamp_of
from usad_workbench.indexes.hits import Ids
from usad_workbench.indexes.stored import ArrayVectors, StoredVectors, stored_vectors

SETTLED_NS = 50_000_000
"""A file that was written this long ago gets another time with the next write."""
MAX_OPEN = 64
MAX_HELD_BYTES = 1 << 29
MAX_FILTERS = 8

Key = tuple[Path, str, int, str]
Stamps = tuple[tuple[str, Stamp | None], ...]
"""Files, and the stamp of each that is there."""


@dataclass(kw_only=True, slots=True)
class OpenSpace:
    """A space, its index and its vectors, as they were at some stamps."""

    stamps: Stamps
    """Of the database, its log and the index; none where a later write might have the same."""
    space: Space
    index: VectorIndex | None
    """What belongs to the stored vectors, and compares candidates with them."""
    problem: str
    """Why there is no index, where the workspace lists one."""
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
    with _lock:
        known = _spaces.get(key)
        if known is not None:
            _spaces.move_to_end(key)
    if known is not None and known.stamps and are_as_stamped(known.stamps):
        return known
    found = _opened(workspace, encoder, layer, pooling)
    with _lock:
        _spaces[key] = found
        _spaces.move_to_end(key)
        while len(_spaces) > MAX_OPEN or (len(_spaces) > 1 and _held_bytes() > MAX_HELD_BYTES):
            _spaces.popitem(last=False)
    return found


def _opened(workspace: Workspace, encoder: str, layer: int, pooling: str) -> OpenSpace:
    stamps = database_stamps(workspace)  # before it is read
    space = workspace.space(encoder, layer, pooling)
    opened = open_index(workspace, space)
    stored = stored_vectors(workspace, space)
    is_usable = opened.index is not None and not opened.is_behind
    if stamps and opened.path:
        path = str(opened.path)
        stamps = (*stamps, (path, stamp_of(path)))
    return OpenSpace(
        stamps=stamps,
        space=space,
        index=opened.index.with_stored(stored) if opened.index and is_usable else None,
        problem=opened.problem,
        stored=stored,
    )


def _held_bytes() -> int:
    stored = [space.stored for space in _spaces.values()]
    return sum(one.held_bytes for one in stored if isinstance(one, ArrayVectors))


def rows_where(workspace: Workspace, space: OpenSpace, stored: ArrayVectors, where: str) -> Ids:
    """The rows of a space's vectors whose clips fulfil a condition, ascending.

    Raises:
        QueryError: a condition that is not SQL.
    """
    if space.stamps and where in space.filters:
        return space.filters[where]
    with workspace.among(workspace.clip_ids(where)) as (connection, chosen):
        ids = connection.execute(f"SELECT segment_id FROM segments WHERE {chosen}").fetchnumpy()
    rows = rows_of(stored.ids, np.sort(ids["segment_id"].astype(np.int64)))
    space.filters[where] = rows
    while len(space.filters) > MAX_FILTERS:
        space.filters.popitem(last=False)
    return rows


def database_stamps(workspace: Workspace) -> Stamps:
    """Change when the database is written; empty where that cannot be told yet."""
    path = str(workspace.database.path)
    log_path = f"{path}.wal"
    now = time.time_ns()
    file, log = stamp_of(path), stamp_of(log_path)
    if file is None or now - max(file[1], log[1] if log else 0) < SETTLED_NS:
        return ()
    return (path, file), (log_path, log)
