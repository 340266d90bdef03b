"""Small encoders on a CPU: processes of one thread each, which take stretches of audio.

Each process holds all encoders of the group and takes whole stretches, so that audio never goes
from process to process and is decoded once; vectors come back and are stored by the caller, the
only writer.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import queue
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from multiprocessing.queues import Queue
from pathlib import Path

import torch

from usad_workbench.core.embedding_group import CommonProgress, EmbedRequest, EncoderGroup, Outcome
from usad_workbench.core.encoders.registry import load_encoder
from usad_workbench.core.errors import UsadError, WorkerError, wrap_errors
from usad_workbench.core.models.encoder import Encoder, Precision
from usad_workbench.core.parallel import process_pool
from usad_workbench.core.portions import AskedPortion, EmbeddedPortion, through_encoders
from usad_workbench.core.storage.segment_audio import (
    SegmentAudio,
    in_portions,
    in_stretches,
    read_at_rates,
)
from usad_workbench.core.storage.spaces import EncoderRecord
from usad_workbench.core.storage.workspace import Workspace

LONGEST_STRETCH_S = 3600.0
"""Of one file in one process: what others would otherwise wait for, and a kill costs."""
_POLL_S = 0.5


def embed_in_processes(
    workspace: Workspace,
    names: Sequence[str],
    request: EmbedRequest,
    n_processes: int,
    progress: CommonProgress,
) -> dict[str, Outcome]:
    """Embeds with several encoders, in new processes that end with this call.

    Returns:
        By name the report of each or the error that ended its work; where a process died, all
        that were at work have a ``WorkerError``.
    """
    group = EncoderGroup(workspace, request, progress)
    try:
        _embed(group, workspace.folder, names, request, n_processes)
    except WorkerError as error:
        return {name: group.outcomes.get(name, error) for name in names}
    return group.outcomes


def _embed(
    group: EncoderGroup,
    folder: Path,
    names: Sequence[str],
    request: EmbedRequest,
    n_processes: int,
) -> None:
    reports: Queue[tuple[str, int]] = multiprocessing.get_context("spawn").Queue()
    n_threads = max((os.cpu_count() or 1) // n_processes, 1)
    with process_pool(n_processes, _start_worker, (reports, n_threads)) as pool:
        records = pool.submit(_load_in_worker, names, request.precision).result()
        with group.at_work(records):
            stretches = in_stretches(group.pending(), LONGEST_STRETCH_S)
            jobs: set[Future[list[tuple[str, EmbeddedPortion | UsadError]]]] = set()
            while not group.is_over:
                for stretch in itertools.islice(stretches, 2 * n_processes - len(jobs)):
                    asked = [group.asked(portion) for portion in in_portions(stretch)]
                    jobs.add(
                        pool.submit(_embed_in_worker, folder, request.precision, stretch, asked)
                    )
                if not jobs:
                    break
                done, jobs = wait(jobs, _POLL_S, FIRST_COMPLETED)
                _drain(reports, group)
                for job in done:
                    for name, portion in job.result():
                        group.store(name, portion)
            _drain(reports, group)


def _drain(reports: Queue[tuple[str, int]], group: EncoderGroup) -> None:
    n_more: dict[str, int] = {}
    while True:
        try:
            name, n = reports.get_nowait()
        except queue.Empty:
            break
        n_more[name] = n_more.get(name, 0) + n
    for name, n in n_more.items():
        group.count(name, n)


_reports: Queue[tuple[str, int]] | None = None
"""In a worker: the queue to the process that draws the progress."""
_loaded: dict[str, Encoder] = {}
"""In a worker: what it has loaded."""


def _start_worker(reports: Queue[tuple[str, int]], n_threads: int) -> None:
    global _reports
    _reports = reports
    torch.set_num_threads(n_threads)


def _load_in_worker(
    names: Sequence[str], precision: Precision
) -> dict[str, EncoderRecord | UsadError]:
    return {name: _record(name, precision) for name in names}


def _record(name: str, precision: Precision) -> EncoderRecord | UsadError:
    try:
        return record_of(_encoder(name, precision))
    except UsadError as error:
        return error


def _encoder(name: str, precision: Precision) -> Encoder:
    if name not in _loaded:
        with wrap_errors(name):
            _loaded[name] = load_encoder(name, device="cpu", precision=precision)
    return _loaded[name]


def record_of(encoder: Encoder) -> EncoderRecord:
    """A loaded encoder as the workspace knows it."""
    return EncoderRecord(
        spec=encoder.spec, weights_sha256=encoder.weights_sha256, precision=encoder.precision
    )


def _embed_in_worker(
    folder: Path,
    precision: Precision,
    stretch: Sequence[SegmentAudio],
    asked: Sequence[Mapping[str, AskedPortion]],
) -> list[tuple[str, EmbeddedPortion | UsadError]]:
    """A stretch through the encoders, whose portions ``asked`` follows."""
    encoders = {name: _encoder(name, precision) for portion in asked for name in portion}
    rates_hz = sorted({encoder.spec.sample_rate_hz for encoder in encoders.values()})
    made: list[tuple[str, EmbeddedPortion | UsadError]] = []
    audio = read_at_rates(folder, rates_hz, stretch)
    for (portion, clips), of_portion in zip(audio, asked, strict=True):
        made += through_encoders(encoders, portion, clips, of_portion, _report)
    return made


def _report(name: str, n_more: int) -> None:
    if _reports is not None:
        _reports.put((name, n_more))
