"""Several encoders embed one workspace at the same time, one process for each core.

Most of the work of small encoders is front ends and convolutions that one thread does as
fast as two, so two processes of one thread finish earlier than one process of two. The
store takes several writers; each process loses at most its own portion when killed.
"""

import multiprocessing
import os
import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

from usad_workbench.core.embedding import EmbedReport, embed
from usad_workbench.core.encoders.registry import load_encoder
from usad_workbench.core.errors import UsadError, WorkerError, as_usad_error
from usad_workbench.core.models.encoder import Pooling
from usad_workbench.core.parallel import end_with_parent
from usad_workbench.core.progress import Progress, no_progress
from usad_workbench.core.storage.workspace import Workspace

_POLL_S = 0.5
_reports: Any = None
"""In a worker: the queue to the process that draws the progress."""


def embed_encoders(
    workspace: Workspace,
    names: Sequence[str],
    *,
    layers: Sequence[int] | None = None,
    pooling: Pooling = "mean",
    n_processes: int | None = None,
    progress: Progress = no_progress,
) -> dict[str, EmbedReport | UsadError]:
    """Embeds with each encoder, on the CPU, what is not embedded yet.

    Args:
        workspace: Where clips come from and vectors go.
        names: As in ``usad encoders list``.
        layers: All by default; negative counts from the end.
        pooling: See ``embed``.
        n_processes: The number of cores by default, and never more than encoders.
        progress: Called with the segments done, of all encoders together.

    Returns:
        By name, what was done, or why that encoder did nothing; the others go on. A worker
        that dies takes those down that work beside it: each of them is tried once more, alone.
    """

    def together(some: Sequence[str], n_workers: int) -> dict[str, EmbedReport | UsadError]:
        return _in_pool(workspace.folder, some, layers, pooling, n_workers, progress)

    n_processes = min(n_processes or os.cpu_count() or 1, max(len(names), 1))
    found = together(names, n_processes)
    for name in [name for name, one in found.items() if isinstance(one, WorkerError)]:
        found |= together([name], 1)
    return found


def _in_pool(
    folder: Path,
    names: Sequence[str],
    layers: Sequence[int] | None,
    pooling: Pooling,
    n_processes: int,
    progress: Progress,
) -> dict[str, EmbedReport | UsadError]:
    """Embeds with each encoder once, in new processes."""
    context = multiprocessing.get_context("spawn")
    reports = context.Queue()
    done = dict.fromkeys(names, (0, 0))
    with ProcessPoolExecutor(n_processes, context, _start_worker, (reports,)) as pool:
        jobs = {name: pool.submit(_embed_one, folder, name, layers, pooling) for name in names}
        while wait(jobs.values(), _POLL_S).not_done:
            _drain(reports, done, progress)
    _drain(reports, done, progress)
    return {name: _outcome(job) for name, job in jobs.items()}


def _start_worker(reports: Any) -> None:
    import torch

    global _reports
    _reports = reports
    torch.set_num_threads(1)
    threading.Thread(target=end_with_parent, daemon=True).start()


def _embed_one(
    folder: Path, name: str, layers: Sequence[int] | None, pooling: Pooling
) -> EmbedReport:
    def progress(done: int, total: int, what: str) -> None:
        _reports.put((name, done, total))

    encoder = load_encoder(name, device="cpu")
    return embed(Workspace.open(folder), encoder, layers=layers, pooling=pooling, progress=progress)


def _drain(reports: Any, done: dict[str, tuple[int, int]], progress: Progress) -> None:
    latest = ""
    while True:
        try:
            latest, *counts = reports.get_nowait()
        except queue.Empty:
            break
        done[latest] = (counts[0], counts[1])
    if latest:
        # An encoder that has not begun is taken to have as much to do as the largest.
        largest = max(total for _, total in done.values())
        n_total = sum(total or largest for _, total in done.values())
        progress(sum(n for n, _ in done.values()), n_total, f"embed {latest}")


def _outcome(job: Future[EmbedReport]) -> EmbedReport | UsadError:
    error = job.exception()
    if error is None:
        return job.result()
    known = as_usad_error(error)
    if known is None:
        raise error
    return known
