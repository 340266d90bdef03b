"""Vectors into a workspace beside the work that makes them: few large transactions.

A thread of its own commits what an encoder hands over, 64 MB or 15 seconds of it at a time, while
the encoder computes the next. Small portions committed one by one cost more than many encoders:
opening and closing the file alone is 20 ms.

Measured with DuckDB 2 in processor seconds, beside DuckDB's own insert on one open connection:
100,000 x 384 in portions of 256, 228 and 105 MB/s; 13 layers x 384, 248 and 106; 49 x 1280 in
portions of 64, 117 and 100, which is 464 segments of all layers a second.
"""

import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from usad_workbench.core.errors import StoreError
from usad_workbench.core.storage.spaces import EncoderRecord, append_vectors
from usad_workbench.core.storage.vector_tables import StoredIds
from usad_workbench.core.storage.workspace import FloatArray, Workspace

COMMIT_BYTES = 64 << 20
"""So many bytes of vectors are committed together."""
COMMIT_S = 15.0
"""What was handed over is committed after so many seconds at the latest."""
HELD_COMMITS = 2
"""Beyond so many times as much that is not stored yet, whoever hands over more waits."""

Portion = tuple[npt.NDArray[np.int64], Mapping[int, FloatArray]]


class VectorWriter:
    """Stores the vectors of one encoder, in order, by a thread beside the caller's.

    A kill loses what was handed over and is not committed yet: ``n_committed`` says how far it is.
    All layers of a segment are stored in one transaction. A block that ends, well or by an
    exception, stores what was handed over before.

    Not to be used within ``workspace.database.read()``: the writer would wait for the reader.

    >>> import tempfile
    >>> workspace = Workspace.create(tempfile.mkdtemp())
    >>> with VectorWriter(workspace, record, "mean") as writer:  # doctest: +SKIP
    ...     for segment_ids, vectors in portions:
    ...         writer.add(segment_ids, vectors)
    """

    def __init__(
        self,
        workspace: Workspace,
        record: EncoderRecord,
        pooling: str,
        run: str | None = None,
        *,
        commit_bytes: int = COMMIT_BYTES,
        commit_s: float = COMMIT_S,
    ) -> None:
        """Takes what ``append_vectors`` takes.

        Args:
            workspace: Where to.
            record: Whose vectors; registered before.
            pooling: How frames became vectors.
            run: Of ``replacing``: adds them beside what is there.
            commit_bytes: So many are committed together.
            commit_s: After so many seconds whatever there is.
        """
        self._target = (workspace, record, pooling)
        self._run = run
        self._commit_bytes = commit_bytes
        self._commit_s = commit_s
        self._changed = threading.Condition()
        self._waiting: list[Portion] = []
        self._waiting_bytes = 0
        self._writing_bytes = 0
        self._oldest_s = 0.0
        self._is_flushing = False
        self._is_closed = False
        self._error: BaseException | None = None
        self._stored_ids = StoredIds()
        self._n_committed = self._n_stored = 0
        self._thread = threading.Thread(target=self._work, name="vector-writer", daemon=True)
        self._thread.start()

    @property
    def n_committed(self) -> int:
        """How many segments of those that were handed over are behind a commit, in their order."""
        return self._n_committed

    @property
    def n_stored(self) -> int:
        """How many segments got a vector: not those that had them, or were deleted meanwhile."""
        return self._n_stored

    def add(self, segment_ids: npt.NDArray[np.int64], vectors: Mapping[int, FloatArray]) -> None:
        """Hands vectors over; waits where too many are not stored yet.

        Args:
            segment_ids: Shape [segment].
            vectors: Per layer an array [segment, dim], not to be changed afterwards; the layers
                are the same in every call.

        Raises:
            UsadError: what was handed over before could not be stored, as ``append_vectors``
                says. Nothing of that transaction and nothing after it is stored.
            StoreError: it was closed.
        """
        if not len(segment_ids):
            return
        n_bytes = sum(values.nbytes for values in vectors.values())
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    self._error
                    or not self._held_bytes()
                    or self._held_bytes() + n_bytes <= HELD_COMMITS * self._commit_bytes
                )
            )
            self._raise_error()
            if self._is_closed:
                raise StoreError(
                    "Vectors were handed to a writer that was closed, expected an open one. Nothing "
                    "of them was stored: make another writer."
                )
            if not self._waiting:
                self._oldest_s = time.monotonic()
            self._waiting.append((segment_ids, vectors))
            self._waiting_bytes += n_bytes
            self._changed.notify_all()

    def flush(self) -> None:
        """Waits until all that was handed over is stored.

        Raises:
            UsadError: as ``add``.
        """
        with self._changed:
            self._is_flushing = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._error or not self._held_bytes())
            self._is_flushing = False
            self._raise_error()

    def close(self) -> None:
        """Stores the rest and ends the thread; may be called again.

        Raises:
            UsadError: as ``add``.
        """
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._thread.join()
        self._raise_error()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.close()
        except BaseException as raised:
            if error is None or error is raised:
                raise
            # What ended the block is what the caller is told.
            error.add_note(f"Vectors that were handed over before could not be stored: {raised}")

    def _held_bytes(self) -> int:
        return self._waiting_bytes + self._writing_bytes

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _is_due(self) -> bool:
        """Whether what waits is to be committed now."""
        if not self._waiting:
            return False
        return (
            self._is_closed
            or self._is_flushing
            or self._waiting_bytes >= self._commit_bytes
            or time.monotonic() - self._oldest_s >= self._commit_s
        )

    def _work(self) -> None:
        try:
            while portions := self._next():
                n_stored = self._commit(portions)
                with self._changed:
                    self._n_committed += sum(len(ids) for ids, _ in portions)
                    self._n_stored += n_stored
                    self._writing_bytes = 0
                    self._changed.notify_all()
        except BaseException as error:  # noqa: BLE001 - raised in the thread of the caller
            with self._changed:
                self._error = error
                self._waiting.clear()
                self._waiting_bytes = self._writing_bytes = 0
                self._changed.notify_all()

    def _next(self) -> list[Portion]:
        """What is committed next; nothing at the end."""
        with self._changed:
            while not self._is_due():
                if self._is_closed:
                    return []
                left_s = self._oldest_s + self._commit_s - time.monotonic()
                self._changed.wait(max(left_s, 0.0) if self._waiting else None)
            portions, self._waiting = self._waiting, []
            self._writing_bytes, self._waiting_bytes = self._waiting_bytes, 0
            return portions

    def _commit(self, portions: list[Portion]) -> int:
        segment_ids = np.concatenate([ids for ids, _ in portions])
        vectors = {
            layer: np.concatenate([values[layer] for _, values in portions])
            for layer in portions[0][1]
        }
        return append_vectors(*self._target, segment_ids, vectors, self._run, self._stored_ids)
