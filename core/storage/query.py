"""SQL that people write: statements that read, in a process of their own, within limits.

A query typed into the app or behind ``--where`` may be slow, huge, or end the process it
runs in. So it runs in a small process that has nothing but the workspace's file, read
only: this side waits, and ends that process when a limit is passed or somebody cancels.
It does not begin while a program waits to write (``turns``). A process that answered is
kept for the next query.

A condition on the columns of ``clips`` is a query too: it is resolved to the ids of clips
once, here, and everything else reads by those ids.

Measured on two busy cores, the least of 12 and of 60: the first answer 0.44 s, 0.30 s of it
computing (a process starts), the next 19 ms, and 17 ms more where a data frame is made of it.
Tried and dropped: a thread in this process with ``connection.interrupt()``, as one long
function call is not interrupted, and nothing bounds the memory or holds an abort.
"""

import atexit
import json
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa

from usad_workbench.core.errors import Cancelled, QueryError, StoreError
from usad_workbench.core.storage.connecting import connect
from usad_workbench.core.storage.query_worker import Kind, Request
from usad_workbench.core.storage.turns import let_writers_first

OPEN_S = 70.0
"""How long a query may wait until the file is free: a little longer than writers wait."""
POLL_S = 0.05
MAX_AT_ONCE = 8
"""More queries of people at the same time share too little memory and too few cores."""
MAX_IDLE = 2
"""Processes kept for the next query."""
NO_LIMIT = 2**62
SPARE_BYTES = 1 << 30
"""Memory of the process beside its database: libraries, threads, the result on its way out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QueryLimits:
    """What one query may take; whatever goes beyond is stopped and says so."""

    time_s: float = 20.0
    """Far below the time that writers wait for the file."""
    memory_bytes: int = 1 << 30
    """Memory of the database; the process as a whole gets 1 GiB more."""
    n_rows: int = 1_000_000
    """The most rows that a result may have."""
    result_bytes: int = 256 << 20
    """The most bytes that a result may have as Arrow."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Answer:
    """The result of a query, or its first rows."""

    table: pa.Table
    is_cut: bool
    """Whether there was more than the limits let through."""

    def frame(self) -> pd.DataFrame:
        """The rows as DuckDB makes a data frame of them.

        Raises:
            QueryError: a column of a type that data frames have not.
        """
        with connect() as connection:
            try:
                return connection.from_arrow(self.table).df()
            except duckdb.Error as error:
                raise QueryError(
                    f"The result cannot be a table: {error} Expected types that pandas has: cast "
                    "the column, such as to DOUBLE or VARCHAR."
                ) from error


