"""A published benchmark on a local copy: embedding, frozen probes and fine-tuning together."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from usad_workbench.core.encoders.registry import load_encoder
from usad_workbench.core.errors import ConfigError, DegenerateError, UnknownNameError, did_you_mean
from usad_workbench.core.evaluation.benchmarks.embeddings import clip_ids, embed_task, read_layers
from usad_workbench.core.evaluation.benchmarks.evaluate import (
    BenchmarkScore,
    SplitScores,
    benchmark_score,
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
) -> tuple[list[BenchmarkScore], list[Failure]]:
    """Scores of every task, encoder and protocol, and the files that could not be read.

    Args:
        request: What to evaluate.
        progress: Of the step under way.

    Returns:
        Scores in the order of encoders, tasks and protocols, those that are not evaluated with
        the reason, and the files that could not be read.

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
    scores: list[BenchmarkScore] = []
    failed: list[Failure] = []
    for name in request.encoders:
        encoder = load_encoder(name, device=request.device)
        for task in tasks:
            if isinstance(task, Unsupported):
                scores.append(_not_evaluated(name, task.name, "", task.reason))
                continue
            of_task, unreadable = _evaluate(request, encoder, task, progress)
            scores += of_task
            failed += unreadable
    return [replace(score, benchmark=request.name) for score in scores], failed


def _chosen(
    tasks: Sequence[BenchmarkTask | Unsupported], asked: Sequence[str]
) -> list[BenchmarkTask | Unsupported]:
    names = [task.name for task in tasks]
    for name in asked:
        if name not in names:
            raise UnknownNameError(f"There is no task {name!r}. {did_you_mean(name, names)}")
    return [task for task in tasks if not asked or task.name in asked]


def _evaluate(
    request: BenchmarkRequest, encoder: Encoder, task: BenchmarkTask, progress: Progress
) -> tuple[list[BenchmarkScore], list[Failure]]:
    """One encoder on one task under every protocol."""
    name = encoder.spec.name
    failed: list[Failure] = []
    untestable = task.untestable()
    if untestable:
        reason = f"not tested: {untestable}"
        return [_not_evaluated(name, task.name, one, reason) for one in request.protocols], []
    layers = {}
    kept = task
    if set(request.protocols) != {FINE_TUNE}:
        folder = Path(request.workspace) / FOLDER / f"{request.name}-{task.name}"
        workspace, failed = embed_task(folder, task, encoder, progress)
        embedded = set(workspace.embeddings(name, -1).clip_ids)
        ids = clip_ids(task)
        kept = _without(task, [clip_id in embedded for clip_id in ids])
        layers = read_layers(workspace, name, [i for i in ids if i in embedded])
    scores = []
    for protocol in request.protocols:
        try:
            if protocol == FINE_TUNE:
                scores.append(_fine_tuned(request, encoder, task, progress))
            else:
                splits = evaluate_frozen(kept, layers, protocol, device=str(encoder.device))
                scores.append(benchmark_score(kept, name, "frozen", protocol, splits))
        except DegenerateError as error:
            scores.append(_not_evaluated(name, task.name, protocol, str(error)))
    return scores, failed


def _fine_tuned(
    request: BenchmarkRequest, encoder: Encoder, task: BenchmarkTask, progress: Progress
) -> BenchmarkScore:
    if not isinstance(encoder, StudentEncoder) or not task.fine_tunes:
        reason = "fine-tuning is for students, on esc50 and as20k"
        return _not_evaluated(encoder.spec.name, task.name, FINE_TUNE, reason)
    config = FineTuning(
        n_steps=request.n_steps, warmup_steps=request.n_steps // 10, device=str(encoder.device)
    )
    splits = [
        SplitScores(
            test=task.rows(split.test),
            scores=fine_tune(encoder.student, task, split, config, progress),
            layer=None,
        )
        for split in task.splits
    ]
    return benchmark_score(task, encoder.spec.name, "fine-tuned", FINE_TUNE, splits)


def _without(task: BenchmarkTask, is_kept: Sequence[bool]) -> BenchmarkTask:
    n_left_out = len(is_kept) - sum(is_kept)
    if not n_left_out:
        return task
    items = tuple(item for item, kept in zip(task.items, is_kept, strict=True) if kept)
    note = f"{n_left_out} of {len(is_kept)} files could not be embedded"
    return replace(task, items=items, notes=(*task.notes, note), classes=task.class_names)


def _not_evaluated(encoder: str, task: str, protocol: str, reason: str) -> BenchmarkScore:
    return BenchmarkScore(encoder=encoder, task=task, protocol=protocol, reason=reason)
