"""Embeds a workspace's segments: with one encoder, or with several at the same time.

What is stored already is not computed again. Encoders that fit into memory together take the same
portions: files are decoded once for all of them, and resampled once for each rate
(``segment_audio``), in threads beside the forward pass, and so are vectors stored. All layers of a
segment are one transaction, so a killed run loses what is in hand at most and the same call
finishes the work.

Most of the work of small encoders is front ends and convolutions that one thread does as fast
as two: on a CPU two processes of one thread finish earlier than one process of two. They share
out the audio, not the encoders, so that one encoder uses all cores too. Their start takes 2 to
4 s, more than they save where there is little to do. Larger encoders keep all cores busy, and
several at once would fill the memory: on a CPU they come one after the other, and decode again
for each what is a hundredth of its work.

Not so: one process for each encoder, which decodes once per encoder and waits for the largest.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import clear_overloads, overload

from usad_workbench.core.embedding_group import (
    CommonProgress,
    EmbedRequest,
    EncoderGroup,
    Outcome,
)
from usad_workbench.core.embedding_job import EmbedReport, layers_of_pooling
from usad_workbench.core.embedding_workers import embed_in_processes, record_of
from usad_workbench.core.encoders.catalogue import encoder_row
from usad_workbench.core.encoders.registry import load_encoder
from usad_workbench.core.errors import UnknownNameError, UsadError, WorkerError, wrap_errors
from usad_workbench.core.models.devices import usable_device
from usad_workbench.core.models.encoder import Encoder, Pooling, Precision
from usad_workbench.core.portions import through_encoders
from usad_workbench.core.progress import Progress, no_progress
from usad_workbench.core.storage.segment_audio import read_at_rates
from usad_workbench.core.storage.spaces import EncoderRecord, pending_segments
from usad_workbench.core.storage.workspace import Workspace

__all__ = ["EmbedReport", "Outcome", "embed"]

MAX_PARAMS_BESIDE = 50_000_000
"""Encoders of more parameters are not run beside others on a CPU."""
MAX_PARAMS_TOGETHER = 500_000_000
"""Of the encoders that a process holds at the same time: 2 GB in float32."""
PROCESSES_FROM_S = 3600.0
"""Seconds of audio, times encoders, from which starting processes pays.

