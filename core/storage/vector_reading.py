"""Vectors of a space out of its table, or out of its array file where there is one.

There is no join and no sort in SQL: ids are compared in NumPy, and only rows that are not in
order are moved. Ids of clips stay an Arrow column until somebody asks for them: a million Python
strings take as long as the vectors.

Processor seconds of the first read of 100,000 x 384: 0.10 to 0.13 in DuckDB; 0.05 to 0.2 for the
kernel's copy of the file into its page cache, as free memory is at hand; 0.02 for the digest; 0.04
for two openings of the database. DuckDB's own read to Arrow takes 0.2 to 0.4, as memory is at hand.
Copy and digest are done beside the reading, in another thread: 1.7 s on the wall of a machine full of
other work, 2.1 one after the other. From a file that another process wrote it is 0.03 s. Two of
DuckDB's threads, and pages that became tables, took 0.04 s of 0.27. To write the file at the second
read only was dropped: the first would hold all vectors in memory, and two reads would cost more.
To fill a file that is mapped for writing was
dropped: a full disk ends the process.
"""

from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from usad_workbench.core.parallel import ahead_in_threads
from usad_workbench.core.storage.array_files import ArrayDraft, ArrayFile, Arrays
from usad_workbench.core.storage.vector_tables import (
    EMPTY_DIGEST,
    digest_of,
    ids_of,
    pages,
    together,
)

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class TableFacts:
    """What is found in the table of a space, whatever is listed of it."""

    n: int
    """Vectors."""
    n_segments: int
    """Segments that they are of."""
    n_not_finite: int
    digest: str


def measure_table(
    connection: duckdb.DuckDBPyConnection,
    space_id: int,
    done: Callable[[int], object] = lambda n: None,
) -> TableFacts:
    """Reads the table of a space through, some rows at a time.

    Args:
        connection: Within a transaction of the caller.
        space_id: Of the space.
        done: Called with the number of rows read so far.
    """
    parts, digest, n, n_not_finite = [np.empty(0, np.int64)], EMPTY_DIGEST, 0, 0
    for ids, vectors in pages(connection, space_id):
        parts.append(ids.copy())  # a page is let go as a whole
        n += len(ids)
        n_not_finite += int((~np.isfinite(vectors).all(axis=1)).sum())
        digest = together(digest, digest_of(ids, vectors))
        done(n)
    n_segments = len(np.unique(np.concatenate(parts)))
    return TableFacts(n=n, n_segments=n_segments, n_not_finite=n_not_finite, digest=digest)


def read_arrays(connection: duckdb.DuckDBPyConnection, file: ArrayFile) -> Arrays:
    """All vectors of a space, in ascending order of their segments.

    Args:
        connection: Within a transaction of the caller.
        file: Of the space as the transaction finds it; written where it is worth it.
    """
    if arrays := file.open():
        return arrays
    ids = ids_of(connection, file.space_id)
    draft = file.create()
    if draft and is_ascending(ids):
        # Straight from DuckDB's blocks to the file, which is then mapped.
        if arrays := _filled(draft, pages(connection, file.space_id)):
            return arrays
        draft = None
    read = _sorted(ids, file.dim, pages(connection, file.space_id))
    return (draft and _filled(draft, [read])) or read


def read_rows_of(
    connection: duckdb.DuckDBPyConnection, file: ArrayFile, segment_ids: npt.NDArray[np.int64]
) -> Arrays:
    """The vectors of some segments, in ascending order; of those that have one.

    Args:
        connection: Within a transaction of the caller.
        file: Of the space as the transaction finds it; used where it is there.
        segment_ids: Ascending.
    """
    if arrays := file.open():
        rows = rows_of(arrays.segment_ids, segment_ids)
        return Arrays(arrays.segment_ids[rows], arrays.vectors[rows])
    connection.register("asked_segments", pa.table({"segment_id": segment_ids}))
    condition = "WHERE segment_id IN (SELECT segment_id FROM asked_segments)"
    parts = list(pages(connection, file.space_id, condition))
    connection.unregister("asked_segments")
    if not parts:
        return Arrays(np.empty(0, np.int64), np.empty((0, file.dim), np.float32))
    return _sorted(np.concatenate([part[0] for part in parts]), file.dim, parts)


def is_ascending(ids: npt.NDArray[np.int64]) -> bool:
    """Whether each is larger than the one before."""
    return bool((ids[1:] > ids[:-1]).all())


def rows_of(
    stored: npt.NDArray[np.int64], segment_ids: npt.NDArray[np.int64]
) -> npt.NDArray[np.intp]:
    """The rows of those segments that are there, in their order.

    Args:
        stored: Ascending.
        segment_ids: Those that are asked for.
    """
    if not len(stored):
        return np.empty(0, dtype=np.intp)
    rows = np.searchsorted(stored, segment_ids)
    is_there = stored[np.minimum(rows, len(stored) - 1)] == segment_ids
    found: npt.NDArray[np.intp] = rows[is_there]
    return found


def _sorted(
    ids: npt.NDArray[np.int64], dim: int, parts: Iterable[tuple[npt.NDArray[np.int64], FloatArray]]
) -> Arrays:
    """Rows that come in the order of ``ids``, each put to its place at once."""
    vectors = np.empty((len(ids), dim), dtype=np.float32)
    if is_ascending(ids):
        place, in_order = None, ids
    else:
        order = np.argsort(ids, kind="stable")
        place, in_order = np.empty_like(order), ids[order]
        place[order] = np.arange(len(order))
    start = 0
    for _, part in parts:
        rows = slice(start, start + len(part))
        vectors[rows if place is None else place[rows]] = part
        start += len(part)
    return Arrays(in_order, vectors)


def _filled(
    draft: ArrayDraft, parts: Iterable[tuple[npt.NDArray[np.int64], FloatArray]]
) -> Arrays | None:
    """The file of what is read; hashed and written beside the reading, in another thread."""
    try:
        with closing(ahead_in_threads(lambda part: draft.add(*part), parts, 1)) as added:
            for _, done in added:
                done.result()
        return draft.keep()
    except OSError:  # the disk has filled up
        return None
    finally:
        draft.discard()
