"""The process that answers the queries of people; started and ended by ``query``.

It reads requests from standard input and ends when that closes, in the middle of a query
too: whoever started it is gone. Before the first one it gives up what no query needs: to
write files, to start without a limit of memory, to leave a core dump.

Answers go back as messages: ``open`` once the file is open, then a line of JSON that says
how it went, then the rows as an Arrow stream.
"""

import json
import os
import pickle
import queue
import signal
import sys
import threading
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

import duckdb
import pyarrow as pa

from usad_workbench.core.errors import UsadError
from usad_workbench.core.storage.allowed_sql import Refused, allowed_condition, allowed_statement
from usad_workbench.core.storage.database import Database

Kind = Literal["statement", "condition"]
BATCH_ROWS = 10_000
SETTINGS: dict[str, Any] = {
    "python_enable_replacements": False,
    "autoload_known_extensions": False,
    "autoinstall_known_extensions": False,
    "temp_directory": "",
    "threads": max(1, (os.cpu_count() or 1) // 2),
    "lock_configuration": True,
}
"""Settings of a connection that reaches the workspace's file alone and cannot change that."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One query."""

    path: str
    """The path of ``workspace.duckdb``."""
    kind: Kind
    text: str
    parameters: list[Any]
    memory_bytes: int
    n_rows: int
    result_bytes: int


def serve(requests: Connection, answers: Connection) -> None:
    """Answers requests one after another until there are no more."""
    waiting: queue.SimpleQueue[Request] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(requests, waiting), daemon=True).start()
    while True:
        request = waiting.get()
        try:
            head, rows = _answer(request, answers)
        except UsadError as error:
            head, rows = {"store": str(error)}, b""
        answers.send_bytes(json.dumps(head).encode())
        answers.send_bytes(rows)


def _receive(requests: Connection, waiting: "queue.SimpleQueue[Request]") -> None:
    try:
        while True:
            waiting.put(pickle.loads(requests.recv_bytes()))
    except (EOFError, OSError):
        os._exit(0)


def _answer(request: Request, answers: Connection) -> tuple[dict[str, Any], bytes]:
    settings = SETTINGS | {"memory_limit": f"{request.memory_bytes // 1_000_000}MB"}
    with Database(Path(request.path)).read(settings) as connection:
        answers.send_bytes(b"open")
        try:
            return _rows(request, connection)
        except Refused as error:
            return {"refused": str(error)}, b""
        except (duckdb.OutOfMemoryException, MemoryError):
            return {"memory": True}, b""
        except OSError as error:  # what a stream of Arrow makes of every error of DuckDB
            if "Out of Memory" in str(error):
                return {"memory": True}, b""
            return {"error": str(error)}, b""
        except (duckdb.Error, pa.ArrowException, ValueError, RuntimeError) as error:
            return {"error": str(error)}, b""


def _rows(request: Request, connection: duckdb.DuckDBPyConnection) -> tuple[dict[str, Any], bytes]:
    query = _CHECKS[request.kind](connection, request.text)
    relation = connection.sql(query, params=request.parameters or None)
    reader = relation.to_arrow_reader(BATCH_ROWS)
    batches, is_cut = _first_batches(reader, request.n_rows, request.result_bytes)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, reader.schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return {"is_cut": is_cut}, sink.getvalue().to_pybytes()


_CHECKS = {"statement": allowed_statement, "condition": allowed_condition}


def _first_batches(
    reader: pa.RecordBatchReader, n_rows: int, n_bytes: int
) -> tuple[list[pa.RecordBatch], bool]:
    """The batches up to a limit, and whether there was more."""
    batches: list[pa.RecordBatch] = []
    for batch in reader:
        if batch.num_rows > n_rows or batch.nbytes > n_bytes:
            return [*batches, batch.slice(0, n_rows)] if batch.nbytes <= n_bytes else batches, True
        batches.append(batch)
        n_rows -= batch.num_rows
        n_bytes -= batch.nbytes
    return batches, False


def _give_up_rights(memory_bytes: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who started this
    try:
        import resource
    except ImportError:  # no such limits on this system
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))


def main() -> None:
    """Serves on standard input and output; what libraries print goes nowhere."""
    answers = Connection(os.dup(sys.stdout.fileno()), readable=False)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    _give_up_rights(int(sys.argv[1]))
    serve(Connection(os.dup(sys.stdin.fileno()), writable=False), answers)


if __name__ == "__main__":
    main()
