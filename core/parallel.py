"""Independent pieces of work, one process for each core.

Probes and panels are many small products that one thread does as fast as two, so two
processes of one thread finish earlier than one process of two.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import (
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    as_completed,
    wait,
)
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext, SpawnProcess
from multiprocessing.popen_spawn_posix import Popen
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import Any, TypeVar

from threadpoolctl import threadpool_limits

from usad_workbench.core.errors import wrap_errors

A = TypeVar("A")
T = TypeVar("T")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def in_processes(
    work: Callable[..., T], jobs: Sequence[tuple[Any, ...]], n_processes: int | None = None
) -> Iterator[T]:
    """The results of ``work(*job)`` in the order of the jobs, as they are known.

    Args:
        work: A function of a module; it and the jobs are sent to other processes.
        jobs: Arguments of each call.
        n_processes: The number of cores by default; with one, or one job, nothing is started.

    >>> list(in_processes(pow, [(2, 3), (3, 2)], n_processes=1))
    [8, 9]
    """
    waiting: dict[int, T] = {}
    due = 0
    for position, result in as_finished(work, jobs, n_processes):
        waiting[position] = result
        while due in waiting:
            yield waiting.pop(due)
            due += 1


def as_finished(
    work: Callable[..., T],
    jobs: Sequence[tuple[Any, ...]],
    n_processes: int | None = None,
    shared: tuple[Any, ...] = (),
) -> Generator[tuple[int, T], None, None]:
    """The place of each job and the result of ``work(*shared, *job)``, whichever is done first.

    An error of a job is raised here with its type and words. It ends the other jobs, as does
    everything else that ends the loop over the results: close it (``contextlib.closing``).

    Args:
        work: A function of a module; it and the jobs are sent to other processes.
        jobs: Arguments of each call. They are begun in this order.
        n_processes: The number of cores by default; with one, or one job, nothing is started.
        shared: First arguments of every call, sent to each process once.

    >>> list(as_finished(pow, [(3,), (4,)], n_processes=1, shared=(2,)))
    [(0, 8), (1, 16)]
    """
    n_processes = min(n_processes or os.cpu_count() or 1, len(jobs))
    if n_processes < 2:
        for position, job in enumerate(jobs):
            yield position, work(*shared, *job)
        return
    with process_pool(n_processes, _keep, shared) as pool:
        positions = {pool.submit(_call, work, job): position for position, job in enumerate(jobs)}
        for future in as_completed(positions):
            yield positions[future], future.result()


AHEAD = 4
"""Calls that each thread may be ahead of who takes their results."""


def ahead_in_threads(
    work: Callable[[A], T], items: Iterable[A], n_threads: int | None = None
) -> Generator[tuple[A, Future[T]], None, None]:
    """Each item with its finished call of ``work``, in the order of the items.

    For work that lets go of the interpreter, such as decoding and hashing. A few calls are done
    ahead, whatever the number of items, so that memory stays bounded.

    Args:
        work: Called with one item in some thread.
        items: Taken as there is room.
        n_threads: The number of cores by default.

    Yields:
        The item, and its future: ``result()`` gives what the call returned or raises its error.

    >>> [(item, done.result()) for item, done in ahead_in_threads(abs, [-2, 3])]
    [(-2, 2), (3, 3)]
    """
    n_threads = n_threads or os.cpu_count() or 1
    waiting: deque[tuple[A, Future[T]]] = deque()
    pool = ThreadPoolExecutor(n_threads)
    try:
        for item in items:
            waiting.append((item, pool.submit(work, item)))
            if len(waiting) > AHEAD * n_threads:
                wait([waiting[0][1]])
                yield waiting.popleft()
        while waiting:
            wait([waiting[0][1]])
            yield waiting.popleft()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_EXCHANGE = threading.Lock()


class _WorkerProcess(SpawnProcess):
    """A process that does not run the caller's ``__main__``.

    What workers call is in modules. Python imports ``__main__`` into every spawned process all
    the same: a script that calls this package without ``if __name__ == "__main__"`` would begin
    again in each of them.
    """

    @staticmethod
    def _Popen(process_obj: BaseProcess) -> Popen:  # noqa: N802 - the name of the base class
        with _EXCHANGE:  # of two threads the later one would put back what the first has lent
            main = sys.modules["__main__"]
            sys.modules["__main__"] = ModuleType("__main__")
            try:
                return SpawnProcess._Popen(process_obj)
            finally:
                sys.modules["__main__"] = main


class WorkerContext(SpawnContext):
    """Spawned processes that leave the caller's script alone."""

    Process = _WorkerProcess


@contextmanager
def process_pool(
    n_processes: int, initializer: Callable[..., object], initargs: tuple[Any, ...]
) -> Iterator[ProcessPoolExecutor]:
    """Processes of one thread each that end with the block, in the middle of their work too.

    Args:
        n_processes: How many.
        initializer: Called in each, a function of a module.
        initargs: What it is called with.

    Raises:
        WorkerError: one of them died: the block cannot wait for its work any more.
    """
    context = WorkerContext()
    # The end of this process, however it comes, closes the only writer: readers see it.
    reader, writer = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(n_processes, context, _start_worker, (reader, initializer, initargs))
    try:
        with wrap_errors():
            yield pool
    finally:
        writer.close()
        pool.shutdown(wait=True, cancel_futures=True)
        reader.close()


def _start_worker(
    parent: Connection, initializer: Callable[..., object], initargs: tuple[Any, ...]
) -> None:
    # A Ctrl-C reaches the whole group; the parent ends its workers, which say nothing.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # For libraries that are loaded later; a limit alone reaches only those that are there.
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    threadpool_limits(1)
    end_process_after(lambda: parent.poll(None))  # the pool is closed, or its process gone
    initializer(*initargs)


_shared: tuple[Any, ...] = ()
"""In a worker: the first arguments of every call."""


def _keep(*shared: Any) -> None:
    global _shared
    _shared = shared


def _call(work: Callable[..., T], job: tuple[Any, ...]) -> T:
    return work(*_shared, *job)


def end_process_after(wait: Callable[[], object]) -> None:
    """Ends this process, in the middle of its work, as soon as a wait in a thread is over.

    A parent that is killed tells its children nothing, and they would go on to the end of their
    work: they wait for what its end brings about, such as the end of a pipe.

    Args:
        wait: Returns when whoever this process works for is gone.
    """

    def watch() -> None:
        wait()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def end_with_parent() -> None:
    """Ends this process when the one that started it through ``multiprocessing`` is gone."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        end_process_after(parent.join)


_RUN = """
import os, runpy, sys
from usad_workbench.core.parallel import end_process_after

# Nothing is ever written: the read returns when the last writer is gone.
end_process_after(lambda: os.read(0, 1))
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""


def run_module(
    module: str, arguments: Sequence[str], *, timeout_s: float, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs ``python -m module``; what it writes is in the result.

    A child is told of nothing when its parent is killed. It reads from a pipe whose only writer
    is here, so that the end of this process, however it comes, is an end for it to see.

    Raises:
        subprocess.TimeoutExpired: it took longer, and was ended.
    """
    reader, writer = os.pipe()
    try:
        return subprocess.run(
            [sys.executable, "-c", _RUN, module, *arguments],
            stdin=reader,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            env=None if env is None else {**os.environ, **env},
        )
    finally:
        os.close(reader)
        os.close(writer)
