"""Work in processes of one thread each."""

import numpy as np
from threadpoolctl import threadpool_info

from usad_workbench.core.parallel import in_processes


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
