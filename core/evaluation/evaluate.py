"""Frozen probes on the tasks of a workspace: every encoder, and systems made of the teachers.

Each encoder gets the same budget: every layer of it is a candidate, and the one that is
used on a test fold was chosen on folds within the training part alone. Routers are put
together from the teachers' out-of-fold predictions on the same folds and cost nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from usad_workbench.core.bias.routing import best_on_validation, routed
from usad_workbench.core.errors import ConfigError
from usad_workbench.core.evaluation.cost import encoder_costs
from usad_workbench.core.evaluation.predictions import predictions_of, store_predictions
from usad_workbench.core.evaluation.rows import Found, rows_of, untested_rows
from usad_workbench.core.evaluation.systems import (
    CONCATENATION,
    LEARNED_ROUTER,
    MIXTURE,
    ROUTERS,
    Candidates,
    TeacherPool,
    candidates,
    system_names,
    teacher_pool,
)
from usad_workbench.core.evaluation.tasks import (
    Strings,
    Task,
    choose_rows,
    possible_tasks,
)
from usad_workbench.core.parallel import in_processes
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
from usad_workbench.core.progress import Progress, no_progress
from usad_workbench.core.similarity.collapsed import collapse_words
from usad_workbench.core.storage.clip_vectors import ClipVectors
from usad_workbench.core.storage.schema import TABLES
from usad_workbench.core.storage.tables import TASK_COLUMNS
from usad_workbench.core.storage.workspace import FloatArray, Workspace

Segments = tuple[FloatArray, Codes]
"""Vectors `[segment, dim]` and the place of the clip of each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationConfig:
    """How tasks are evaluated."""

    protocols: tuple[ProbeName, ...] = ("knn", "linear")
    n_folds: int = 5
    seeds: tuple[int, ...] = (0, 1, 2)
    against: str | None = None
    """Every system is also compared, clip by clip, with this encoder."""
    measures_cost: bool = True
    """Whether every encoder is run on a few clips of the workspace."""


