"""Probes of the student while it trains: the tasks of ``usad evaluate`` on few clips.

Nothing here touches the training: what is evaluated is a frozen snapshot, the clips of a
task follow from their names, and the state of torch's random generators is put back.
"""

import hashlib
import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from usad_workbench.core.audio.reading import read_audio
from usad_workbench.core.clips import Clip, ClipBatch
from usad_workbench.core.errors import AudioError, ConfigError
from usad_workbench.core.evaluation.tasks import (
    MEAN_OF_TASKS,
    MEAN_WITH_INTERVAL,
    Task,
    choose_rows,
    make_task,
    mean_value,
)
from usad_workbench.core.evaluation.testability import untestable
from usad_workbench.core.files import sha256_of_file
from usad_workbench.core.models.encoder import Encoder, FloatArray, resolve_layers
from usad_workbench.core.models.frontend import FrontendConfig
from usad_workbench.core.models.student import Student, StudentEncoder
from usad_workbench.core.probes import ProbeName, ProbeResult, evaluate_best_layer
from usad_workbench.core.probes.metrics import check_metric
from usad_workbench.core.storage.joined_clusters import CONTENT_COLUMN
from usad_workbench.core.storage.table_file import read_table, require_columns
from usad_workbench.core.storage.task_file import read_tasks
from usad_workbench.training.recipe import EvaluationRecipe

logger = logging.getLogger(__name__)

