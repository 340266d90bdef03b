"""Embeds a workspace's segments: with one encoder, or with several at the same time.

What is stored already is not computed again. Reading and resampling of the next portion runs
in a thread beside the forward pass. A portion is committed as one transaction with all its
layers, so a killed run loses that portion at most and the same call finishes the work.

Most of the work of small encoders is front ends and convolutions that one thread does as fast
as two: on a CPU two processes of one thread finish earlier than one process of two. Larger ones
keep all cores busy, and several at once would fill the memory: they come one after the other.
"""

import multiprocessing
import os
import queue
import time
from collections.abc import Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from multiprocessing.queues import Queue
from pathlib import Path
from typing import TypeAlias, clear_overloads, overload

import numpy as np
import torch

from usad_workbench.core.embedding_job import EmbeddingJob, EmbedReport, layers_of_pooling
from usad_workbench.core.encoders.catalogue import encoder_row
from usad_workbench.core.encoders.registry import load_encoder
from usad_workbench.core.errors import (
    Cancelled,
    UsadError,
    WorkerError,
    as_usad_error,
    wrap_errors,
)
from usad_workbench.core.models.devices import usable_device
from usad_workbench.core.models.encoder import Encoder, Pooling
from usad_workbench.core.parallel import process_pool
from usad_workbench.core.portions import EmbeddedPortion, embed_portion
from usad_workbench.core.progress import Progress, no_progress
from usad_workbench.core.storage.segment_audio import read_ahead
from usad_workbench.core.storage.spaces import EncoderRecord, append_vectors
from usad_workbench.core.storage.workspace import Workspace

MAX_PARAMS_BESIDE = 50_000_000
"""Encoders of more parameters are not run beside others."""
_POLL_S = 0.5


