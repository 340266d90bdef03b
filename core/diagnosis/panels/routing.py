"""Routing: the student beside specialists, routers and mixtures, with what they cost."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

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
    PanelRow,
    cell_name,
    join_reasons,
    most_influential,
)
from usad_workbench.core.diagnosis.predictions import (
    NOT_STORED,
    TaskPredictions,
    are_stored,
    task_predictions,
)
from usad_workbench.core.diagnosis.verdict_on_routing import describe_break_even
from usad_workbench.core.diagnosis.verdicts import NOT_MEASURED
from usad_workbench.core.errors import ConfigError, DegenerateError, QueryError, ShapeError
from usad_workbench.core.evaluation.domain_router import LEARNED_ROUTER
from usad_workbench.core.evaluation.systems import ORACLE_ROUTER, SYSTEMS, teacher_pool
from usad_workbench.core.evaluation.tasks import Task, judged_tasks, mean_difference
from usad_workbench.core.progress import Progress
from usad_workbench.core.similarity.resampling import Interval

NAME = "routing"
ANY_DOMAIN = "any"
"""Of tasks that take clips of every domain."""
COSTS = ("n_params", "n_params_resident", "flops_per_s", "rtf", "embedding_bytes")


@dataclass(frozen=True, kw_only=True, slots=True)
class RoutingRow(PanelRow):
    """A system on one task, or on the mean of a domain's tasks, beside the student."""

    system: str
    role: str
    task: str
    domain: str
    protocol: str | None
    value: float = math.nan
    ci_low: float = math.nan
    ci_high: float = math.nan
    student_minus: float = math.nan
    """The student minus this system, on the same clips."""
    student_minus_ci_low: float = math.nan
    student_minus_ci_high: float = math.nan
    verdict: str | None = None
    p_not_worse: float = math.nan
    p_equivalent: float = math.nan
    mcnemar_p_value: float = math.nan
    break_even: float = math.nan
    """Accuracy at which a router is as good as the student."""
    router_accuracy: float = math.nan
    router_ci_low: float = math.nan
    router_ci_high: float = math.nan
    any_teacher_right: float = math.nan
    n_params: float = math.nan
    n_params_resident: float = math.nan
    flops_per_s: float = math.nan
    rtf: float = math.nan
    embedding_bytes: float = math.nan
    on_front: bool | None = None
    """Whether nothing is better for as few operations."""
    n_clips: int
    n_clusters: int
    reason: str = ""


Asked = Sequence[tuple[Task, TaskPredictions]]


def compute(data: DiagnosisData, progress: Progress) -> Panel:
    """Every system on every task, then on the mean of each domain's tasks that have intervals."""
    tasks = data.tasks()
    asked: list[tuple[Task, TaskPredictions]] = []
    warnings: dict[str, None] = {}
    for done, task in enumerate(tasks, start=1):
        try:
            asked.append((task, task_predictions(data, task)))
        except (ShapeError, DegenerateError) as error:
            warnings[f"task {task.name}: {error}"] = None
        progress(done, len(tasks), NAME)
    if any(not are_stored(predictions_of) for _, predictions_of in asked):
        warnings[NOT_STORED] = None
    costs = _costs(data)
    rows: list[RoutingRow] = []
    clips: list[InfluentialClips] = []
    for task, predictions in asked:
        for system in _systems(data, [(task, predictions)]):
            rows.append(_row(data, system, [(task, predictions)], task.name, costs))
            if system != data.student:
                clips.append(_differing(data, system, task, predictions))
    for domain in dict.fromkeys(task.domain for task, _ in asked):
        name, judged, words = judged_tasks([task for task, _ in asked if task.domain == domain])
        of_domain = [one for one in asked if one[0] in judged]
        systems = _systems(data, of_domain)
        means = [_row(data, system, of_domain, name, costs) for system in systems]
        means = [replace(row, reason=join_reasons(row.reason, words)) for row in means]
        rows += _with_routers(data, means, of_domain)
    return Panel(
        name=NAME,
        row_type=RoutingRow,
        rows=_with_front(rows),
        influential=clips,
        warnings=list(warnings),
    )


def _systems(data: DiagnosisData, asked: Asked) -> list[str]:
    """Those that answered every task."""
    names = [*data.encoders, *SYSTEMS]
    return [name for name in names if all(name in predictions_of for _, predictions_of in asked)]


def _row(
    data: DiagnosisData,
    system: str,
    asked: Asked,
    task_name: str,
    costs: Mapping[tuple[str, str, str], Mapping[str, float]],
) -> RoutingRow:
    """One system on one task, or on the mean of several."""
    first, predictions = asked[0]
    protocol = predictions[system].protocol
    value = mean_difference(
        [(task, predictions_of[system].labels, None) for task, predictions_of in asked]
    )
    costs_of_tasks = [costs.get((system, task.name, protocol), {}) for task, _ in asked]
    row = RoutingRow(
        system=system,
        role=_role(data, system),
        task=task_name,
        domain=first.domain or ANY_DOMAIN,
        protocol=protocol,
        value=value.value,
        ci_low=value.ci_low,
        ci_high=value.ci_high,
        n_clusters=value.n_clusters,
        n_clips=len({clip_id for task, _ in asked for clip_id in task.clip_ids}),
        reason=value.reason,
        n_params=_mean_cost(costs_of_tasks, "n_params"),
        n_params_resident=_mean_cost(costs_of_tasks, "n_params_resident"),
        flops_per_s=_mean_cost(costs_of_tasks, "flops_per_s"),
        rtf=_mean_cost(costs_of_tasks, "rtf"),
        embedding_bytes=_mean_cost(costs_of_tasks, "embedding_bytes"),
    )
    return row if system == data.student else _with_difference(row, data, asked)


