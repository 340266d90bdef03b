"""Routing: the student beside specialists, routers and mixtures, with what they cost."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from usad_workbench.core.bias.routing import (
    any_right_share,
    break_even_accuracy,
    equivalence,
    mcnemar_p_value,
    pareto_front,
)
from usad_workbench.core.diagnosis.data import DiagnosisData
from usad_workbench.core.diagnosis.panel import (
    InfluentialClips,
    Panel,
    PanelKind,
    cell_name,
    most_influential,
)
from usad_workbench.core.diagnosis.predictions import (
    NOT_STORED,
    TaskPredictions,
    are_stored,
    task_predictions,
)
from usad_workbench.core.diagnosis.verdicts import NOT_MEASURED, break_even_words
from usad_workbench.core.errors import ConfigError, DegenerateError, QueryError, ShapeError
from usad_workbench.core.evaluation.systems import (
    LEARNED_ROUTER,
    ORACLE_ROUTER,
    SYSTEMS,
    teacher_pool,
)
from usad_workbench.core.evaluation.tasks import MEAN_OF_TASKS, Task, mean_difference
from usad_workbench.core.progress import Progress
from usad_workbench.core.similarity.resampling import Interval

NAME = "routing"
ANY_DOMAIN = "any"
"""Of tasks that take clips of every domain."""
COLUMNS = {
    "system": "VARCHAR",
    "role": "VARCHAR",
    "task": "VARCHAR",
    "domain": "VARCHAR",
    "protocol": "VARCHAR",
    "value": "DOUBLE",
    "ci_low": "DOUBLE",
    "ci_high": "DOUBLE",
    "student_minus": "DOUBLE",
    "student_minus_ci_low": "DOUBLE",
    "student_minus_ci_high": "DOUBLE",
    "verdict": "VARCHAR",
    "p_not_worse": "DOUBLE",
    "p_equivalent": "DOUBLE",
    "mcnemar_p_value": "DOUBLE",
    "break_even": "DOUBLE",
    "router_accuracy": "DOUBLE",
    "router_ci_low": "DOUBLE",
    "router_ci_high": "DOUBLE",
    "any_teacher_right": "DOUBLE",
    "n_params": "DOUBLE",
    "n_params_resident": "DOUBLE",
    "flops_per_s": "DOUBLE",
    "rtf": "DOUBLE",
    "embedding_bytes": "DOUBLE",
    "on_front": "BOOLEAN",
    "n_clips": "INTEGER",
    "n_clusters": "INTEGER",
    "reason": "VARCHAR",
}
COSTS = ("n_params", "n_params_resident", "flops_per_s", "rtf", "embedding_bytes")
Row = dict[str, Any]
Asked = Sequence[tuple[Task, TaskPredictions]]


def compute(data: DiagnosisData, progress: Progress) -> Panel:
    """Every system on every task, then on the mean of each domain's tasks."""
    tasks = data.tasks()
    asked: list[tuple[Task, TaskPredictions]] = []
    warnings: dict[str, None] = {}
    for done, task in enumerate(tasks, start=1):
        try:
            asked.append((task, task_predictions(data, task)))
        except (ShapeError, DegenerateError) as error:
            warnings[f"task {task.name}: {error}"] = None
        progress(done, len(tasks), NAME)
    if any(not are_stored(found) for _, found in asked):
        warnings[NOT_STORED] = None
    costs = _costs(data)
    rows: list[Row] = []
    drivers: list[InfluentialClips] = []
    for task, found in asked:
        for system in _systems(data, [(task, found)]):
            rows.append(_row(data, system, [(task, found)], task.name, costs))
            if system != data.student:
                drivers.append(_differing(data, system, task, found))
    for domain in dict.fromkeys(task.domain for task, _ in asked):
        mine = [(task, found) for task, found in asked if task.domain == domain]
        systems = _systems(data, mine)
        of_domain = [_row(data, system, mine, MEAN_OF_TASKS, costs) for system in systems]
        _routers(data, of_domain, mine)
        rows += of_domain
    _mark_front(rows)
    return Panel(name=NAME, columns=COLUMNS, rows=rows, drivers=drivers, warnings=list(warnings))


def _systems(data: DiagnosisData, asked: Asked) -> list[str]:
    """Those that answered every task."""
    names = [*data.encoders, *SYSTEMS]
    return [name for name in names if all(name in found for _, found in asked)]


def _row(
    data: DiagnosisData,
    system: str,
    asked: Asked,
    task_name: str,
    costs: Mapping[tuple[str, str, str], Mapping[str, float]],
) -> Row:
    """One system on one task, or on the mean of several."""
    first, found = asked[0]
    protocol = found[system].protocol
    row: Row = {name: math.nan if kind == "DOUBLE" else None for name, kind in COLUMNS.items()}
    value = mean_difference([(task, one[system].labels, None) for task, one in asked])
    row |= {
        "system": system,
        "role": _role(data, system),
        "task": task_name,
        "domain": first.domain or ANY_DOMAIN,
        "protocol": protocol,
        "value": value.value,
        "ci_low": value.ci_low,
        "ci_high": value.ci_high,
        "n_clusters": value.n_clusters,
        "n_clips": len({clip_id for task, _ in asked for clip_id in task.clip_ids}),
        "reason": value.reason,
    }
    each = [costs.get((system, task.name, protocol), {}) for task, _ in asked]
    row |= {name: float(np.mean([one.get(name, math.nan) for one in each])) for name in COSTS}
    if system != data.student:
        row |= _against(data, system, asked)
    return row


