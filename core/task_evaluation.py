"""Frozen probes on the tasks of a workspace, for encoders and for teachers side by side.

Each encoder gets the same budget: every layer of it is a candidate, and the one that is
used on a test fold was chosen on folds within the training part alone. The teachers
side by side are a system of their own: their layers of the same relative depth, each
block centred and scaled with the training fold's statistics.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from usad_workbench.core.errors import ConfigError
from usad_workbench.core.probes import ProbeResult, Protocol, evaluate_best_layer
from usad_workbench.core.progress import Progress, no_progress
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.core.tasks import (
    MEAN_OF_TASKS,
    MEAN_WITH_INTERVAL,
    Task,
    choose_rows,
    make_task,
    mean_difference,
    mean_value,
)
from usad_workbench.core.teacher_similarity import ClipVectors, clip_vectors

CONCATENATION = "teachers-concatenated"
"""The name of all teachers' layers side by side."""
DEPTHS = 4
"""The concatenation offers layers at 0, 1/4, 1/2, 3/4 and the whole of each depth."""

Candidates = dict[int, list[ClipVectors]]
"""Layer (of the first block) to its blocks, each [clip, dim]."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationConfig:
    """How tasks are evaluated."""

    protocols: tuple[Protocol, ...] = ("knn", "linear")
    n_folds: int = 5
    seeds: tuple[int, ...] = (0, 1, 2)
    against: str | None = None
    """Every system is also compared, clip by clip, with this encoder."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Found:
    """One system on one task under one protocol."""

    system: str
    task: Task
    protocol: Protocol
    layer: int
    result: ProbeResult


def evaluate_tasks(
    workspace: Workspace,
    encoders: Sequence[str] | None = None,
    *,
    tasks: Sequence[str] | None = None,
    config: EvaluationConfig | None = None,
    progress: Progress = no_progress,
) -> pd.DataFrame:
    """Evaluates systems on tasks, stores the table ``probes`` and returns its new rows.

    Args:
        workspace: Holds embeddings, clips with labels, and tasks.
        encoders: All of the workspace and the teachers side by side, where none.
        tasks: All tasks where none.
        config: Protocols, folds, seeds, and whom to compare with.
        progress: Called after each system, task and protocol.

    Returns:
        One row per system, task and protocol, and two means: of all tasks, and of those
        with an interval. ``layer`` is the one chosen most often. Differences are system
        minus ``against``.

    Raises:
        UnknownNameError: an encoder or task that the workspace does not have.
        ConfigError: a workspace without tasks.
    """
    config = config or EvaluationConfig()
    clips = workspace.clips()
    chosen = [make_task(row, clips) for row in _task_rows(workspace, tasks)]
    systems = _systems(workspace, encoders, config.against)
    found: list[_Found] = []
    total = len(chosen) * len(systems) * len(config.protocols)
    for task in chosen:
        for system, members in systems.items():
            candidates = _candidates(workspace, members, task.clip_ids)
            for protocol in config.protocols:
                found.append(_evaluate(system, task, candidates, protocol, config))
                progress(len(found), total, "evaluate")
    rows = _rows(found, config)
    _store(workspace, rows)
    return rows


def _evaluate(
    system: str,
    task: Task,
    candidates: Candidates,
    protocol: Protocol,
    config: EvaluationConfig,
) -> _Found:
    result = evaluate_best_layer(
        [blocks if len(blocks) > 1 else blocks[0] for blocks in candidates.values()],
        task.labels.tolist(), task.groups.tolist(), None, protocol,
        task.metric, config.n_folds, config.seeds,
    )  # fmt: skip
    layers = list(candidates)
    positions = [0] if result.layers is None else result.layers.ravel()
    most_chosen = int(np.bincount(np.asarray(positions, dtype=np.intp)).argmax())
    return _Found(
        system=system, task=task, protocol=protocol, layer=layers[most_chosen], result=result
    )


def _task_rows(workspace: Workspace, asked: Sequence[str] | None) -> list[Mapping[str, str]]:
    rows = workspace.sql("SELECT * FROM tasks ORDER BY task").to_dict("records")
    if not rows:
        raise ConfigError(
            "The workspace has no tasks. Expected rows in the table 'tasks'; `usad demo` has them."
        )
    return choose_rows([{str(k): v for k, v in row.items()} for row in rows], asked)


