"""Connections to ``workspace.duckdb`` that live as long as one piece of work.

DuckDB lets one process write or many read, and refuses whoever comes second. So no
connection is kept: a writer holds the file only while it commits a batch, a reader
only while it runs a query, and whoever finds the file taken tries again. Within one
process a lock per file lets readers in side by side and a writer alone, since DuckDB also
refuses two configurations of one file there.

This is also where DuckDB's errors become ours, those of a full disk or a damaged file among
them. What people get wrong in SQL of their own is turned into words where it is run.

A table grows by row groups, and closing the file writes the last one of each table anew where
rows were added to it: with DuckDB's 122,880 rows a group, small commits to wide vectors rewrite
hundreds of megabytes each. Groups of 2,048 rows, the least, are written once, straight to their
place and past the log. Each checkpoint also joins groups that are small: bulk writes leave
that to later ones, which join a few at a time, or they would rewrite every space. Measured with
DuckDB 2 in processor seconds, 100,000 x 384 by transactions of 20,000 rows: 121 MB/s with the
default groups, 284 with these (DuckDB on one open connection: 148 to 169); 13 x 384 by 3,000 rows
104 and 297; 49 x 1280 by 1,024 rows, which pass through the log, 49 MB/s falling and 199.

Measured on two cores: open, query, close 3 ms; open, eight inserts of 1,000 rows,
commit, close 80 ms.
"""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb

from usad_workbench.core.errors import StoreError, printable, wrap_errors
from usad_workbench.core.storage.connecting import connect
from usad_workbench.core.storage.migrations import for_reading, for_writing
from usad_workbench.core.storage.schema import literal
from usad_workbench.core.storage.turns import waiting_to_write

WAIT_S = 60.0
"""How long to wait for another process that holds the file."""
FIRST_PAUSE_S = 0.005
LONGEST_PAUSE_S = 0.25
ROW_GROUP_ROWS = 2048
"""Rows that a table grows by: DuckDB's least."""
WRITING = {"max_vacuum_tasks": 2}
"""Small groups of rows are joined by few, so that a small write stays one."""
BULK = {"max_vacuum_tasks": 0, "force_compression": "uncompressed"}
"""Floating-point vectors do not shrink: trying to costs a third of the time."""
REFUSED = "?\\"
"""Characters of a path that DuckDB reads as something else."""


class _Depth(threading.local):
    """How many blocks of readers this thread is in."""

    value = 0


class _Held(threading.local):
    """The connection of the block of readers that this thread is in."""

    connection: duckdb.DuckDBPyConnection | None = None


