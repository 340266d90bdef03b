"""What one server knows of its workspace: read once a version, and kept within bounds."""

import threading
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import duckdb
import numpy as np

from usad_workbench.core.errors import ChangedError
from usad_workbench.core.storage.segment_table import (
    Categories,
    Column,
    Ids,
    MapPoints,
    Rows,
    SegmentTable,
)
from usad_workbench.core.storage.segment_vectors import vector_of_segment
from usad_workbench.core.storage.selection import Clause, Mask, Selection
from usad_workbench.core.storage.space_names import MapName, SpaceName
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.indexes import search
from usad_workbench.workbench.cache import BoundedCache

T = TypeVar("T")
MAX_ENTRIES = 512
MAX_BYTES = 1 << 30
"""Of columns, maps and masks: at a million segments 20 to 30 maps with all columns."""


class Collection:
    """The segments of a workspace as they are now; safe to use from many threads."""

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)
        self._cache = BoundedCache(max_entries=MAX_ENTRIES, max_bytes=MAX_BYTES)
        self._reading = threading.Lock()
        self._known: tuple[object, View] | None = None

    @cached_property
    def workspace(self) -> Workspace:
        """Opened when it is asked for first.

        Raises:
            StoreError: no workspace there.
        """
        return Workspace.open(self._folder)

    def view(self) -> "View":
        """The segments of this moment: the view of before where nothing has changed."""
        state = self.workspace.database.state()  # before it is read: see ``Database.state``
        known = self._known
        if known is not None and known[0] == state:
            return known[1]
        with self._reading:
            state = self.workspace.database.state()
            known = self._known
            if known is not None and known[0] == state:
                return known[1]
            if known is not None and known[1].is_current():
                view = known[1]
            else:
                view = View(SegmentTable(self.workspace), self._cache)
            self._known = (state, view)
            return view


class View:
    """One version of the collection; what is computed from it is kept under its version."""

    def __init__(self, table: SegmentTable, cache: BoundedCache) -> None:
        self.table = table
        self.version = table.version
        self._cache = cache
        self._reading_columns, self._reading_points = threading.Lock(), threading.Lock()

    def __len__(self) -> int:
        return len(self.table)

    @property
    def workspace(self) -> Workspace:
        """Where it is read from."""
        return self.table.workspace

    def is_current(self) -> bool:
        """Whether segments, clips and maps are still what they were."""
        try:
            with self.reading():
                return True
        except ChangedError:
            return False

    def kept_now(self, key: Hashable, make: Callable[[], T], size: Callable[[T], int]) -> T:
        """An answer that is made once until somebody commits, while there is room."""
        return self.kept((key, self.workspace.database.state()), make, size)

    def kept(self, key: Hashable, make: Callable[[], T], size: Callable[[T], int]) -> T:
        """An answer that is made once for this version, while there is room."""
        return self._cache.get((self.version, key), make, size)

    def reading(self) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        """A connection that finds this version.

        Raises:
            ChangedError: another one is there by now.
        """
        return self.table.reading()

    def rows_of(self, segment_ids: Ids) -> Rows:
        """The row of each segment, ``NO_ROW`` for one that is not there."""
        return self.table.rows_of(segment_ids)

    def points(self, name: MapName) -> MapPoints:
        """Where the segments lie on a map.

        Raises:
            UnknownNameError: no such map.
        """
        with self._reading_points:
            return self.kept(
                ("points", name),
                lambda: self.table.points(name),
                lambda points: 2 * points.x.nbytes,
            )

    def columns(self) -> list[Column]:
        """All columns that tell segments apart, and the domain."""
        with self._reading_columns:  # sessions that open together read them once
            return self.kept("columns", self._read_columns, lambda c: sum(map(_size, c)))

    def column(self, name: str) -> Column:
        """A column by name.

        Raises:
            UnknownNameError: a column that is not there.
        """
        for column in self.columns():
            if column.name == name:
                return column
        return self.table.columns([name])[0]

    def with_words(self, words: Sequence[str]) -> Ids:
        """The segments in whose clip's texts all words stand, in capitals or not."""
        return self.table.with_words(words)

    def tagged(self, tag: str) -> Ids:
        """The segments that have a tag now."""
        return self.table.tagged(tag)

    def near(self, segment_id: int, space: SpaceName, k: int) -> Ids:
        """The k nearest segments to one in a space, itself among them.

        Raises:
            UnknownNameError: no such space, or no vector of the segment in it.
        """
        vector = vector_of_segment(self.workspace, segment_id, space)
        hits = search(
            self.workspace, vector, space.encoder, space.layer, pooling=space.pooling, k=k
        )
        return hits.segment_ids

    def selected(self, selection: Selection) -> Mask:
        """Which rows a selection holds; each clause is answered once."""
        mask = np.ones(len(self), dtype=bool)
        for clause in selection:
            mask &= self._mask_of(clause)
        return mask

    def _mask_of(self, clause: Clause) -> Mask:
        state = None if clause.is_lasting else self.workspace.database.state()
        return self.kept(
            ("clause", clause, state), lambda: clause.mask(self), lambda mask: mask.nbytes
        )

    def _read_columns(self) -> list[Column]:
        columns = self.table.columns(self.table.column_names())
        return [column for column in columns if column.name == "domain" or _tells(column)]


def _tells(column: Column) -> bool:
    """Whether a column tells segments apart, and is not another name for each of them."""
    if isinstance(column, Categories):
        n_kinds = len(column.values) + bool((column.codes < 0).any())
        return n_kinds > 1 and len(column.values) < max(len(column.codes), 3)
    known = column.values[~np.isnan(column.values)]
    return len(known) > 1 and bool(known.min() < known.max())


def _size(column: Column) -> int:
    if isinstance(column, Categories):
        return column.codes.nbytes + 100 * len(column.values)
    return column.values.nbytes
