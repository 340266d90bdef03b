"""A published benchmark on a local copy: embedding, frozen probes and fine-tuning together."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from usad_workbench.core.encoders.registry import load_encoder
from usad_workbench.core.errors import ConfigError, DegenerateError, UnknownNameError, did_you_mean
from usad_workbench.core.evaluation.benchmarks.embeddings import clip_ids, embed_task, read_layers
from usad_workbench.core.evaluation.benchmarks.evaluate import (
    SplitScores,
    benchmark_row,
    evaluate_frozen,
)
from usad_workbench.core.evaluation.benchmarks.registry import read_benchmark
from usad_workbench.core.evaluation.benchmarks.task import BenchmarkTask, Unsupported
from usad_workbench.core.models.encoder import Encoder
from usad_workbench.core.models.student import StudentEncoder
from usad_workbench.core.probes.head import head_of
from usad_workbench.core.progress import Progress, no_progress
from usad_workbench.core.storage.importing import Failure
from usad_workbench.training.finetune import FineTuning, fine_tune

FINE_TUNE = "fine-tune"
FOLDER = "benchmarks"
"""Below the user's workspace: one workspace for each task, with its embeddings."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchmarkRequest:
    """What is asked of ``usad evaluate --benchmark``."""

    workspace: str | Path
    name: str
    data: str | Path
    encoders: tuple[str, ...]
    protocols: tuple[str, ...] = ("linear",)
    tasks: tuple[str, ...] = ()
    n_steps: int = 4000
    device: str = "auto"


def run_benchmark(
    request: BenchmarkRequest, progress: Progress = no_progress
) -> tuple[list[dict[str, Any]], list[Failure]]:
    """Rows of every task, encoder and protocol, and the files that could not be read.

    Args:
        request: What to evaluate.
        progress: Of the step under way.

    Returns:
        Rows as ``benchmark_row`` makes them, with ``benchmark`` and ``nearest_published``. A
        task or pairing that is not evaluated has a row with value NaN and the reason.

    Raises:
        BenchmarkError: the folder is not the benchmark's layout.
        ConfigError: no such protocol.
        UnknownNameError: no such benchmark, task or encoder.
    """
    wrong = [p for p in request.protocols if p not in ("knn", "linear", FINE_TUNE)]
    wrong = [p for p in wrong if head_of(p) is None]
    if wrong or not request.protocols:
        raise ConfigError(
            f"Found the protocols {list(request.protocols)}, expected knn, linear, hear, marble, "
            f"hear-frames, marble-frames or {FINE_TUNE}."
        )
    tasks = _chosen(read_benchmark(request.name, request.data), request.tasks)
    rows: list[dict[str, Any]] = []
    failed: list[Failure] = []
    for name in request.encoders:
        encoder = load_encoder(name, device=request.device)
        for task in tasks:
            if isinstance(task, Unsupported):
                rows.append(_empty_row(name, task.name, "", task.reason))
                continue
            found, missing = _evaluate(request, encoder, task, progress)
            rows += found
            failed += missing
    return [{"benchmark": request.name, **row} for row in rows], failed


def _chosen(
    tasks: Sequence[BenchmarkTask | Unsupported], asked: Sequence[str]
) -> list[BenchmarkTask | Unsupported]:
    known = [task.name for task in tasks]
    for name in asked:
        if name not in known:
            raise UnknownNameError(f"There is no task {name!r}. {did_you_mean(name, known)}")
    return [task for task in tasks if not asked or task.name in asked]


def _evaluate(
    request: BenchmarkRequest, encoder: Encoder, task: BenchmarkTask, progress: Progress
) -> tuple[list[dict[str, Any]], list[Failure]]:
    """One encoder on one task under every protocol."""
    name = encoder.spec.name
    failed: list[Failure] = []
    untestable = task.untestable()
    if untestable:
        reason = f"not tested: {untestable}"
        return [_empty_row(name, task.name, one, reason) for one in request.protocols], []
    layers = {}
    kept = task
    if set(request.protocols) != {FINE_TUNE}:
        folder = Path(request.workspace) / FOLDER / f"{request.name}-{task.name}"
        workspace, failed = embed_task(folder, task, encoder, progress)
        embedded = set(workspace.embeddings(name, -1).clip_ids)
        ids = clip_ids(task)
        kept = _without(task, [clip_id in embedded for clip_id in ids])
        layers = read_layers(workspace, name, [i for i in ids if i in embedded])
    rows = []
    for protocol in request.protocols:
        try:
            if protocol == FINE_TUNE:
                rows.append(_fine_tuned(request, encoder, task, progress))
            else:
                found = evaluate_frozen(kept, layers, protocol, device=str(encoder.device))
                rows.append(benchmark_row(kept, name, "frozen", protocol, found))
        except DegenerateError as error:
            rows.append(_empty_row(name, task.name, protocol, str(error)))
    return [row | {"nearest_published": _nearest(row)} for row in rows], failed


def _fine_tuned(
    request: BenchmarkRequest, encoder: Encoder, task: BenchmarkTask, progress: Progress
) -> dict[str, Any]:
    if not isinstance(encoder, StudentEncoder) or not task.fine_tunes:
        reason = "fine-tuning is for students, on esc50 and as20k"
        return _empty_row(encoder.spec.name, task.name, FINE_TUNE, reason)
    config = FineTuning(
        n_steps=request.n_steps, warmup_steps=request.n_steps // 10, device=str(encoder.device)
    )
    found = [
        SplitScores(
            test=task.rows(split.test),
            scores=fine_tune(encoder.student, task, split, config, progress),
            layer=None,
        )
        for split in task.splits
    ]
    return benchmark_row(task, encoder.spec.name, "fine-tuned", FINE_TUNE, found)


def _without(task: BenchmarkTask, is_kept: Sequence[bool]) -> BenchmarkTask:
    n_left_out = len(is_kept) - sum(is_kept)
    if not n_left_out:
        return task
    items = tuple(item for item, kept in zip(task.items, is_kept, strict=True) if kept)
    note = f"{n_left_out} of {len(is_kept)} files could not be embedded"
    return replace(task, items=items, notes=(*task.notes, note), classes=task.class_names)


def _empty_row(encoder: str, task: str, protocol: str, reason: str) -> dict[str, Any]:
    return {
        "encoder": encoder,
        "layer": None,
        "task": task,
        "mode": "",
        "protocol": protocol,
        "metric": "",
        "value": math.nan,
        "ci_low": math.nan,
        "ci_high": math.nan,
        "n_test": 0,
        "published": [],
        "nearest_published": "",
        "notes": [],
        "reason": reason,
    }


def _nearest(row: Mapping[str, Any]) -> str:
    """The published number that is nearest, in words for a table."""
    if not row["published"]:
        return ""
    best = min(row["published"], key=lambda number: abs(number["value"] - row["value"]))
    return f"{best['model']} {best['value']:.3f}"