@dataclass(kw_only=True, eq=False)
class _Evaluation:
    """What one call of ``evaluate_tasks`` works on."""

    pool: TeacherPool
    config: EvaluationConfig
    tasks: Sequence[Task]
    found: dict[tuple[str, str, ProbeName], Found] = field(default_factory=dict)

    def add(self, system: str) -> None:
        """Evaluates one system on all tasks; its vectors are read once."""
        clip_ids = sorted({clip_id for task in self.tasks for clip_id in task.clip_ids})
        layers = {} if system in ROUTERS else candidates(self.pool, system, clip_ids)
        for task in self.tasks:
            rows = pd.Index(clip_ids).get_indexer(task.clip_ids)
            mine = {layer: [x[rows] for x in blocks] for layer, blocks in layers.items()}
            for protocol in self.config.protocols:
                self.found[system, task.name, protocol] = (
                    self._probe(system, task, protocol, mine)
                    if mine
                    else self._router(system, task, protocol)
                )

    def _segments(self, system: str, task: Task, layers: Candidates) -> list[Segments]:
        """The segments of every layer; frame level is defined for one encoder alone."""
        if system in (CONCATENATION, MIXTURE):
            raise ConfigError(
                f"{system} has no frame level: its teachers' segments are not aligned. Leave it "
                "out, or use the protocol without -frames."
            )
        stored = [self.pool.workspace.embeddings(system, layer) for layer in layers]
        place = [pd.Index(task.clip_ids).get_indexer(one.clip_ids) for one in stored]
        return [
            (one.vectors[rows >= 0], rows[rows >= 0].astype(np.intp))
            for one, rows in zip(stored, place, strict=True)
        ]

    def _probe(self, system: str, task: Task, protocol: ProbeName, layers: Candidates) -> Found:
        features = [blocks if len(blocks) > 1 else blocks[0] for blocks in layers.values()]
        if len(features) == 1 and system in self.pool.teachers:
            # A router needs a validation score, which a probe without a choice does not make.
            features *= 2
        is_frames = protocol.endswith(FRAMES)
        segments = self._segments(system, task, layers) if is_frames else []
        result = (
            evaluate_head(
                features,
                task.labels.tolist(),
                task.groups.tolist(),
                protocol,
                task.metric,
                self.config.n_folds,
                self.config.seeds,
                segments * (len(features) // len(layers)),
            )
            if head_of(protocol)
            else evaluate_best_layer(
                features,
                task.labels.tolist(),
                task.groups.tolist(),
                None,
                protocol,
                task.metric,
                self.config.n_folds,
                self.config.seeds,
            )
        )
        positions = [0] if result.layers is None else result.layers.ravel()
        most_chosen = int(np.bincount(np.asarray(positions, dtype=np.intp)).argmax())
        layer = list(layers)[most_chosen % len(layers)]
        members = self.pool.teachers if system in (CONCATENATION, MIXTURE) else [system]
        return Found(
            system=system,
            task=task,
            protocol=protocol,
            layer=layer,
            result=result,
            shares=dict.fromkeys(members, 1.0),
            dim=float(sum(block.shape[1] for block in layers[layer])),
            note=_flat_words(system, layer, layers[layer]),
        )

    def _router(self, system: str, task: Task, protocol: ProbeName) -> Found:
        of = {name: self.found[name, task.name, protocol] for name in self.pool.teachers}
        routes = self._specialists(task, {name: one.result for name, one in of.items()})
        shares = {name: 0.0 for name in self.pool.teachers}
        if system == LEARNED_ROUTER:
            routes = self._learned(task, routes)
            shares[self.pool.routes.encoder] = 1.0
        predictions = routed({name: one.result.predictions for name, one in of.items()}, routes)
        result = evaluate_predictions(
            predictions, task.labels.tolist(), task.groups.tolist(), None, protocol, task.metric
        )
        shares |= {name: float(np.mean(routes == name)) for name in of}
        return Found(
            system=system,
            task=task,
            protocol=protocol,
            layer=None,
            result=result,
            shares=shares,
            dim=sum(shares[name] * one.dim for name, one in of.items()),
        )

    def _specialists(self, task: Task, results: Mapping[str, ProbeResult]) -> Strings:
        """The teacher picked on validation for each seed and clip `[seed, clip]`."""
        folds = np.empty((len(self.config.seeds), len(task.labels)), dtype=np.intp)
        for place, seed in enumerate(self.config.seeds):
            splits = grouped_folds(
                task.labels.tolist(), task.groups.tolist(), self.config.n_folds, seed
            )
            for number, fold in enumerate(splits):
                folds[place, fold.test] = number
        scores = {n: one.validation for n, one in results.items() if one.validation is not None}
        return best_on_validation(scores, folds)

    def _learned(self, task: Task, specialists: Strings) -> Strings:
        """Clips that the router takes for another domain go to that domain's teacher."""
        taken = np.array([self.pool.routes.domains[clip] for clip in task.clip_ids], dtype=object)
        elsewhere = np.array([self.pool.homes[domain] for domain in taken], dtype=object)
        routes: Strings = np.where((taken == task.domain)[None], specialists, elsewhere[None])
        return routes


def _flat_words(system: str, layer: int, blocks: Sequence[ClipVectors]) -> str:
    """Says so where the layer that was read has collapsed: then the value is chance."""
    how = collapse_words(blocks[0]) if len(blocks) == 1 else ""
    return f"{system} layer {layer} has collapsed: all its vectors {how}" if how else ""


def evaluate_tasks(
    workspace: Workspace,
    encoders: Sequence[str] | None = None,
    *,
    tasks: Sequence[str] | None = None,
    config: EvaluationConfig | None = None,
    progress: Progress = no_progress,
) -> pd.DataFrame:
    """Evaluates systems on tasks, stores ``probes`` and ``predictions``, returns the new rows.

    Args:
        workspace: Holds embeddings, clips with labels, and tasks.
        encoders: Encoders and systems (``evaluation.systems``); where none, all encoders of the
            workspace and all systems. A router brings its teachers with it.
        tasks: All tasks where none.
        config: Protocols, folds, seeds, and whom to compare with.
        progress: Called after each system, then after each encoder whose cost is measured.

    Returns:
        One row per system, task and protocol, and two means: of all tasks, and of those
        with an interval. A task that no probe can be asked has no value but a ``reason``, and no
        share in a mean. ``layer`` is the one chosen most often. Differences are system
        minus ``against``. Costs are those of the encoders behind a system.

    Raises:
        UnknownNameError: an encoder or task that the workspace does not have.
        ConfigError: a workspace without tasks.
    """
    config = config or EvaluationConfig()
    clips = workspace.clips()
    chosen, untested = possible_tasks(_task_rows(workspace, tasks), clips)
    pool = teacher_pool(workspace)
    systems = system_names(pool, encoders, config.against)
    work = _Evaluation(pool=pool, config=config, tasks=chosen)
    per_system = len(chosen) * len(config.protocols)
    asked = systems if chosen else []
    probed = [name for name in asked if name not in ROUTERS]
    total = per_system * len(systems)
    jobs = [(workspace.folder, name, chosen, config) for name in probed]
    for done, found_by_one in enumerate(in_processes(_probe_system, jobs), start=1):
        work.found |= found_by_one
        progress(done * per_system, total, "evaluate")
    for system in asked:
        if system in ROUTERS:
            work.add(system)
            progress(len(work.found), total, "evaluate")
    found = list(work.found.values())
    members = list(dict.fromkeys(name for one in found for name in one.shares))
    costs = encoder_costs(workspace, members, progress) if config.measures_cost else {}
    rows = pd.DataFrame(
        [
            *rows_of(found, config.protocols, config.against, costs),
            *untested_rows(systems, untested, config.protocols),
        ]
    )
    _store(workspace, rows)
    store_predictions(
        workspace,
        [
            predictions_of(one.system, list(one.shares), one.task, one.result, config.seeds)
            for one in found
        ],
    )
    return rows


def _probe_system(
    folder: Path, system: str, tasks: Sequence[Task], config: EvaluationConfig
) -> dict[tuple[str, str, ProbeName], Found]:
    """One encoder or system on all tasks, in a process of its own."""
    pool = teacher_pool(Workspace.open(folder))
    work = _Evaluation(pool=pool, config=config, tasks=tasks)
    work.add(system)
    return work.found


def _task_rows(workspace: Workspace, asked: Sequence[str] | None) -> list[Mapping[str, str]]:
    rows = workspace.read("SELECT * FROM tasks ORDER BY task").to_dict("records")
    if not rows:
        raise ConfigError(
            "The workspace has no tasks, expected at least one. Name them in a CSV with the columns "
            f"{', '.join(TASK_COLUMNS)}, and add it: `usad import --tasks CSV --workspace "
            f"{workspace.folder}`."
        )
    return choose_rows([{str(k): v for k, v in row.items()} for row in rows], asked)


def _store(workspace: Workspace, rows: pd.DataFrame) -> None:
    with workspace.database.write() as connection:
        for column in TABLES["probes"].split(", "):
            # Workspaces made before costs were measured have no columns for them.
            connection.execute(f"ALTER TABLE probes ADD COLUMN IF NOT EXISTS {column}")
        connection.register("new_rows", pa.Table.from_pandas(rows, preserve_index=False))
        connection.execute(
            "DELETE FROM probes WHERE (encoder, task, protocol) IN "
            "(SELECT encoder, task, protocol FROM new_rows)"
        )
        connection.execute("INSERT INTO probes BY NAME SELECT * FROM new_rows")
