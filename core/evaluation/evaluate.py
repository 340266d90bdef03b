"""``evaluate``: from a workspace to stored scores of every encoder, and of systems of teachers."""

from collections.abc import Sequence
from typing import get_args

from usad_workbench.core.errors import ConfigError
from usad_workbench.core.evaluation.cost import encoder_costs
from usad_workbench.core.evaluation.predictions import predictions_of, store_predictions
from usad_workbench.core.evaluation.scores import scores_of, store_scores, untested_scores
from usad_workbench.core.evaluation.system_results import (
    ProbeSettings,
    ResultKey,
    SystemResult,
    probe_in_folder,
    route_system,
)
from usad_workbench.core.evaluation.systems import (
    ROUTERS,
    TeacherPool,
    system_names,
    teacher_pool,
)
from usad_workbench.core.evaluation.tasks import Task, stored_task_rows
from usad_workbench.core.evaluation.testability import possible_tasks
from usad_workbench.core.parallel import in_processes
from usad_workbench.core.probes import ProbeName
from usad_workbench.core.probes.head import head_of
from usad_workbench.core.progress import Progress, no_progress
from usad_workbench.core.storage.scores import ProbeScore
from usad_workbench.core.storage.workspace import Workspace

MAX_SEEDS = 1000
"""More splits into folds narrow no interval: clusters are what is resampled."""


def evaluate(
    workspace: Workspace,
    *,
    encoders: Sequence[str] | None = None,
    tasks: Sequence[str] | None = None,
    protocols: Sequence[str] = ("knn", "linear"),
    against: str | None = None,
    seeds: int | None = None,
    cost: bool = True,
    progress: Progress = no_progress,
) -> list[ProbeScore]:
    """Probes systems on the workspace's tasks; stores ``probes`` and ``predictions``.

    Rows of the same system, task and protocol that are stored already are replaced.

    Args:
        workspace: Holds embeddings, clips with labels, and tasks.
        encoders: Encoders and systems (``core.evaluation.systems``); where none all systems that
            the teachers allow and all encoders of the workspace, but of students told to be of
            one recipe only the first.
        tasks: Names; all where none.
        protocols: Of ``ProbeName``: ``knn``, ``linear``, or the networks ``hear``, ``marble`` and
            these with ``-frames``.
        against: Every system is also compared, clip by clip, with this encoder.
        seeds: Splits into folds; 3, with networks 1 where none.
        cost: Whether every encoder is run on a few clips to measure operations and time.
        progress: Called after each encoder.

    Returns:
        One score per system, task and protocol, then for each system and protocol the mean of
        the tasks, then the tasks that no probe can be asked, with the reason. ``difference`` is
        the value minus that of ``against``. Costs are those of the encoders behind a system.

    Raises:
        UnknownNameError: an encoder or task that the workspace does not have.
        ConfigError: a workspace without tasks, an unknown protocol, or a wrong number of seeds.
    """
    settings = _settings(protocols, seeds)
    with workspace.database.read():
        possible, untested = possible_tasks(stored_task_rows(workspace, tasks), workspace.clips())
        pool = teacher_pool(workspace)
        systems = system_names(pool, encoders, against)
    results = _probe_all(pool, systems, possible, settings, progress) if possible else []
    members = list(dict.fromkeys(name for result in results for name in result.shares))
    costs = encoder_costs(workspace, members, progress) if cost else {}
    scores = [
        *scores_of(results, settings.protocols, against, costs),
        *untested_scores(systems, untested, settings.protocols),
    ]
    store_scores(workspace, scores)
    store_predictions(
        workspace,
        [
            predictions_of(r.system, list(r.shares), r.task, r.probe, settings.seeds)
            for r in results
        ],
    )
    return scores


def is_evaluated(workspace: Workspace) -> bool:
    """Whether scores of all that ``evaluate`` takes without names are stored."""
    with workspace.database.read():
        systems = system_names(teacher_pool(workspace), None, None)
        scored = set(workspace.read("SELECT DISTINCT encoder FROM probes").encoder)
    return set(systems) <= scored


def _settings(protocols: Sequence[str], seeds: int | None) -> ProbeSettings:
    """The protocols in their usual order, and the seeds of the splits.

    Raises:
        ConfigError: an unknown protocol, none at all, or a wrong number of seeds.

    >>> _settings(["linear", "knn"], 2)
    ProbeSettings(protocols=('knn', 'linear'), seeds=(0, 1))
    """
    names: tuple[ProbeName, ...] = get_args(ProbeName)
    chosen = tuple(name for name in names if name in protocols)
    if set(chosen) != set(protocols) or not chosen:
        raise ConfigError(
            f"Found the protocols {list(protocols)}, expected some of {', '.join(names)}."
        )
    # A network for every fold and grid point takes minutes for each task.
    usual = 1 if any(head_of(name) for name in chosen) else 3
    n_seeds = usual if seeds is None else seeds
    if not 1 <= n_seeds <= MAX_SEEDS:
        raise ConfigError(
            f"Found --seeds {n_seeds}, expected 1 to {MAX_SEEDS:,}; {usual} is usual."
        )
    return ProbeSettings(protocols=chosen, seeds=tuple(range(n_seeds)))


def _probe_all(
    pool: TeacherPool,
    systems: Sequence[str],
    tasks: Sequence[Task],
    settings: ProbeSettings,
    progress: Progress,
) -> list[SystemResult]:
    """The results of all systems: encoders in processes of their own, then routers of these."""
    results: dict[ResultKey, SystemResult] = {}
    total = len(systems) * len(tasks) * len(settings.protocols)
    jobs = [
        (pool.workspace.folder, name, tasks, settings) for name in systems if name not in ROUTERS
    ]
    for of_system in in_processes(probe_in_folder, jobs):
        results |= {result.key: result for result in of_system}
        progress(len(results), total, "evaluate")
    for router in (name for name in systems if name in ROUTERS):
        for task in tasks:
            for protocol in settings.protocols:
                teachers = {name: results[name, task.name, protocol] for name in pool.teachers}
                result = route_system(pool, router, task, teachers, settings.seeds)
                results[result.key] = result
        progress(len(results), total, "evaluate")
    return list(results.values())
