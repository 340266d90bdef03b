"""Work in processes of one thread each."""

import contextlib
import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from usad_workbench.core import parallel
from usad_workbench.core.errors import DegenerateError, WorkerError
from usad_workbench.core.parallel import as_finished, in_processes, process_pool

FOREVER_S = 600.0
"""A test that waited for such a job would be seen to."""


def threads_after_a_product(size: int) -> list[int]:
    """The threads of every library that this process has loaded by now."""
    import scipy.linalg  # noqa: F401  (brings a library of its own, loaded after the start)

    np.ones((size, size)) @ np.ones((size, size))
    return [one["num_threads"] for one in threadpool_info()]


def test_libraries_loaded_later_have_one_thread_too() -> None:
    found = list(in_processes(threads_after_a_product, [(8,), (16,)], n_processes=2))
    assert len(found) == 2
    assert all(threads and set(threads) == {1} for threads in found), found


def test_results_come_in_the_order_of_the_jobs() -> None:
    assert list(in_processes(pow, [(2, n) for n in range(9)], n_processes=2)) == [
        2**n for n in range(9)
    ]


def fail_or_sleep(seconds: float) -> float:
    """Fails with a named error where there is nothing to sleep."""
    if seconds == 0:
        raise DegenerateError("nothing to sleep")
    time.sleep(seconds)
    return seconds


def place_and_process(base: int, step: int) -> tuple[int, int]:
    """A sum, and the process that made it."""
    return base + step, os.getpid()


def test_what_is_shared_comes_first_in_every_call() -> None:
    found = dict(as_finished(place_and_process, [(n,) for n in range(6)], 2, shared=(10,)))
    assert {place: total for place, (total, _) in found.items()} == {n: 10 + n for n in range(6)}
    assert os.getpid() not in {process for _, process in found.values()}


def test_what_is_done_first_comes_first() -> None:
    results = as_finished(fail_or_sleep, [(FOREVER_S,), (0.01,), (0.02,)], 2)
    assert [next(results), next(results)] == [(1, 0.01), (2, 0.02)]
    results.close()
    assert multiprocessing.active_children() == []


def test_an_error_keeps_its_type_and_words_and_ends_the_others() -> None:
    jobs = [(FOREVER_S,), (0,), (FOREVER_S,), (FOREVER_S,)]
    with pytest.raises(DegenerateError, match=r"^nothing to sleep$"):
        list(in_processes(fail_or_sleep, jobs, 2))
    assert multiprocessing.active_children() == []


def die_or_sleep(seconds: float) -> float:
    """Ends this process without a word, as the system does where memory runs out."""
    if seconds == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(seconds)
    return seconds


@pytest.mark.parametrize("run", [in_processes, as_finished])
def test_a_worker_that_dies_is_named_and_ends_the_others(run) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(WorkerError, match=r"worker process died.*memory"):
        list(run(die_or_sleep, [(FOREVER_S,), (0,), (FOREVER_S,)], 2))
    assert multiprocessing.active_children() == []


def test_a_worker_that_dies_at_its_start_is_named_too() -> None:
    with pytest.raises(WorkerError, match="died"), process_pool(2, os._exit, (3,)) as pool:
        pool.submit(pow, 2, 3).result()
    assert multiprocessing.active_children() == []


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C as in a terminal: what a shell starts in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_ends_the_workers() -> None:
    results = in_processes(fail_or_sleep, [(0.01,), (FOREVER_S,), (FOREVER_S,)], 2)
    assert next(results) == 0.01  # the workers are there
    # Only to this process: the workers are ended by it, not by a signal of their own.
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        next(results)
    assert multiprocessing.active_children() == []


def test_a_script_without_a_guard_is_not_run_again(tmp_path: Path) -> None:
    """Workers that imported the script would start workers of their own, and die of it."""
    script = tmp_path / "script.py"
    script.write_text(
        "import math\n"
        "from usad_workbench.core.parallel import in_processes\n"
        "print('begun')\n"
        "print(list(in_processes(math.factorial, [(3,), (4,)], 2)))\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "begun\n[6, 24]\n"), done.stderr


def test_calls_in_threads_come_in_order_and_a_few_ahead() -> None:
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        time.sleep(0.002 * (number % 3))
        if number == 5:
            raise ValueError("five")
        return number * number

    numbers = parallel.ahead_in_threads(work, range(1_000), n_threads=2)
    with contextlib.closing(numbers):
        for item, future in itertools.islice(numbers, 20):
            assert max(begun) <= item + 2 * parallel.AHEAD + 2
            if item == 5:
                with pytest.raises(ValueError, match="five"):
                    future.result()
            else:
                assert future.result() == item * item
    assert len(begun) < 40  # closing ends what waits