def _systems(
    workspace: Workspace, asked: Sequence[str] | None, against: str | None
) -> dict[str, list[str]]:
    """Systems by name, each with the encoders that it stands on."""
    spaces = workspace.spaces()
    present = list(dict.fromkeys(spaces[spaces.pooling == "mean"].encoder))
    teachers = [
        name
        for name in dict.fromkeys(workspace.sql("SELECT teacher FROM distillation").teacher)
        if name in present
    ]
    names = list(asked) if asked else [*present, *([CONCATENATION] if len(teachers) > 1 else [])]
    if against and against not in names:
        names.append(against)
    systems = {}
    for name in names:
        if name == CONCATENATION:
            systems[name] = teachers
        else:
            workspace.space_id(name, -1)
            systems[name] = [name]
    return systems


def _candidates(
    workspace: Workspace, encoders: Sequence[str], clip_ids: Sequence[str]
) -> Candidates:
    """Every layer of one encoder, or several encoders' layers at the same depths."""
    depth = dict(workspace.encoders()[["encoder", "n_layers"]].values.tolist())
    if len(encoders) == 1:
        spaces = workspace.spaces()
        mine = spaces[(spaces.encoder == encoders[0]) & (spaces.pooling == "mean")]
        return {
            int(layer): [clip_vectors(workspace, encoders[0], int(layer), clip_ids)]
            for layer in mine.layer
        }
    return {
        step: [
            clip_vectors(workspace, name, round(step * int(depth[name]) / DEPTHS), clip_ids)
            for name in encoders
        ]
        for step in range(DEPTHS + 1)
    }


def _rows(found: Sequence[_Found], config: EvaluationConfig) -> pd.DataFrame:
    """The table: one row per system, task and protocol, then the means of the tasks."""
    reference = {(f.task.name, f.protocol): f for f in found if f.system == config.against}
    rows = []
    for one in found:
        other = reference.get((one.task.name, one.protocol))
        rows.append(_row(one, other, config.against))
    for system in dict.fromkeys(f.system for f in found):
        for protocol in config.protocols:
            mine = [f for f in found if f.system == system and f.protocol == protocol]
            rows.append(_mean_row(MEAN_OF_TASKS, mine, reference, config.against))
            judged = [f for f in mine if f.task.has_interval]
            if judged:
                rows.append(_mean_row(MEAN_WITH_INTERVAL, judged, reference, config.against))
    return pd.DataFrame(rows)


def _row(one: _Found, other: _Found | None, against: str | None) -> dict[str, object]:
    result = one.result
    row = _summary([one], None if other is one or other is None else [other], against)
    return row | {
        "encoder": one.system,
        "layer": one.layer,
        "task": one.task.name,
        "protocol": one.protocol,
        "metric": result.metric,
        "value": result.value,
        "n_classes": result.n_classes,
        "n_groups": result.n_groups,
    }


def _mean_row(
    name: str,
    mine: Sequence[_Found],
    reference: Mapping[tuple[str, Protocol], _Found],
    against: str | None,
) -> dict[str, object]:
    """The mean of some tasks, each with the same weight, with a joint interval."""
    theirs = [reference[f.task.name, f.protocol] for f in mine] if reference else None
    is_itself = theirs is not None and theirs[0] is mine[0]
    row = _summary(mine, None if is_itself else theirs, against)
    return row | {
        "encoder": mine[0].system,
        "layer": None,
        "task": name,
        "protocol": mine[0].protocol,
        "metric": "mean",
        "n_classes": None,
        "n_groups": None,
    }


def _summary(
    mine: Sequence[_Found], theirs: Sequence[_Found] | None, against: str | None
) -> dict[str, object]:
    """Value, difference and their intervals over one task or several."""
    value = mean_value([(f.task, f.result) for f in mine])
    difference = None
    if theirs is not None:
        difference = mean_difference(
            [
                (a.task, a.result.predictions, b.result.predictions)
                for a, b in zip(mine, theirs, strict=True)
            ]
        )
    return {
        "value": value.value,
        "ci_low": value.ci_low,
        "ci_high": value.ci_high,
        "n_test": sum(f.result.n_test for f in mine),
        "n_clusters": value.n_clusters,
        "chance": float(np.mean([f.result.chance for f in mine])),
        "layer_selection": "on training folds",
        "against": against if difference else None,
        "difference": difference.value if difference else np.nan,
        "difference_ci_low": difference.ci_low if difference else np.nan,
        "difference_ci_high": difference.ci_high if difference else np.nan,
        "reason": value.reason,
    }


def _store(workspace: Workspace, rows: pd.DataFrame) -> None:
    with workspace.database.write() as connection:
        connection.register("new_rows", pa.Table.from_pandas(rows, preserve_index=False))
        connection.execute(
            "DELETE FROM probes WHERE (encoder, task, protocol) IN "
            "(SELECT encoder, task, protocol FROM new_rows)"
        )
        connection.execute("INSERT INTO probes BY NAME SELECT * FROM new_rows")
