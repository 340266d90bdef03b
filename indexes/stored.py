"""Stored vectors by the ids of their segments: what candidates are compared with again.

Those of a large space are mapped from its array file, those of a small one, which has none, are
held in memory: read from the database for each query they took 25 ms at 3,000 vectors of 384
values; held, 0.16.
"""

from functools import cached_property
from typing import Protocol

import numpy as np
import pyarrow as pa

from usad_workbench.core.storage.vector_reading import rows_of
from usad_workbench.core.storage.vector_tables import matrix_of
from usad_workbench.core.storage.workspace import Space, Workspace
from usad_workbench.indexes.hits import FloatArray, Ids


class StoredVectors(Protocol):
    """Vectors that can be read by their ids."""

    def rows(self, ids: Ids) -> FloatArray:
        """The vectors [id, dim] of ids that are there, in their order."""

    def present(self, ids: Ids) -> tuple[Ids, FloatArray]:
        """Those of ascending ids that are there, and their vectors [id, dim]."""


class ArrayVectors:
    """Vectors in an array, or a memory map, beside their ids, which ascend."""

    def __init__(self, ids: Ids, vectors: FloatArray, held_bytes: int = 0) -> None:
        self.ids, self.vectors = ids, vectors
        self.held_bytes = held_bytes
        """What they take of memory for as long as they are open."""
        # Without clips that were deleted, an id is its place.
        self._is_place = bool(len(ids)) and int(ids[0]) == 0 and int(ids[-1]) == len(ids) - 1

    def rows(self, ids: Ids) -> FloatArray:
        """The vectors [id, dim] of ids that are there, in their order."""
        places = ids if self._is_place else np.searchsorted(self.ids, ids)
        found: FloatArray = self.vectors.take(places, axis=0)
        return np.asarray(found)

    def present(self, ids: Ids) -> tuple[Ids, FloatArray]:
        """Those of ascending ids that are there, and their vectors [id, dim]."""
        rows = rows_of(self.ids, ids)
        return self.ids[rows], np.asarray(self.vectors.take(rows, axis=0))

    @cached_property
    def squares(self) -> FloatArray:
        """The squared length of each vector, NaN until ``nearest_rows`` has needed it."""
        return np.full(len(self.vectors), np.nan, np.float32)


class TableVectors:
    """Vectors in the database, where there is no array of them; each call opens it."""

    def __init__(self, workspace: Workspace, space_id: int, dim: int) -> None:
        self._workspace, self._space_id, self._dim = workspace, space_id, dim

    def rows(self, ids: Ids) -> FloatArray:
        """The vectors [id, dim] of ids that are there, in their order."""
        wanted, place = np.unique(ids, return_inverse=True)
        return self.present(wanted)[1][place]

    def present(self, ids: Ids) -> tuple[Ids, FloatArray]:
        """Those of ascending ids that are there, and their vectors [id, dim]."""
        if not len(ids):
            return ids, np.empty((0, self._dim), np.float32)
        with self._workspace.database.read() as connection:
            connection.register("wanted", pa.table({"segment_id": ids}))
            # A range that DuckDB can skip blocks by, beside the ids.
            table = connection.sql(
                f"SELECT v.segment_id, v.vector FROM vectors_{self._space_id} v "
                "JOIN wanted USING (segment_id) "
                f"WHERE v.segment_id BETWEEN {int(ids[0])} AND {int(ids[-1])} "
                "ORDER BY v.segment_id"
            ).to_arrow_table()
        found: Ids = table["segment_id"].to_numpy()
        return found, matrix_of(table["vector"])


def stored_vectors(workspace: Workspace, space: Space) -> StoredVectors:
    """The vectors of a space: its array file, or of a small space itself; else its table."""
    file = workspace.array_file(space)
    arrays = file.open()
    if arrays is not None:
        return ArrayVectors(arrays.segment_ids, arrays.vectors)
    if file.is_small:
        held = workspace.embeddings(space.encoder, space.layer, space.pooling)
        if held.space == space:  # else written to since it was looked up
            return ArrayVectors(held.segment_ids, held.vectors, held.vectors.nbytes)
    return TableVectors(workspace, space.space_id, space.dim)
