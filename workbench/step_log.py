"""Where a job of several steps stands: a small file in the workspace, for an app that is open beside it.

The job holds a lock as long as it lives, so that nobody reads the file of one that was killed
as if it went on, and no second one works beside it.
"""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from usad_workbench.core.errors import StoreError
from usad_workbench.core.files import written_at_once
from usad_workbench.core.locks import FileLock, is_locked
from usad_workbench.core.progress import Progress

PROGRESS_FILE, LOCK_FILE = "demo-progress.json", "demo.lock"
EVERY_S = 0.5
"""Between two writes within a step."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """How far a job is."""

    step: int
    """From 1 on; beyond ``n_steps`` once all are done."""
    n_steps: int
    name: str
    """What the step does, in words."""
    share: float = 0.0
    """Of the step."""
    what: str = ""
    """What is being worked at within it."""

    @property
    def is_done(self) -> bool:
        """Whether there is nothing left to do."""
        return self.step > self.n_steps


class StepLog:
    """Notes the steps of a job in a folder, and hands on what they report."""

    def __init__(self, folder: Path, names: Sequence[str], progress: Progress) -> None:
        """Notes nothing yet; ``names`` are the steps in their order."""
        self._path = folder / PROGRESS_FILE
        self._names = list(names)
        self._progress = progress
        self._step = 0
        self._written_s = 0.0

    def begin(self) -> Progress:
        """Begins the next step; what the result is called with is noted too."""
        self._step += 1
        self._write(0.0, "")
        return self._report

    def end(self) -> None:
        """All steps are done."""
        self._step = len(self._names) + 1
        self._write(1.0, "")

    def _report(self, done: int, total: int, what: str) -> None:
        self._progress(done, total, what)
        if time.monotonic() - self._written_s >= EVERY_S:
            self._write(done / total if total else 0.0, what)

    def _write(self, share: float, what: str) -> None:
        n_steps = len(self._names)
        standing = Standing(
            step=self._step,
            n_steps=n_steps,
            name=self._names[self._step - 1] if self._step <= n_steps else "",
            share=min(max(share, 0.0), 1.0),
            what=what,
        )
        with written_at_once(self._path) as partial:
            partial.write_text(json.dumps(asdict(standing)), encoding="utf-8")
        self._written_s = time.monotonic()


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Holds the lock of a folder's job until the block ends.

    Raises:
        StoreError: another process holds it.
    """
    lock = FileLock.take(folder / LOCK_FILE)
    if lock is None:
        raise StoreError(
            f"Another `usad demo` works in {folder}, expected one at a time. Wait for its end, or "
            "name another folder with --workspace."
        )
    try:
        yield
    finally:
        lock.release()


def standing_of(folder: Path) -> Standing | None:
    """How far the job of a folder is; none where there was none."""
    try:
        return Standing(**json.loads((folder / PROGRESS_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def is_at_work(folder: Path) -> bool:
    """Whether the job of a folder goes on."""
    return bool(is_locked(folder / LOCK_FILE))
