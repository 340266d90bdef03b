"""The scores of an evaluation: a row per system, task and protocol, and the means of the tasks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from usad_workbench.core.evaluation.cost import Cost, combined
from usad_workbench.core.evaluation.system_results import SystemResult
from usad_workbench.core.evaluation.tasks import (
    MEAN_OF_TASKS,
    MEAN_WITH_INTERVAL,
    mean_difference,
    mean_value,
)
from usad_workbench.core.evaluation.testability import lone_clips
from usad_workbench.core.probes import ProbeName
from usad_workbench.core.storage.rows import replace_rows
from usad_workbench.core.storage.scores import ProbeScore
from usad_workbench.core.storage.workspace import Workspace

_NOT_TESTED: dict[str, Any] = dict.fromkeys(
    (
        "value",
        "ci_low",
        "ci_high",
        "chance",
        "difference",
        "difference_ci_low",
        "difference_ci_high",
    ),
    np.nan,
)
_MEASURED = ("n_params", "n_params_resident", "flops_per_s", "rtf")
_NO_COST: dict[str, Any] = dict.fromkeys((*_MEASURED, "embedding_bytes"), np.nan)


def store_scores(workspace: Workspace, scores: Sequence[ProbeScore]) -> None:
    """Writes scores, replacing those of the same systems, tasks and protocols."""
    with workspace.database.write() as connection:
        replace_rows(connection, "probes", ProbeScore, scores, by=("encoder", "task", "protocol"))


def untested_scores(
    systems: Sequence[str], untested: Mapping[str, str], protocols: Sequence[ProbeName]
) -> list[ProbeScore]:
    """Tasks that no probe can be asked: no value and the reason, in no mean."""
    return [
        ProbeScore(
            encoder=system,
            layer=None,
            task=task,
            protocol=protocol,
            metric=None,
            n_test=0,
            n_classes=None,
            n_groups=None,
            n_clusters=0,
            layer_selection=None,
            against=None,
            reason=f"not tested: {reason}",
            **_NOT_TESTED,
            **_NO_COST,
        )
        for system in systems
        for task, reason in untested.items()
        for protocol in protocols
    ]


def scores_of(
    results: Sequence[SystemResult],
    protocols: Sequence[ProbeName],
    against: str | None,
    costs: Mapping[str, Cost],
) -> list[ProbeScore]:
    """One score per system, task and protocol, then the means of the tasks of each system.

    Args:
        results: Of all systems on all tasks.
        protocols: In the order of the means.
        against: The system that the others are compared with.
        costs: Of every encoder; costs are NaN where there are none.
    """
    reference = {(r.task.name, r.protocol): r for r in results if r.system == against}
    scores = [
        _task_score(result, reference.get((result.task.name, result.protocol)), costs)
        for result in results
    ]
    for system in dict.fromkeys(result.system for result in results):
        for protocol in protocols:
            of_all = [r for r in results if r.system == system and r.protocol == protocol]
            judged = [result for result in of_all if result.task.has_interval]
            for name, averaged in ((MEAN_OF_TASKS, of_all), (MEAN_WITH_INTERVAL, judged)):
                if averaged:
                    scores.append(_mean_score(name, averaged, reference, costs))
    return scores


def _task_score(
    result: SystemResult, reference: SystemResult | None, costs: Mapping[str, Cost]
) -> ProbeScore:
    probe = result.probe
    lone = lone_clips(result.task)
    lone_note = (
        f"{lone} of {probe.n_test} clips are of a class that one group alone has: "
        "they count as wrong"
    )
    others = None if reference is None or reference is result else [reference]
    shared = _shared_fields([result], others)
    notes = (shared.pop("reason"), lone_note if lone else "", result.note)
    return ProbeScore(
        layer=result.layer,
        task=result.task.name,
        metric=probe.metric,
        n_classes=probe.n_classes,
        n_groups=probe.n_groups,
        reason="; ".join(filter(None, notes)),
        **(shared | {"value": probe.value}),
        **_cost_fields([result], costs),
    )


def _mean_score(
    name: str,
    results: Sequence[SystemResult],
    reference: Mapping[tuple[str, ProbeName], SystemResult],
    costs: Mapping[str, Cost],
) -> ProbeScore:
    """The mean of some tasks of one system, each with the same weight, with a joint interval."""
    others = [reference[r.task.name, r.protocol] for r in results] if reference else None
    is_itself = others is not None and others[0] is results[0]
    return ProbeScore(
        layer=None,
        task=name,
        metric="mean",
        n_classes=None,
        n_groups=None,
        **_shared_fields(results, None if is_itself else others),
        **_cost_fields(results, costs),
    )


def _shared_fields(
    results: Sequence[SystemResult], others: Sequence[SystemResult] | None
) -> dict[str, Any]:
    """What a score of one task and one of several have alike: value, difference, intervals."""
    value = mean_value([(r.task, r.probe) for r in results])
    difference = None
    if others is not None:
        difference = mean_difference(
            [
                (result.task, result.probe.predictions, other.probe.predictions)
                for result, other in zip(results, others, strict=True)
            ]
        )
    return {
        "encoder": results[0].system,
        "protocol": results[0].protocol,
        "value": value.value,
        "ci_low": value.ci_low,
        "ci_high": value.ci_high,
        "n_test": sum(r.probe.n_test for r in results),
        "n_clusters": value.n_clusters,
        "chance": float(np.mean([r.probe.chance for r in results])),
        "layer_selection": "on training folds",
        "against": others[0].system if others else None,
        "difference": difference.value if difference else np.nan,
        "difference_ci_low": difference.ci_low if difference else np.nan,
        "difference_ci_high": difference.ci_high if difference else np.nan,
        "reason": value.reason,
    }


def _cost_fields(results: Sequence[SystemResult], costs: Mapping[str, Cost]) -> dict[str, Any]:
    """What a clip costs, mean over tasks; NaN where it was not measured."""
    if not costs:
        return _NO_COST
    systems = [combined(costs, result.shares) for result in results]
    return {
        **{name: float(np.mean([getattr(c, name) for c in systems])) for name in _MEASURED},
        "embedding_bytes": float(np.mean([4 * result.dim for result in results])),  # float32
    }