Measured on two cores: two processes cost 2.7 processor seconds to start. In one thread a second of
audio then takes 7.9 ms (usad-demo) and 12.0 ms (whisper-tiny.en), in one process of two threads 8.7
and 13.3: even from 3,400 and 2,100 s. Where others use the cores too, two threads wait for each
other and processes pay far sooner: 247 s of audio took 36.5 processor seconds in one process of two
threads, 7.3 in two processes."""


@overload
def embed(
    workspace: Workspace,
    encoders: Encoder | str,
    *,
    layers: Sequence[int] | None = None,
    pooling: Pooling = "mean",
    replace: bool = False,
    device: str = "cpu",
    precision: Precision = "float32",
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
    precision: Precision = "float32",
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
    precision: Precision = "float32",
    n_processes: int | None = None,
    progress: Progress = no_progress,
) -> EmbedReport | dict[str, Outcome]:
    """Embeds the segments that have no vectors yet, and records who taught a student.

    Audio is decoded once for all encoders that are embedded together.

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
        precision: In which the forward pass is computed, for encoders given by name. A part of
            the provenance: vectors of two precisions are never in one encoder's spaces.
        n_processes: For small encoders on a CPU; by default the number of cores where there is
            so much to do that starting them pays.
        progress: Called after each batch, in segments, of all encoders together.

    Returns:
        Of one encoder its report: counts, failures by name and time; a segment that fails stops
        nothing. Of several, by name, the report of each or the error that kept it from any work;
        the others go on. A process that dies takes those down that work beside it: each of them
        is tried once more, alone.

    Raises:
        ProvenanceError: the workspace holds vectors of other weights or another precision under
            this name, or this model folder under another.
        ConfigError: one encoder cannot compute in this precision.
        UnknownNameError: no such encoder, or a layer that does not exist.
        UsadError: one encoder cannot be loaded, or the workspace cannot be written.
    """
    request = EmbedRequest(layers=layers, pooling=pooling, replace=replace, precision=precision)
    if isinstance(encoders, Encoder):
        shown = CommonProgress([encoders.spec.name], progress)
        group = _embed_here(workspace, {encoders.spec.name: encoders}, request, shown)
        return _report_of(group.outcomes[encoders.spec.name])
    names = [encoders] if isinstance(encoders, str) else list(dict.fromkeys(encoders))
    shown = CommonProgress(names, progress)
    outcomes: dict[str, Outcome] = {}
    for together in _groups(names, device):
        n = _n_processes(workspace, together, request, device, n_processes)
        if n > 1:
            outcomes |= embed_in_processes(workspace, together, request, n, shown)
            for name in [x for x in together if isinstance(outcomes[x], WorkerError)]:
                outcomes |= embed_in_processes(workspace, [name], request, 1, shown)
        else:
            loaded = {name: _loaded(name, device, precision) for name in together}
            outcomes |= _embed_here(workspace, loaded, request, shown).outcomes
    if isinstance(encoders, str):
        return _report_of(outcomes[encoders])
    return {name: outcomes[name] for name in names}


# typing keeps overloaded functions, and with them DuckDB's types, until the interpreter ends, where
# these complain on standard error of every command that they were leaked.
clear_overloads()


def _report_of(outcome: Outcome) -> EmbedReport:
    if isinstance(outcome, UsadError):
        raise outcome
    return outcome


def _loaded(name: str, device: str, precision: Precision) -> Encoder | UsadError:
    try:
        with wrap_errors(name):
            return load_encoder(name, device, precision=precision)
    except UsadError as error:
        return error


def _embed_here(
    workspace: Workspace,
    loaded: Mapping[str, Encoder | UsadError],
    request: EmbedRequest,
    progress: CommonProgress,
) -> EncoderGroup:
    """Embeds with encoders in this process."""
    group = EncoderGroup(workspace, request, progress)
    encoders = {name: one for name, one in loaded.items() if isinstance(one, Encoder)}
    records: dict[str, EncoderRecord | UsadError] = {
        name: record_of(one) if isinstance(one, Encoder) else one for name, one in loaded.items()
    }
    rates_hz = sorted({encoder.spec.sample_rate_hz for encoder in encoders.values()})
    with group.at_work(records):
        for portion, audio in read_at_rates(workspace.folder, rates_hz, group.pending()):
            asked = group.asked(portion)
            for name, made in through_encoders(encoders, portion, audio, asked, group.count):
                group.store(name, made)
            if group.is_over:
                break
    return group


def _groups(names: Sequence[str], device: str) -> Iterator[list[str]]:
    """The encoders that take the same portions, of which a process holds all."""
    on_cpu = _is_cpu(device)
    n_params = _known_sizes(names)
    beside = _fit_beside_others(names) if on_cpu else [name for name in names if name in n_params]
    together: list[str] = []
    for name in beside:
        if together and sum(n_params[x] for x in [*together, name]) > MAX_PARAMS_TOGETHER:
            yield together
            together = []
        together.append(name)
    if together:
        yield together
    yield from ([name] for name in names if name not in beside)


def _known_sizes(names: Sequence[str]) -> dict[str, int]:
    n_params: dict[str, int] = {}
    for name in names:
        try:
            known = encoder_row(name).spec.n_params
        except UsadError:  # of a prefix, or unknown: loading it will tell
            continue
        if known is not None:
            n_params[name] = known
    return n_params


def _fit_beside_others(names: Sequence[str]) -> list[str]:
    """The encoders that are known to be small, the largest first."""
    small = {name: n for name, n in _known_sizes(names).items() if n <= MAX_PARAMS_BESIDE}
    return sorted(small, key=lambda name: small[name], reverse=True)


def _n_processes(
    workspace: Workspace,
    names: Sequence[str],
    request: EmbedRequest,
    device: str,
    asked: int | None,
) -> int:
    """How many processes a group gets; with one it stays in this."""
    if not _is_cpu(device) or asked == 1 or not set(names) <= set(_fit_beside_others(names)):
        return 1
    if asked is not None:
        return asked
    seconds = sum(_pending_s(workspace, name, request) for name in names)
    return (os.cpu_count() or 1) if seconds >= PROCESSES_FROM_S else 1


def _pending_s(workspace: Workspace, name: str, request: EmbedRequest) -> float:
    """Seconds of audio that an encoder of the table misses."""
    try:
        layers = layers_of_pooling(request.layers, encoder_row(name).spec, request.pooling)
    except UnknownNameError:  # whoever embeds says it
        return 0.0
    # What is to be replaced is missed as if nothing were stored.
    stored_as = "" if request.replace else name
    rows, _ = pending_segments(workspace, stored_as, layers, request.pooling)
    return float((rows["end_s"].to_numpy() - rows["start_s"].to_numpy()).sum())


def _is_cpu(device: str) -> bool:
    return device == "cpu" or (device == "auto" and usable_device(device) == "cpu")