def ask(
    path: Path,
    query: str,
    parameters: Sequence[Any] = (),
    *,
    limits: QueryLimits | None = None,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> Answer:
    """The result of one statement that reads, cut to the rows that the limits allow.

    Args:
        path: Of ``workspace.duckdb``.
        query: One statement of DuckDB's SQL.
        parameters: Values for its question marks.
        limits: Of time, memory and rows.
        is_cancelled: Asked again and again while the query runs; true ends it.

    Raises:
        QueryError: not a statement that reads, not understood, or stopped at a limit.
        Cancelled: as asked for.
    """
    return _run(path, "statement", query, parameters, limits or QueryLimits(), is_cancelled)


def clip_ids_where(path: Path, condition: str, *, limits: QueryLimits | None = None) -> pa.Array:
    """The ids of the clips that fulfil a condition, ascending.

    Args:
        path: Of ``workspace.duckdb``.
        condition: One expression over the columns of ``clips``.
        limits: Of time and memory; those of rows do not count.

    Raises:
        QueryError: not one expression, not understood, or stopped at a limit.
    """
    limits = limits or QueryLimits()
    whole = QueryLimits(
        time_s=limits.time_s,
        memory_bytes=limits.memory_bytes,
        n_rows=NO_LIMIT,
        result_bytes=NO_LIMIT,
    )
    answer = _run(path, "condition", condition, (), whole, lambda: False)
    return answer.table["clip_id"].combine_chunks()


def _run(
    path: Path,
    kind: Kind,
    text: str,
    parameters: Sequence[Any],
    limits: QueryLimits,
    is_cancelled: Callable[[], bool],
) -> Answer:
    request = Request(
        path=str(path),
        kind=kind,
        text=text,
        parameters=list(parameters),
        memory_bytes=limits.memory_bytes,
        n_rows=limits.n_rows,
        result_bytes=limits.result_bytes,
    )
    let_writers_first(path.parent, OPEN_S)
    with _a_turn(limits.time_s), _worker(limits.memory_bytes) as worker:
        worker.ask(request)
        head = worker.hear(OPEN_S, is_cancelled)
        if head is None:
            raise StoreError(
                f"{path} has been held by another program for {OPEN_S:.0f} s. Writers hold it "
                "for moments only: close the program that keeps it open."
            )
        if head == b"open":
            head = worker.hear(limits.time_s, is_cancelled)
        if head is None:
            raise QueryError(
                f"The query ran longer than {limits.time_s:g} s and was stopped, as others wait "
                "for the workspace meanwhile. Ask for less, or in Python give it other limits."
            )
        rows = worker.hear(OPEN_S, is_cancelled) or b""
        answer = json.loads(head)
        if "memory" in answer:
            # Raised in here, as the process is not used again: what it took it may still hold,
            # and the next query would be refused for it.
            raise QueryError(
                f"The query needs more than {limits.memory_bytes / 1e6:,.0f} MB of memory, which is "
                "as much as one may take. Ask for less, or in Python give it other limits."
            )
    return _read(kind, answer, rows)


def _read(kind: Kind, head: Mapping[str, Any], rows: bytes) -> Answer:
    if "store" in head:
        raise StoreError(str(head["store"]))
    if "refused" in head:
        raise QueryError(str(head["refused"]))
    if "error" in head:
        what, expected = _EXPECTED[kind]
        raise QueryError(f"The {what} was not understood: {head['error']} Expected {expected}.")
    with pa.ipc.open_stream(rows) as reader:
        return Answer(table=reader.read_all(), is_cut=bool(head["is_cut"]))


_EXPECTED: dict[Kind, tuple[str, str]] = {
    "statement": ("query", "read-only DuckDB SQL over the tables of the workspace"),
    "condition": (
        "condition",
        "an SQL condition on the columns of `clips`, such as domain = 'speech'",
    ),
}


@contextmanager
def _a_turn(wait_s: float) -> Iterator[None]:
    if not _turns.acquire(timeout=wait_s):
        raise QueryError(
            f"{MAX_AT_ONCE} other queries have been running for {wait_s:.0f} s, which are as many "
            "as run at once. Try again when one has ended."
        )
    try:
        yield
    finally:
        _turns.release()


class _Worker:
    """A process that answers one query after another."""

    def __init__(self, memory_bytes: int) -> None:
        self.memory_bytes = memory_bytes
        # -P: a file of the folder that somebody works in must not be taken for a module.
        module = "usad_workbench.core.storage.query_worker"
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", module, str(memory_bytes + SPARE_BYTES)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        pipes = [pipe for pipe in (self._process.stdin, self._process.stdout) if pipe]
        requests, answers = (os.dup(pipe.fileno()) for pipe in pipes)
        for pipe in pipes:
            pipe.close()
        self._requests = Connection(requests, readable=False)
        self._answers = Connection(answers, writable=False)

    def ask(self, request: Request) -> None:
        """Sends a query."""
        try:
            self._requests.send_bytes(pickle.dumps(request))
        except OSError as error:
            raise _ended() from error

    def hear(self, wait_s: float, is_cancelled: Callable[[], bool]) -> bytes | None:
        """The next message of the process; none where it takes longer."""
        deadline = time.monotonic() + wait_s
        try:
            while not self._answers.poll(POLL_S):
                if is_cancelled():
                    raise Cancelled("The query was stopped.")
                if time.monotonic() > deadline:
                    return None
            return self._answers.recv_bytes()
        except (EOFError, OSError) as error:
            raise _ended() from error

    def end(self) -> None:
        """Ends the process, in the middle of a query too."""
        self._process.kill()
        self._process.wait()
        self._requests.close()
        self._answers.close()


def _ended() -> QueryError:
    return QueryError(
        "The query ended the process that it ran in: it needs more memory than a query may take, "
        "or meets a fault of DuckDB. Nothing was changed. Ask for less."
    )


_turns = threading.BoundedSemaphore(MAX_AT_ONCE)
_idle: list[_Worker] = []
_guard = threading.Lock()


@contextmanager
def _worker(memory_bytes: int) -> Iterator[_Worker]:
    """A process for one query; one that did not come to its end is not used again."""
    with _guard:
        fitting = [worker for worker in _idle if worker.memory_bytes == memory_bytes]
        worker = fitting[0] if fitting else None
        if worker:
            _idle.remove(worker)
    worker = worker or _Worker(memory_bytes)
    try:
        yield worker
    except BaseException:
        worker.end()
        raise
    with _guard:
        _idle.append(worker)
        surplus = _idle.pop(0) if len(_idle) > MAX_IDLE else None
    if surplus:
        surplus.end()


@atexit.register
def end_idle() -> None:
    """Ends the processes that are kept for the next query."""
    with _guard:
        kept = list(_idle)
        _idle.clear()
    for worker in kept:
        worker.end()


# A forked process has its own list: two must not speak to one worker.
os.register_at_fork(after_in_child=_idle.clear)
