"""Independent pieces of work, one process for each core.

Probes and panels are many small products that one thread does as fast as two, so two
processes of one thread finish earlier than one process of two.
"""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, TypeVar

from threadpoolctl import threadpool_limits

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
    n_processes = min(n_processes or os.cpu_count() or 1, len(jobs))
    if n_processes < 2:
        for job in jobs:
            yield work(*job)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(n_processes, context, _start_worker) as pool:
        for future in [pool.submit(work, *job) for job in jobs]:
            yield future.result()


def _start_worker() -> None:
    # For libraries that are loaded later; a limit alone reaches only those that are there.
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    threadpool_limits(1)
    threading.Thread(target=end_with_parent, daemon=True).start()


def end_with_parent() -> None:
    """Ends this worker when the process that started it is gone; runs in a thread."""
    # A parent that is killed tells nobody; its workers would go on to the end of their list.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