def _mean_cost(costs_of_tasks: Sequence[Mapping[str, float]], name: str) -> float:
    """Over tasks; NaN where one was not measured."""
    return float(np.mean([costs.get(name, math.nan) for costs in costs_of_tasks]))


def _with_difference(row: RoutingRow, data: DiagnosisData, asked: Asked) -> RoutingRow:
    """Adds the student minus the system on the same clips."""
    pairs = [
        (task, predictions_of[data.student], predictions_of[row.system])
        for task, predictions_of in asked
    ]
    difference = mean_difference([(task, a.labels, b.labels) for task, a, b in pairs])
    rules = data.config.rules
    verdict = equivalence(difference, rules.margin, rules.alpha)
    p_value = math.nan
    if len(pairs) == 1:
        p_value = mcnemar_p_value(pairs[0][1].right[0], pairs[0][2].right[0])
    return replace(
        row,
        student_minus=difference.value,
        student_minus_ci_low=difference.ci_low,
        student_minus_ci_high=difference.ci_high,
        verdict=verdict.verdict,
        p_not_worse=verdict.p_not_worse,
        p_equivalent=verdict.p_equivalent,
        mcnemar_p_value=p_value,
    )


def _with_routers(
    data: DiagnosisData, rows: Sequence[RoutingRow], asked: Asked
) -> list[RoutingRow]:
    """Adds to a domain's routers the accuracy they need, and the one the learned router has."""
    by_system = {row.system: row for row in rows}
    oracle = by_system.get(ORACLE_ROUTER)
    teachers = [name for name in data.teachers if name in by_system]
    if oracle is None or len(teachers) < 2:
        return list(rows)
    homes = teacher_pool(data.workspace).homes
    needed = _break_even(by_system, data.student, oracle, homes)
    right = [[predictions_of[name].right for name in teachers] for _, predictions_of in asked]
    headroom = float(np.mean([any_right_share(of_task) for of_task in right]))
    words = describe_break_even(needed)
    note = f"break-even: {words}" if words != NOT_MEASURED and isinstance(words, str) else ""
    by_system[ORACLE_ROUTER] = replace(
        oracle,
        break_even=needed,
        any_teacher_right=headroom,
        reason=join_reasons(oracle.reason, note),
    )
    learned = by_system.get(LEARNED_ROUTER)
    if learned is not None:
        accuracy = _router_accuracy(data, oracle.domain, asked)
        by_system[LEARNED_ROUTER] = replace(
            learned,
            break_even=needed,
            router_accuracy=accuracy.value,
            router_ci_low=accuracy.ci_low,
            router_ci_high=accuracy.ci_high,
            reason=join_reasons(learned.reason, accuracy.reason),
        )
    return list(by_system.values())


def _break_even(
    by_system: Mapping[str, RoutingRow],
    student: str,
    oracle: RoutingRow,
    homes: Mapping[str, str],
) -> float:
    """How often a domain router must be right; NaN where no route is right, or none is wrong.

    A wrong route leads to the teacher of another domain. A second teacher of this one is not
    on any: with it among the wrong routes a router of the demo seemed to pay at any accuracy.
    """
    elsewhere = [
        by_system[name].value
        for domain, name in homes.items()
        if domain != oracle.domain and name in by_system
    ]
    if oracle.domain not in homes or not elsewhere:
        return math.nan
    return break_even_accuracy(by_system[student].value, oracle.value, float(np.mean(elsewhere)))


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
    data: DiagnosisData, system: str, task: Task, predictions: TaskPredictions
) -> InfluentialClips:
    """Clips where one is right and the other wrong: upwards those the student gains."""
    gain = predictions[data.student].right.mean(axis=0) - predictions[system].right.mean(axis=0)
    cell = cell_name(system=system, task=task.name)
    return most_influential(cell, task.clip_ids, np.where(gain != 0, gain, np.nan), "error")


def _with_front(rows: Sequence[RoutingRow]) -> list[RoutingRow]:
    """Says of each row whether within its task or domain anything is better for as little."""
    groups: dict[tuple[str, str], list[int]] = {}
    for index, row in enumerate(rows):
        groups.setdefault((row.task, row.domain), []).append(index)
    marked = list(rows)
    for indices in groups.values():
        group = [rows[index] for index in indices]
        front = pareto_front([row.flops_per_s for row in group], [row.value for row in group])
        for index, row, is_on in zip(indices, group, front, strict=True):
            marked[index] = replace(
                row, on_front=bool(is_on) if math.isfinite(row.flops_per_s) else None
            )
    return marked


PANEL = PanelKind(
    name=NAME,
    question="One universal encoder, or a router before specialists, and at what cost?",
    row_type=RoutingRow,
    compute=compute,
)