SAMPLE_DATA = "sample_data"
CLIP_COLUMNS = ("clip_id", "path", "domain", "cluster_id")
SAMPLE_RATE_HZ = FrontendConfig().sample_rate_hz
SEEDS = (0,)
"""One split into folds: an evaluation is a point of a curve."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeValue:
    """What one probe read from a student."""

    task: str
    protocol: ProbeName
    value: float
    ci_low: float
    ci_high: float
    """95%, bootstrap over clusters; NaN with fewer than 8 of them."""
    n_test: int
    n_clusters: int
    """Units that the interval resamples."""
    chance: float


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Evaluation:
    """Tasks with their clips, decoded once and kept in memory."""

    recipe: EvaluationRecipe
    tasks: tuple[Task, ...]
    clips: dict[str, Clip] = field(repr=False)
    failed: tuple[tuple[str, str], ...] = ()
    """Clips that cannot be read, each with the reason."""

    def of_student(self, student: Student, device: torch.device) -> dict[str, float]:
        """The row of the log for a student, which is frozen and may share its weights.

        Keys: ``probe/PROTOCOL/TASK`` with ``/ci_low``, ``/ci_high`` (where there is an
        interval), ``/n``, ``/n_clusters`` and ``/chance``, and ``evaluation_s``.
        """
        started = time.monotonic()
        encoder = StudentEncoder(student, name="student", weights_sha256="in training")
        devices = [device] if device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            values = evaluate_student(
                encoder.to(device),
                self.clips,
                self.tasks,
                layers=self.recipe.layers,
                protocols=self.recipe.protocols,
            )
        return log_row(values) | {"evaluation_s": round(time.monotonic() - started, 3)}


def evaluate_student(
    encoder: Encoder,
    clips: Mapping[str, Clip],
    tasks: Sequence[Task],
    *,
    layers: Sequence[int] = (-1,),
    protocols: Sequence[ProbeName] = ("knn", "linear"),
) -> list[ProbeValue]:
    """Frozen probes of an encoder on some tasks.

    Args:
        encoder: Any encoder.
        clips: Every clip that a task names, by its id, at the encoder's rate.
        tasks: Labels, groups and clusters of their clips.
        layers: With several, the layer is chosen anew on each training part.
        protocols: k-NN, linear or both.

    Returns:
        One value per protocol and task, then the mean of the tasks where there are several,
        and of those with an interval where others have none.
    """
    asked = sorted({name for task in tasks for name in task.clip_ids})
    row = {name: i for i, name in enumerate(asked)}
    vectors = embed_clips(encoder, [clips[name] for name in asked], layers)
    values = []
    for protocol in protocols:
        results: list[tuple[Task, ProbeResult]] = []
        for task in tasks:
            rows = [row[name] for name in task.clip_ids]
            result = evaluate_best_layer(
                [layer[rows] for layer in vectors],
                task.labels.tolist(),
                task.groups.tolist(),
                task.units.tolist(),
                protocol,
                task.metric,
                seeds=SEEDS,
            )
            results.append((task, result))
            values.append(_value(task.name, protocol, [(task, result)]))
        if len(results) > 1:
            values.append(_value(MEAN_OF_TASKS, protocol, results))
        judged = [(task, result) for task, result in results if task.has_interval]
        if 1 < len(judged) < len(results):
            values.append(_value(MEAN_WITH_INTERVAL, protocol, judged))
    return values


def embed_clips(encoder: Encoder, clips: Sequence[Clip], layers: Sequence[int]) -> list[FloatArray]:
    """Mean-pooled vectors of clips: one array [clip, dim] for each layer."""
    resolved = resolve_layers(layers, encoder.spec.n_layers)
    vectors = [np.empty((len(clips), encoder.spec.dims[i]), np.float32) for i in resolved]
    lengths = [len(clip.samples) for clip in clips]
    for batch in encoder.batches(lengths):
        features = encoder.features(ClipBatch.from_clips([clips[i] for i in batch]), resolved)
        for array, pooled in zip(vectors, features.pooled(), strict=True):
            array[batch] = pooled.float().cpu().numpy()
    return vectors


def log_row(values: Sequence[ProbeValue]) -> dict[str, float]:
    """Values as keys of the log; an interval only where there is one."""
    row: dict[str, float] = {}
    for one in values:
        key = f"probe/{one.protocol}/{one.task}"
        row[key] = one.value
        if np.isfinite(one.ci_low):
            row |= {f"{key}/ci_low": one.ci_low, f"{key}/ci_high": one.ci_high}
        row |= {f"{key}/n": one.n_test, f"{key}/n_clusters": one.n_clusters}
        row[f"{key}/chance"] = one.chance
    return row


def load_evaluation(recipe: EvaluationRecipe, n_layers: int) -> Evaluation:
    """The tasks of a recipe with their clips.

    Args:
        recipe: What is evaluated.
        n_layers: The student's depth, so that a wrong layer is refused before the training.

    Raises:
        ConfigError: a file, column or task that is not there, or a task without anything
            to tell apart.
        UnknownNameError: a task, layer or metric that does not exist.
    """
    resolve_layers(recipe.layers, n_layers)
    manifest = _path(recipe.manifest, "manifest.csv")
    clips = _read_table(manifest, CLIP_COLUMNS)
    files = [manifest.parent / path for path in clips.path]
    clips[CONTENT_COLUMN] = [sha256_of_file(file) if file.is_file() else None for file in files]
    rows = read_tasks(_path(recipe.tasks, "tasks.csv"))
    chosen = choose_rows(rows, recipe.names)
    wanted = [thin_task(make_task(row, clips), recipe.max_clips) for row in chosen]
    paths = dict(zip(clips.clip_id, clips.path, strict=True))
    decoded: dict[str, Clip] = {}
    failed: dict[str, str] = {}
    for name in dict.fromkeys(name for task in wanted for name in task.clip_ids):
        try:
            clip = read_audio(
                manifest.parent / paths[name],
                sample_rate_hz=SAMPLE_RATE_HZ,
                end_s=recipe.max_clip_s,
            )
            decoded[name] = replace(clip, samples=np.ascontiguousarray(clip.samples))
        except AudioError as error:
            failed[name] = str(error)
            logger.warning("not evaluated: %s", error)
    tasks = tuple(_readable(task, decoded) for task in wanted)
    return Evaluation(recipe=recipe, tasks=tasks, clips=decoded, failed=tuple(failed.items()))


def task_domains(recipe: EvaluationRecipe) -> dict[str, str]:
    """The domain of each task of the recipe's table.

    Raises:
        ConfigError: a file or column that is not there.
    """
    rows = read_tasks(_path(recipe.tasks, "tasks.csv"))
    return {row["task"]: row["domain"] for row in rows}


def thin_task(task: Task, max_clips: int) -> Task:
    """At most this many clips of a task: in turn one of each cluster, as long as they last.

    Which ones follows from their names alone, so that runs, and files with other rows or
    another order, are judged on the same clips.
    """
    if len(task.clip_ids) <= max_clips:
        return task
    order = sorted(range(len(task.clip_ids)), key=lambda i: _digest(task.clip_ids[i]))
    seen: Counter[str] = Counter()
    turns = []
    for i in order:
        turns.append(seen[task.units[i]])
        seen[task.units[i]] += 1
    first = np.argsort(turns, kind="stable")[:max_clips]
    return task.take(np.sort(np.asarray(order)[first]))


def _digest(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def _value(
    name: str, protocol: ProbeName, results: Sequence[tuple[Task, ProbeResult]]
) -> ProbeValue:
    interval = mean_value(results)
    return ProbeValue(
        task=name,
        protocol=protocol,
        value=interval.value,
        ci_low=interval.ci_low,
        ci_high=interval.ci_high,
        n_test=sum(result.n_test for _, result in results),
        n_clusters=interval.n_clusters,
        chance=float(np.mean([result.chance for _, result in results])),
    )


def _readable(task: Task, clips: Mapping[str, Clip]) -> Task:
    check_metric(task.metric)
    kept = task.take(np.flatnonzero([name in clips for name in task.clip_ids]))
    reason = untestable(kept)
    if reason:
        raise ConfigError(
            f"Task {task.name!r} has {len(kept.clip_ids)} readable clips that no probe can be asked "
            f"about: {reason}. Leave it out of evaluation.names, or give it other clips."
        )
    return kept


def _path(given: str, name: str) -> Path:
    if given != SAMPLE_DATA:
        return Path(given)
    from usad_workbench.sample_data import sample_data_folder

    return sample_data_folder() / name


def _read_table(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    table = read_table(path)
    require_columns(table, columns)
    rows = [row.cells for row in table.rows if not row.fault]
    for row in table.rows:
        if row.fault:
            logger.warning("row %d of %s is left out: %s", row.number, path, row.fault)
    return pd.DataFrame(rows, columns=table.columns, dtype=object)
