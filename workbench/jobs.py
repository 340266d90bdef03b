"""Work behind the pages: in a thread, with progress and a way to end it, shared by all sessions.

One job works at a time, so that memory does not grow with those who look; the others wait for it.
Whoever asks for the same thing gets the same job.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent import futures
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from usad_workbench.core.errors import Cancelled
from usad_workbench.core.progress import Progress

MAX_KEPT = 64
"""Jobs that are remembered, those that were asked for last."""


@dataclass(eq=False)
class Job:
    """One piece of work: where it stands, and what came of it."""

    future: "Future[Any]" = field(default_factory=Future)
    share: float = 0.0
    """Done, 0 to 1."""
    words: str = "waiting for other work to end"
    since: float = field(default_factory=time.monotonic)
    _cancelled: threading.Event = field(default_factory=threading.Event)

    @property
    def is_done(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self.future.done()

    def cancel(self) -> None:
        """Ends it at its next step."""
        self._cancelled.set()

    def report(self, done: int, total: int, what: str) -> None:
        """Its progress.

        Raises:
            Cancelled: somebody has ended it.
        """
        if self._cancelled.is_set():
            raise Cancelled("It was ended here.")
        self.share, self.words = min(done / total if total else 0.0, 1.0), what


_jobs: OrderedDict[Hashable, Job] = OrderedDict()
_jobs_lock = threading.Lock()
_one_at_a_time = threading.Lock()


def job_of(key: Hashable) -> Job | None:
    """The job of a key, if anybody has asked for it."""
    return _jobs.get(key)


def start(key: Hashable, work: Callable[[Progress], object]) -> Job:
    """The job of a key: the one that is there, else one that starts now.

    Args:
        key: What is asked for.
        work: Called with the progress that it reports to; what it returns is the result.

    >>> start("doubled", lambda progress: 21 * 2).future.result()
    42
    """
    with _jobs_lock:
        if key in _jobs:
            _jobs.move_to_end(key)
            return _jobs[key]
        job = _jobs[key] = Job()
        for old in [k for k, one in _jobs.items() if one.is_done][: max(0, len(_jobs) - MAX_KEPT)]:
            del _jobs[old]
    threading.Thread(target=_run, args=(job, work), daemon=True).start()
    return job


def wait(job: Job, seconds: float) -> None:
    """Waits a moment for a job to end."""
    futures.wait([job.future], timeout=seconds)


def forget(key: Hashable) -> None:
    """Lets a job that has ended be started again."""
    with _jobs_lock:
        if key in _jobs and _jobs[key].is_done:
            del _jobs[key]


def _run(job: Job, work: Callable[[Progress], object]) -> None:
    try:
        with _one_at_a_time:
            job.report(0, 1, "starting")
            job.future.set_result(work(job.report))
    except BaseException as error:  # noqa: BLE001 raised again where the result is asked for
        job.future.set_exception(error)
