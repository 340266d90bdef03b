"""The probes of one encoder or system on tasks: predictions out of fold, layer chosen within.

Each encoder gets the same budget: every layer of it is a candidate, and the one that is used on a
test fold was chosen on folds within the training part alone. Routers are put together from the
teachers' out-of-fold predictions on the same folds and cost nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from usad_workbench.core.bias.routing import best_on_validation, routed
from usad_workbench.core.errors import ConfigError
from usad_workbench.core.evaluation.domain_router import LEARNED_ROUTER
from usad_workbench.core.evaluation.systems import (
    CONCATENATION,
    MIXTURE,
    Candidates,
    TaskLayers,
    TeacherPool,
    teacher_pool,
)
from usad_workbench.core.evaluation.tasks import Strings, Task
from usad_workbench.core.probes import (
    ProbeName,
    ProbeResult,
    evaluate_best_layer,
    evaluate_head,
    evaluate_predictions,
    grouped_folds,
)
from usad_workbench.core.probes.folds import Codes
from usad_workbench.core.probes.head import FRAMES, head_of
from usad_workbench.core.similarity.collapsed import describe_collapse
from usad_workbench.core.storage.clip_vectors import ClipVectors
from usad_workbench.core.storage.workspace import FloatArray, Workspace

N_FOLDS = 5
ResultKey = tuple[str, str, ProbeName]
"""System, task and protocol."""
Segments = tuple[FloatArray, Codes]
"""Vectors `[segment, dim]` and, for each, the row of its clip in the task."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeSettings:
    """How every system is probed."""

    protocols: tuple[ProbeName, ...]
    seeds: tuple[int, ...]
    """One split into folds for each."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SystemResult:
    """What the probe of one system found on one task under one protocol."""

    system: str
    task: Task
    protocol: ProbeName
    layer: int | None
    """The layer chosen most often; none for routers."""
    probe: ProbeResult
    shares: Mapping[str, float]
    """Encoder to the share of the clips that goes through it."""
    dim: float
    """Dimensions of the embedding, mean over clips."""
    note: str = ""
    """What goes with the number, such as a layer by which clips cannot be told apart."""

    @property
    def key(self) -> ResultKey:
        """What identifies it in one evaluation."""
        return self.system, self.task.name, self.protocol


def probe_in_folder(
    folder: Path, system: str, tasks: Sequence[Task], settings: ProbeSettings
) -> list[SystemResult]:
    """The results of one encoder or concatenation on all tasks, in a process of its own."""
    workspace = Workspace.open(folder)
    with workspace.database.read():
        pool = teacher_pool(workspace)
    return probe_system(pool, system, tasks, settings)


def probe_system(
    pool: TeacherPool, system: str, tasks: Sequence[Task], settings: ProbeSettings
) -> list[SystemResult]:
    """The results of one encoder or concatenation on all tasks.

    Raises:
        ConfigError: a protocol on frames for teachers that are put side by side.
    """
    clip_ids = sorted({clip_id for task in tasks for clip_id in task.clip_ids})
    layers = Candidates(pool, system, clip_ids)
    # A router needs a validation score, which a probe without a choice does not make.
    n_times = 2 if len(layers) == 1 and system in pool.teachers else 1
    results = []
    for task in tasks:
        rows = pd.Index(clip_ids).get_indexer(task.clip_ids)
        is_all = len(rows) == len(clip_ids)  # both ascend: then no copy is made
        of_task = TaskLayers(layers, None if is_all else rows, n_times)
        results += [
            _probe(pool, system, task, protocol, of_task, settings.seeds)
            for protocol in settings.protocols
        ]
    return results


def _probe(
    pool: TeacherPool,
    system: str,
    task: Task,
    protocol: ProbeName,
    features: TaskLayers,
    seeds: Sequence[int],
) -> SystemResult:
    labels, groups = task.labels.tolist(), task.groups.tolist()
    if head_of(protocol):
        is_frames = protocol.endswith(FRAMES)
        segments = _segments(pool, system, task, features.layers) if is_frames else []
        result = evaluate_head(
            features, labels, groups, protocol, task.metric, N_FOLDS, seeds, segments
        )
    else:
        result = evaluate_best_layer(
            features, labels, groups, None, protocol, task.metric, N_FOLDS, seeds
        )
    positions = [0] if result.layers is None else result.layers.ravel()
    most_chosen = int(np.bincount(np.asarray(positions, dtype=np.intp)).argmax())
    layer, blocks = features.layers[most_chosen], features.blocks(most_chosen)
    members = pool.teachers if system in (CONCATENATION, MIXTURE) else [system]
    return SystemResult(
        system=system,
        task=task,
        protocol=protocol,
        layer=layer,
        probe=result,
        shares=dict.fromkeys(members, 1.0),
        dim=float(sum(block.shape[1] for block in blocks)),
        note="; ".join(filter(None, (result.note, _collapse_note(system, layer, blocks)))),
    )


def _segments(pool: TeacherPool, system: str, task: Task, layers: Sequence[int]) -> list[Segments]:
    """The segments of every layer; frame level is defined for a single encoder only."""
    if system in (CONCATENATION, MIXTURE):
        raise ConfigError(
            f"{system} has no frame level: its teachers' segments are not aligned. Leave it "
            "out, or use the protocol without -frames."
        )
    segments = []
    for layer in layers:
        stored = pool.workspace.embeddings(system, layer)
        rows = pd.Index(task.clip_ids).get_indexer(stored.clip_ids)
        segments.append((stored.vectors[rows >= 0], rows[rows >= 0].astype(np.intp)))
    return segments


def _collapse_note(system: str, layer: int, blocks: Sequence[ClipVectors]) -> str:
    """Says so where the layer that was read has collapsed: then the value is chance."""
    how = describe_collapse(blocks[0]) if len(blocks) == 1 else ""
    return f"{system} layer {layer} has collapsed: all its vectors {how}" if how else ""


def route_system(
    pool: TeacherPool,
    router: str,
    task: Task,
    teachers: Mapping[str, SystemResult],
    seeds: Sequence[int],
) -> SystemResult:
    """The result of a router on one task, made of its teachers' predictions.

    Args:
        pool: The teachers, and what the learned router reads.
        router: One of ``ROUTERS``.
        task: What all were probed on.
        teachers: The result of each teacher on this task, under the same protocol.
        seeds: Of the splits into folds that the teachers were probed with.

    Raises:
        ConfigError: the learned router has no baseline or too few home domains.
    """
    routes = _specialists(task, {name: one.probe for name, one in teachers.items()}, seeds)
    shares = {name: 0.0 for name in pool.teachers}
    if router == LEARNED_ROUTER:
        routes = _learned_routes(pool, task, routes)
        shares[pool.routes.encoder] = 1.0
    protocol = next(iter(teachers.values())).protocol
    predictions = routed({name: one.probe.predictions for name, one in teachers.items()}, routes)
    result = evaluate_predictions(
        predictions, task.labels.tolist(), task.groups.tolist(), None, protocol, task.metric
    )
    shares |= {name: float(np.mean(routes == name)) for name in teachers}
    return SystemResult(
        system=router,
        task=task,
        protocol=protocol,
        layer=None,
        probe=result,
        shares=shares,
        dim=sum(shares[name] * one.dim for name, one in teachers.items()),
    )


def _specialists(task: Task, results: Mapping[str, ProbeResult], seeds: Sequence[int]) -> Strings:
    """The teacher picked on validation for each seed and clip `[seed, clip]`."""
    folds = np.empty((len(seeds), len(task.labels)), dtype=np.intp)
    for row, seed in enumerate(seeds):
        splits = grouped_folds(task.labels.tolist(), task.groups.tolist(), N_FOLDS, seed)
        for number, fold in enumerate(splits):
            folds[row, fold.test] = number
    scores = {n: one.validation for n, one in results.items() if one.validation is not None}
    return best_on_validation(scores, folds)


def _learned_routes(pool: TeacherPool, task: Task, specialists: Strings) -> Strings:
    """Clips that the router takes for another domain go to that domain's teacher."""
    taken = np.array([pool.routes.domains[clip] for clip in task.clip_ids], dtype=object)
    elsewhere = np.array([pool.homes[domain] for domain in taken], dtype=object)
    routes: Strings = np.where((taken == task.domain)[None], specialists, elsewhere[None])
    return routes
