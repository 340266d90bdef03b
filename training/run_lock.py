"""One trainer in a run folder: two would write one log and replace each other's checkpoints."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from usad_workbench.core.errors import CheckpointError
from usad_workbench.core.locks import FileLock, LocksUnknownError, describe_holder
from usad_workbench.training.run_folder import LOCK_FILE, LOG_FILE

logger = logging.getLogger(__name__)

_QUIET_S = 60.0
"""Where there are no locks, a log that was written to so lately has a trainer."""


@contextmanager
def only_trainer(run_dir: Path) -> Iterator[None]:
    """Keeps others from training in a folder, which is made, until the block or process ends.

    Raises:
        CheckpointError: somebody else trains there, or the folder cannot be written to.
    """
    lock = _take(run_dir)
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


def _take(run_dir: Path) -> FileLock | None:
    path = run_dir / LOCK_FILE
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        lock = FileLock.take(path)
    except LocksUnknownError:
        _check_quiet(run_dir)
        return None
    except OSError as error:
        raise CheckpointError(
            f"{run_dir} cannot be written to: {error}. Expected a folder for this run. Name "
            "another with --run."
        ) from error
    if lock is None:
        raise CheckpointError(
            f"{run_dir} is being trained in by {describe_holder(path)}, expected one trainer at a "
            "time. Wait for its end, or name another folder with --run."
        )
    return lock


def _check_quiet(run_dir: Path) -> None:
    logger.warning(
        "The file system of %s knows no locks: two trainings in it at once would not be noticed.",
        run_dir,
    )
    try:
        age_s = time.time() - (run_dir / LOG_FILE).stat().st_mtime
    except OSError:
        return
    if age_s < _QUIET_S:
        raise CheckpointError(
            f"{run_dir} was written to {age_s:.0f} s ago and its file system knows no locks: "
            f"somebody may be training in it. Expected {_QUIET_S:.0f} s of quiet. Try again then, "
            "or name another folder with --run."
        )