class SharedLock:
    """A lock that many readers hold together, or one writer alone.

    A writer that waits keeps new readers out, or it would wait for ever. Whoever holds the
    lock as a reader may take it again.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._n_readers = 0
        self._n_waiting = 0
        self._writer: int | None = None
        self._depth = _Depth()

    @property
    def is_held_here(self) -> bool:
        """Whether this thread is in a block of it."""
        return self._writer == threading.get_ident() or self._depth.value > 0

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Held together with other readers."""
        if self._writer == threading.get_ident():
            raise RuntimeError("A reader inside a writer of the same database waits for itself.")
        depth = self._depth.value
        if depth == 0:
            with self._changed:
                self._changed.wait_for(lambda: self._writer is None and not self._n_waiting)
                self._n_readers += 1
        self._depth.value = depth + 1
        try:
            yield
        finally:
            self._depth.value = depth
            if depth == 0:
                with self._changed:
                    self._n_readers -= 1
                    self._changed.notify_all()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Held alone."""
        if self.is_held_here:
            raise RuntimeError("A writer inside another block of the database waits for itself.")
        with self._changed:
            self._n_waiting += 1
            try:
                self._changed.wait_for(lambda: self._writer is None and not self._n_readers)
                self._writer = threading.get_ident()
            finally:
                self._n_waiting -= 1
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._writer = None
                self._changed.notify_all()


_locks: dict[Path, SharedLock] = {}
_locks_guard = threading.Lock()


class Database:
    """The DuckDB file of a workspace."""

    def __init__(self, path: Path, *, wait_s: float = WAIT_S) -> None:
        self.path = path.resolve()
        self._wait_s = wait_s
        self._held = _Held()
        _refuse_names(self.path)
        with _locks_guard:
            self._lock = _locks.setdefault(self.path, SharedLock())

    def state(self) -> tuple[tuple[int, int, int] | None, ...]:
        """Changes with every commit of anybody: size, time and inode of the file and its log.

        Nobody commits while somebody reads, so what is read after this was asked for is what is
        there for as long as this stays the same.
        """
        return tuple(_stamp(path) for path in (self.path, self._log))

    @contextmanager
    def read(
        self, settings: Mapping[str, Any] | None = None
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """A read-only connection, closed at the end of the block: all in it is of one moment.

        A block within another one of this thread is of that one's moment, and opens nothing.

        Args:
            settings: DuckDB's configuration beside our own.
        """
        if settings is None and self._held.connection is not None:
            with wrap_errors(self.path), closing(self._held.connection.cursor()) as cursor:
                for_reading(cursor)
                yield cursor
            return
        with (
            wrap_errors(self.path),
            self._lock.reading(),
            self._connected(True, settings) as connection,
        ):
            for_reading(connection)
            if settings is not None:
                yield connection
                return
            self._held.connection = connection
            try:
                yield connection
            finally:
                self._held.connection = None

    @contextmanager
    def write(self, *, bulk: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
        """One transaction: committed at the end of the block, undone by an exception.

        Args:
            bulk: For many vectors: see above.
        """
        settings = BULK if bulk else WRITING
        with (
            wrap_errors(self.path),
            self._lock.writing(),
            self._connected(False, settings) as connection,
        ):
            connection.execute("BEGIN")
            try:
                for_writing(connection)
                yield connection
            except BaseException:
                with suppress(duckdb.Error):  # a connection that a full disk has ended
                    connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def take_in_log(self) -> None:
        """Moves into the file what a killed command has committed to DuckDB's log beside it.

        Whoever opens the file sees both. But who copies the file alone would lose the log.

        Raises:
            StoreError: the folder cannot be written, or another program holds the file.
        """
        if self._log.exists() and not self._lock.is_held_here:
            with wrap_errors(self.path), self._lock.writing(), self._connected(False, WRITING):
                pass  # DuckDB does it when it closes the file

    @property
    def _log(self) -> Path:
        return Path(f"{self.path}.wal")

    @contextmanager
    def _connected(
        self, read_only: bool, settings: Mapping[str, Any] | None = None
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        # A filter that somebody typed in the app must not reach other files.
        config = {"enable_external_access": not read_only, **(settings or {})}
        with ExitStack() as waiting:
            connection = self._connect(read_only, config, waiting)
        try:
            yield connection
        finally:
            connection.close()

    def _connect(
        self, read_only: bool, config: dict[str, Any], waiting: ExitStack
    ) -> duckdb.DuckDBPyConnection:
        deadline = time.monotonic() + self._wait_s
        pause_s = FIRST_PAUSE_S
        is_waiting = False
        while True:
            try:
                return self._open(read_only, config)
            except (duckdb.ResourceInUseException, duckdb.ConnectionException) as error:
                raise StoreError(
                    f"{self.path} is open in this process by a connection of DuckDB's own, which "
                    "takes no other beside it. Close that connection, or ask by `Workspace.sql`."
                ) from error
            except duckdb.IOException as error:
                if "lock" not in str(error).lower():
                    raise StoreError(
                        f"{self.path} cannot be opened: {error}. Expected a DuckDB file of a "
                        f"workspace that may be {'read' if read_only else 'written'}. Check the "
                        "rights of the folder, restore it from a copy, or make a new workspace."
                    ) from error
                if time.monotonic() > deadline:
                    raise StoreError(
                        f"{self.path} has been held by another program for {self._wait_s:.0f} s. "
                        "Writers hold it for moments only: close the program (often a DuckDB "
                        "shell) that keeps it open."
                    ) from error
            if not read_only and not is_waiting:
                is_waiting = True
                waiting.enter_context(waiting_to_write(self.path.parent))
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    def _open(self, read_only: bool, config: dict[str, Any]) -> duckdb.DuckDBPyConnection:
        if read_only:
            return connect(self.path, read_only=True, config=config)
        connection = connect(config={"temp_directory": f"{self.path}.tmp", **config})
        try:
            connection.execute(
                f"ATTACH {literal(str(self.path))} AS workspace (ROW_GROUP_SIZE {ROW_GROUP_ROWS})"
            )
            connection.execute("USE workspace")
        except BaseException:
            connection.close()
            raise
        return connection


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ino


def _refuse_names(path: Path) -> None:
    """Refuses a path of which DuckDB would open another.

    Raises:
        StoreError: as it says.
    """
    text = printable(str(path))
    refused = [character for character in REFUSED if character in text]
    if refused or text != str(path):
        what = " and ".join(repr(character) for character in refused) or "bytes that are not UTF-8"
        raise StoreError(
            f"The path {text} holds {what}, which the database takes for something else. Expected "
            "a folder without them. Rename it, or name another."
        )