Outcome: TypeAlias = EmbedReport | UsadError
"""What embedding with one encoder of several did, or why it did nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Request:
    """What is asked of every encoder."""

    layers: Sequence[int] | None
    pooling: Pooling
    replace: bool


@overload
def embed(
    workspace: Workspace,
    encoders: Encoder | str,
    *,
    layers: Sequence[int] | None = None,
    pooling: Pooling = "mean",
    replace: bool = False,
    device: str = "cpu",
    n_processes: int | None = None,
    progress: Progress = no_progress,
) -> EmbedReport: ...


@overload
def embed(
    workspace: Workspace,
    encoders: list[str] | tuple[str, ...],
    *,
    layers: Sequence[int] | None = None,
    pooling: Pooling = "mean",
    replace: bool = False,
    device: str = "cpu",
    n_processes: int | None = None,
    progress: Progress = no_progress,
) -> dict[str, Outcome]: ...


def embed(
    workspace: Workspace,
    encoders: Encoder | str | list[str] | tuple[str, ...],
    *,
    layers: Sequence[int] | None = None,
    pooling: Pooling = "mean",
    replace: bool = False,
    device: str = "cpu",
    n_processes: int | None = None,
    progress: Progress = no_progress,
) -> EmbedReport | dict[str, Outcome]:
    """Embeds the segments that have no vectors yet, and records who taught a student.

    Several encoders are embedded by several processes where that is faster.

    Args:
        workspace: Where clips come from and vectors go.
        encoders: One encoder, its name (as in ``usad encoders list``), or several names.
        layers: All by default; negative counts from the end.
        pooling: ``native`` stores the encoder's own utterance-level output as layer L.
        replace: Embeds everything anew, and puts it in the place of what is stored of this
            encoder, all at once at the end. Where a segment that has a stored vector fails, the
            stored ones stay, and ``failed`` says so; where its audio is gone, before anything is
            computed.
        device: For encoders given by name: a torch device, or ``auto``.
        n_processes: For several encoders on a CPU; the number of cores by default.
        progress: Called after each portion, in segments, of all encoders together.

    Returns:
        Of one encoder its report: counts, failures by name and time; a segment that fails stops
        nothing. Of several, by name, the report of each or the error that kept it from any work;
        the others go on. A process that dies takes those down that work beside it: each of them
        is tried once more, alone.

    Raises:
        ProvenanceError: the workspace holds vectors of other weights under this name, or this
            model folder under another.
        UnknownNameError: no such encoder, or a layer that does not exist.
        UsadError: one encoder cannot be loaded, or the workspace cannot be written.
    """
    request = _Request(layers=layers, pooling=pooling, replace=replace)
    if isinstance(encoders, str):
        return _embed_one(workspace, load_encoder(encoders, device), request, progress)
    if isinstance(encoders, Encoder):
        return _embed_one(workspace, encoders, request, progress)
    names = list(dict.fromkeys(encoders))
    together = _CommonProgress(names, progress)
    outcomes: dict[str, Outcome] = {}
    beside = _fit_beside_others(names) if _is_cpu(device) and n_processes != 1 else []
    if len(beside) > 1:
        n_workers = min(n_processes or os.cpu_count() or 1, len(beside))
        outcomes = _in_processes(workspace.folder, beside, request, n_workers, together)
        for name in [n for n, outcome in outcomes.items() if isinstance(outcome, WorkerError)]:
            outcomes |= _in_processes(workspace.folder, [name], request, 1, together)
    for name in names:
        if name not in outcomes:
            outcomes[name] = _attempt(workspace, name, device, request, together)
    return {name: outcomes[name] for name in names}


# typing keeps overloaded functions, and with them DuckDB's types, until the interpreter ends, where
# these complain on standard error of every command that they were leaked.
clear_overloads()


class _CommonProgress:
    """The progress of several encoders as that of one job."""

    def __init__(self, names: Sequence[str], progress: Progress) -> None:
        self._counts = dict.fromkeys(names, (0, 0))
        self._progress = progress

    def update(self, name: str, done: int, total: int) -> None:
        """Reports that an encoder has done so many of its segments."""
        self._counts[name] = (done, total)
        # An encoder that has not begun is taken to have as much to do as the largest.
        largest = max(total for _, total in self._counts.values())
        n_total = sum(total or largest for _, total in self._counts.values())
        self._progress(sum(done for done, _ in self._counts.values()), n_total, f"embed {name}")


def _is_cpu(device: str) -> bool:
    return device == "cpu" or (device == "auto" and usable_device(device) == "cpu")


def _fit_beside_others(names: Sequence[str]) -> list[str]:
    """The encoders that are known to be small, the largest first: the last to end has little."""
    n_params = {}
    for name in names:
        try:
            n_params[name] = encoder_row(name).spec.n_params
        except UsadError:  # of a prefix, or unknown: loading it will tell
            continue
    small = {name: n for name, n in n_params.items() if n is not None and n <= MAX_PARAMS_BESIDE}
    return sorted(small, key=lambda name: small[name], reverse=True)


def _attempt(
    workspace: Workspace, name: str, device: str, request: _Request, together: _CommonProgress
) -> Outcome:
    """Embeds with one encoder of several in this process."""
    try:
        with wrap_errors(name):
            encoder = load_encoder(name, device)
            return _embed_one(
                workspace,
                encoder,
                request,
                lambda done, total, _: together.update(name, done, total),
            )
    except Cancelled:
        raise
    except UsadError as error:
        return error


def _in_processes(
    folder: Path,
    names: Sequence[str],
    request: _Request,
    n_processes: int,
    together: _CommonProgress,
) -> dict[str, Outcome]:
    """Embeds with each encoder once, in new processes that end with this call."""
    reports: Queue[tuple[str, int, int]] = multiprocessing.get_context("spawn").Queue()
    n_threads = max((os.cpu_count() or 1) // n_processes, 1)
    with process_pool(n_processes, _start_worker, (reports, n_threads)) as pool:
        jobs = {name: pool.submit(_embed_in_worker, folder, name, request) for name in names}
        while wait(jobs.values(), _POLL_S).not_done:
            _drain(reports, together)
        _drain(reports, together)
        return {name: _outcome(job) for name, job in jobs.items()}


def _drain(reports: "Queue[tuple[str, int, int]]", together: _CommonProgress) -> None:
    latest: dict[str, tuple[int, int]] = {}
    while True:
        try:
            name, done, total = reports.get_nowait()
        except queue.Empty:
            break
        latest[name] = (done, total)
    for name, (done, total) in latest.items():
        together.update(name, done, total)


def _outcome(job: Future[EmbedReport]) -> Outcome:
    error = job.exception()
    if error is None:
        return job.result()
    described = as_usad_error(error)
    if described is None:
        raise error
    return described


_reports: "Queue[tuple[str, int, int]] | None" = None
"""In a worker: the queue to the process that draws the progress."""


def _start_worker(reports: "Queue[tuple[str, int, int]]", n_threads: int) -> None:
    global _reports
    _reports = reports
    torch.set_num_threads(n_threads)


def _embed_in_worker(folder: Path, name: str, request: _Request) -> EmbedReport:
    def progress(done: int, total: int, what: str) -> None:
        if _reports is not None:
            _reports.put((name, done, total))

    return _embed_one(Workspace.open(folder), load_encoder(name, device="cpu"), request, progress)


def _embed_one(
    workspace: Workspace, encoder: Encoder, request: _Request, progress: Progress
) -> EmbedReport:
    """Embeds with one encoder in this process."""
    started = time.perf_counter()
    job = _LocalJob(
        workspace=workspace,
        record=EncoderRecord(spec=encoder.spec, weights_sha256=encoder.weights_sha256),
        layers=layers_of_pooling(request.layers, encoder.spec, request.pooling),
        pooling=request.pooling,
        encoder=encoder,
    )
    job.complete(request.replace, progress)
    return job.report(time.perf_counter() - started)


@dataclass(kw_only=True, eq=False)
class _LocalJob(EmbeddingJob):
    """The embedding of one workspace with one encoder in this process."""

    encoder: Encoder

    def run(self, progress: Progress, run: str | None) -> None:
        """Embeds what is missing: of what is stored, or of a run that is to replace it."""
        spec = self.encoder.spec
        pending = self.pending(run)
        n_seen = 0
        for portion, clips in read_ahead(self.workspace.folder, spec.sample_rate_hz, pending):
            self._store(embed_portion(self.encoder, portion, clips, self.layers, self.pooling), run)
            n_seen += len(portion)
            progress(n_seen, len(pending), f"embed {spec.name}")

    def _store(self, portion: EmbeddedPortion, run: str | None) -> None:
        self.failed += portion.failed
        self.audio_seconds += portion.audio_seconds
        ids = np.array([s.segment_id for s in portion.segments], dtype=np.int64)
        if len(ids):
            append_vectors(self.workspace, self.record, self.pooling, ids, portion.vectors, run)
        self.n_done += len(ids)