def _against(data: DiagnosisData, system: str, asked: Asked) -> Row:
    """Student minus the system on the same clips."""
    mine = [(task, one[data.student], one[system]) for task, one in asked]
    difference = mean_difference([(task, a.labels, b.labels) for task, a, b in mine])
    rules = data.config.rules
    found = equivalence(difference, rules.margin, rules.alpha)
    p_value = math.nan
    if len(mine) == 1:
        p_value = mcnemar_p_value(mine[0][1].right[0], mine[0][2].right[0])
    return {
        "student_minus": difference.value,
        "student_minus_ci_low": difference.ci_low,
        "student_minus_ci_high": difference.ci_high,
        "verdict": found.verdict,
        "p_not_worse": found.p_not_worse,
        "p_equivalent": found.p_equivalent,
        "mcnemar_p_value": p_value,
    }


def _routers(data: DiagnosisData, rows: list[Row], asked: Asked) -> None:
    """Adds to a domain's routers the accuracy they need, and the one the learned router has."""
    by_system = {row["system"]: row for row in rows}
    oracle = by_system.get(ORACLE_ROUTER)
    teachers = {name: by_system[name]["value"] for name in data.teachers if name in by_system}
    if oracle is None or len(teachers) < 2:
        return
    # The specialist is the best of them here; a wrong route leads to one of the others.
    best = max(teachers, key=lambda name: teachers[name])
    off = float(np.mean([value for name, value in teachers.items() if name != best]))
    needed = break_even_accuracy(by_system[data.student]["value"], oracle["value"], off)
    right = [[one[name].right for name in teachers] for _, one in asked]
    headroom = float(np.mean([any_right_share(one) for one in right]))
    oracle |= {"break_even": needed, "any_teacher_right": headroom}
    words = break_even_words(needed)
    if words != NOT_MEASURED and isinstance(words, str):
        oracle["reason"] = "; ".join(filter(None, (oracle["reason"], f"break-even: {words}")))
    learned = by_system.get(LEARNED_ROUTER)
    if learned is None:
        return
    accuracy = _router_accuracy(data, str(oracle["domain"]), asked)
    learned |= {
        "break_even": needed,
        "router_accuracy": accuracy.value,
        "router_ci_low": accuracy.ci_low,
        "router_ci_high": accuracy.ci_high,
    }
    if accuracy.reason:
        learned["reason"] = "; ".join(filter(None, (learned["reason"], accuracy.reason)))


def _router_accuracy(data: DiagnosisData, domain: str, asked: Asked) -> Interval:
    """How often the learned router is right about the clips of a domain's tasks."""
    pool = teacher_pool(data.workspace)
    nothing = Interval(value=math.nan, ci_low=math.nan, ci_high=math.nan, n_clusters=0)
    try:
        routes = pool.routes.domains
    except ConfigError:
        return nothing
    if domain not in pool.homes:
        return Interval(
            value=math.nan,
            ci_low=math.nan,
            ci_high=math.nan,
            n_clusters=0,
            reason=f"no teacher owns {domain}: no route is right",
        )
    clips = data.clips[data.clips.clip_id.isin({c for task, _ in asked for c in task.clip_ids})]
    truth = np.array([domain] * len(clips), dtype=object)
    taken = np.array([routes[clip_id] for clip_id in clips.clip_id], dtype=object)
    task = Task(
        name="domain",
        metric="accuracy",
        clip_ids=clips.clip_id.tolist(),
        labels=truth,
        groups=truth,
        units=clips.cluster_id.to_numpy(dtype=object),
    )
    return mean_difference([(task, taken, None)])


def _costs(data: DiagnosisData) -> dict[tuple[str, str, str], dict[str, float]]:
    """Costs by system, task and protocol as ``usad evaluate`` measured them."""
    columns = ", ".join(COSTS)
    try:
        rows = data.workspace.read(f"SELECT encoder, task, protocol, {columns} FROM probes")
    except QueryError:  # a workspace from before costs were measured
        return {}
    return {
        (str(row["encoder"]), str(row["task"]), str(row["protocol"])): {
            name: float(row[name]) for name in COSTS
        }
        for row in rows.to_dict("records")
    }


def _role(data: DiagnosisData, system: str) -> str:
    if system == data.student:
        return "student"
    if system in SYSTEMS:
        return "system"
    return data.roles[system].role


def _differing(
    data: DiagnosisData, system: str, task: Task, found: TaskPredictions
) -> InfluentialClips:
    """Clips where one is right and the other wrong: upwards those the student gains."""
    mine = found[data.student].right.mean(axis=0)
    gain = mine - found[system].right.mean(axis=0)
    cell = cell_name(system=system, task=task.name)
    return most_influential(cell, task.clip_ids, np.where(gain != 0, gain, np.nan), "error")


def _mark_front(rows: Sequence[Row]) -> None:
    """Within each task or domain: is anything better for as few operations?"""
    for key in {(row["task"], row["domain"]) for row in rows}:
        mine = [row for row in rows if (row["task"], row["domain"]) == key]
        costs, values = ([row[name] for row in mine] for name in ("flops_per_s", "value"))
        for row, is_on in zip(mine, pareto_front(costs, values), strict=True):
            row["on_front"] = is_on if math.isfinite(row["flops_per_s"]) else None


PANEL = PanelKind(
    name=NAME,
    question="One universal encoder, or a router before specialists, and at what cost?",
    columns=COLUMNS,
    compute=compute,
)
