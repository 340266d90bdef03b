"""Tasks read from every layer of some encoders: where in the depth a label becomes readable.

``evaluate`` gives the value of a procedure, its choice of a layer included. Here each layer stands by
itself on the same folds, so the best of many is too high by its luck, and is not to be compared with
a value of ``evaluate``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from usad_workbench.core.evaluation.system_results import N_FOLDS
from usad_workbench.core.evaluation.systems import Candidates, TaskLayers, teacher_pool
from usad_workbench.core.evaluation.tasks import Task, mean_value, stored_task_rows
from usad_workbench.core.evaluation.testability import possible_tasks
from usad_workbench.core.probes import ProbeName, evaluate_probe
from usad_workbench.core.progress import Progress, no_progress
from usad_workbench.core.storage.workspace import Workspace

SEEDS = (0, 1, 2)


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerScore:
    """What a probe read from one layer."""

    task: str
    encoder: str
    layer: int
    value: float
    ci_low: float
    ci_high: float
    """95%, bootstrap over clusters, as of ``evaluate``."""
    chance: float
    """What the class sizes alone give."""
    n_test: int
    n_clusters: int


def layer_scores(
    workspace: Workspace,
    encoders: Sequence[str],
    tasks: Sequence[str] | None = None,
    *,
    protocol: ProbeName = "knn",
    seeds: Sequence[int] = SEEDS,
    progress: Progress = no_progress,
) -> list[LayerScore]:
    """The scores of tasks in each stored layer of each encoder, in their order.

    Args:
        workspace: Holds embeddings, clips with labels, and tasks.
        encoders: With vectors of the tasks' clips.
        tasks: By name; all where none. Those that no probe can be asked are left out.
        protocol: ``knn`` or ``linear``.
        seeds: One split into folds for each.
        progress: Called after each layer.

    Raises:
        ConfigError: a workspace without tasks.
        UnknownNameError: no such task, or an encoder without vectors.
    """
    with workspace.database.read():
        possible, _ = possible_tasks(stored_task_rows(workspace, tasks), workspace.clips())
        pool = teacher_pool(workspace)
        for name in encoders:
            workspace.space_id(name, -1)  # says of which there are none
        depths = {name: len(workspace.layers(name)) for name in encoders}
    clip_ids = sorted({clip_id for task in possible for clip_id in task.clip_ids})
    found: list[LayerScore] = []
    total = len(possible) * sum(depths.values())
    for name in depths:
        candidates = Candidates(pool, name, clip_ids)
        for task in possible:
            layers = TaskLayers(candidates, pd.Index(clip_ids).get_indexer(task.clip_ids))
            for position in range(len(layers)):
                found.append(_score(name, layers, position, task, protocol, seeds))
                progress(len(found), total, f"probe {name}")
    return found


def _score(
    encoder: str,
    layers: TaskLayers,
    position: int,
    task: Task,
    protocol: ProbeName,
    seeds: Sequence[int],
) -> LayerScore:
    probe = evaluate_probe(
        layers[position],
        task.labels.tolist(),
        task.groups.tolist(),
        None,
        protocol,
        task.metric,
        N_FOLDS,
        seeds,
    )
    interval = mean_value([(task, probe)])
    return LayerScore(
        task=task.name,
        encoder=encoder,
        layer=layers.layers[position],
        value=interval.value,
        ci_low=interval.ci_low,
        ci_high=interval.ci_high,
        chance=probe.chance,
        n_test=probe.n_test,
        n_clusters=interval.n_clusters,
    )
