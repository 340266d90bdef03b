"""The table of an evaluation: a row per system, task and protocol, and the means of the tasks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from usad_workbench.core.evaluation.cost import Cost, combined
from usad_workbench.core.evaluation.tasks import (
    MEAN_OF_TASKS,
    MEAN_WITH_INTERVAL,
    Task,
    lone_clips,
    mean_difference,
    mean_value,
)
from usad_workbench.core.probes import ProbeName, ProbeResult

NUMBERS = (
    "value",
    "ci_low",
    "ci_high",
    "chance",
    "difference",
    "difference_ci_low",
    "difference_ci_high",
)
"""Of a row of the table, NaN where a task cannot be asked."""
COST_COLUMNS = ("n_params", "n_params_resident", "flops_per_s", "rtf", "embedding_bytes")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Found:
    """One system on one task under one protocol."""

    system: str
    task: Task
    protocol: ProbeName
    layer: int | None
    result: ProbeResult
    shares: Mapping[str, float]
    """Encoder to the share of the clips that goes through it."""
    dim: float
    """Of the embedding, mean over clips."""
    note: str = ""
    """What goes with the number, such as a layer by which clips cannot be told apart."""


def untested_rows(
    systems: Sequence[str], untested: Mapping[str, str], protocols: Sequence[ProbeName]
) -> list[dict[str, object]]:
    """Tasks that no probe can be asked: no value and the reason, in no mean."""
    return [
        {
            "encoder": system,
            "layer": None,
            "task": task,
            "protocol": protocol,
            "metric": None,
            **dict.fromkeys((*NUMBERS, *COST_COLUMNS), np.nan),
            "n_test": 0,
            "n_classes": None,
            "n_groups": None,
            "n_clusters": 0,
            "layer_selection": None,
            "against": None,
            "reason": f"not tested: {reason}",
        }
        for system in systems
        for task, reason in untested.items()
        for protocol in protocols
    ]


def rows_of(
    found: Sequence[Found],
    protocols: Sequence[ProbeName],
    against: str | None,
    costs: Mapping[str, Cost],
) -> list[dict[str, object]]:
    """The table: one row per system, task and protocol, then the means of the tasks."""
    reference = {(f.task.name, f.protocol): f for f in found if f.system == against}
    rows = []
    for one in found:
        other = reference.get((one.task.name, one.protocol))
        rows.append(_row(one, other, against) | _cost([one], costs))
    for system in dict.fromkeys(f.system for f in found):
        for protocol in protocols:
            mine = [f for f in found if f.system == system and f.protocol == protocol]
            judged = [f for f in mine if f.task.has_interval]
            for name, part in ((MEAN_OF_TASKS, mine), (MEAN_WITH_INTERVAL, judged)):
                if part:
                    row = _mean_row(name, part, reference, against)
                    rows.append(row | _cost(part, costs))
    return rows


def _cost(mine: Sequence[Found], costs: Mapping[str, Cost]) -> dict[str, object]:
    """What a clip costs, mean over tasks; NaN where it was not measured."""
    if not costs:
        return dict.fromkeys(COST_COLUMNS, np.nan)
    each = [combined(costs, one.shares) for one in mine]
    return {
        **{
            name: float(np.mean([getattr(one, name) for one in each])) for name in COST_COLUMNS[:-1]
        },
        "embedding_bytes": float(np.mean([4 * one.dim for one in mine])),  # float32
    }


def _row(one: Found, other: Found | None, against: str | None) -> dict[str, object]:
    result = one.result
    lone = lone_clips(one.task)
    words = f"{lone} of {result.n_test} clips are of a class that one group alone has: they count as wrong"
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
        "reason": "; ".join(filter(None, (str(row["reason"]), words if lone else "", one.note))),
    }


def _mean_row(
    name: str,
    mine: Sequence[Found],
    reference: Mapping[tuple[str, ProbeName], Found],
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
    mine: Sequence[Found], theirs: Sequence[Found] | None, against: str | None
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
