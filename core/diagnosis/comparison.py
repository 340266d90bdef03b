"""Two students on the same clips: two encoders, two stages, or two checkpoints of one run.

Differences are first minus second, paired: the same clips, the same clusters left out or
drawn, the same folds. Both are asked at the same relative depth. Tasks are read from stored
predictions where ``usad evaluate`` has both students with one protocol and the same splits.
``lineage`` says what the two are to each other: only stages of one student say what a stage
changed.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri, stdtr

from usad_workbench.core.arrays import Matrix
from usad_workbench.core.bias.error_consistency import error_consistency
from usad_workbench.core.diagnosis import lineage
from usad_workbench.core.diagnosis.data import DiagnosisData
from usad_workbench.core.diagnosis.panel import InfluentialClips, Panel, cell_name, most_influential
from usad_workbench.core.diagnosis.panels.routing import ANY_DOMAIN
from usad_workbench.core.diagnosis.predictions import (
    NOT_STORED,
    are_stored,
    both_wrong,
    predict_task,
)
from usad_workbench.core.diagnosis.teacher_similarity import MEASURES
from usad_workbench.core.diagnosis.verdicts import Estimate, StageChange
from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.evaluation.predictions import Predictions
from usad_workbench.core.evaluation.tasks import (
    MEAN_OF_TASKS,
    MEAN_WITH_INTERVAL,
    Task,
    mean_difference,
)
from usad_workbench.core.parallel import as_finished
from usad_workbench.core.progress import Progress
from usad_workbench.core.similarity import benjamini_hochberg, layer_similarity
from usad_workbench.core.similarity.resampling import jackknife_limits

NAME = "comparison"
QUESTION = "In what do two students differ, and do they make the same mistakes?"
TASK, KAPPA = "task", "error consistency"
"""Quantities beside the measures of similarity and the mean of a domain's tasks."""
KINDS = {TASK: "task", MEAN_OF_TASKS: "task", KAPPA: "errors"}
"""Kind of a row by its quantity; all others are similarities."""
COLUMNS = {
    "kind": "VARCHAR",
    "relation": "VARCHAR",
    "quantity": "VARCHAR",
    "name": "VARCHAR",
    "domain": "VARCHAR",
    "layer": "INTEGER",
    "other": "VARCHAR",
    "value": "DOUBLE",
    "other_value": "DOUBLE",
    "difference": "DOUBLE",
    "ci_low": "DOUBLE",
    "ci_high": "DOUBLE",
    "p_value": "DOUBLE",
    "q_value": "DOUBLE",
    "n_clips": "INTEGER",
    "n_clusters": "INTEGER",
    "protocol": "VARCHAR",
    "reason": "VARCHAR",
}
Row = dict[str, Any]
Pair = tuple[Predictions, Predictions]
"""What both students said of one task, the first student first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """What one domain or task adds to the panel."""

    rows: Sequence[Row]
    pair: Pair | None = None
    drivers: Sequence[InfluentialClips] = ()
    warnings: Sequence[str] = ()


def compare_students(
    data: DiagnosisData, other: str, progress: Progress, *, n_processes: int | None = 1
) -> Panel:
    """Similarity to every encoder and every task, of one student minus another.

    Args:
        data: Of the first student; the second must have vectors of the same clips.
        other: The second student.
        progress: Called after each domain and task.
        n_processes: 1 works in this process; none takes one for each core.

    Raises:
        UnknownNameError: the second has no vectors in the workspace.
        DegenerateError: clips that only one of them has.
    """
    missing = _without_vectors(data, other)
    if missing:
        raise DegenerateError(
            f"{len(missing)} of {len(data.clips)} clips have no vector of {other}, such as "
            f"{missing[0]!r}, expected the same clips of both. Run `usad embed --encoders "
            f"{other}`, or choose clips with --where."
        )
    jobs: list[tuple[str | Task]] = [(domain,) for domain in data.domains]
    jobs += [(task,) for task in data.tasks()]
    found: dict[int, Part] = {}
    with closing(as_finished(_part, jobs, n_processes, (data, other))) as results:
        for place, part in results:
            found[place] = part
            progress(len(found), len(jobs), NAME)
    parts = [found[place] for place in range(len(jobs))]
    relation = lineage.relation(data.workspace, data.student, other)
    rows = [row for part in parts for row in part.rows]
    rows += _means([part.pair for part in parts if part.pair], other)
    for quantity in {row["quantity"] for row in rows}:
        mine = [row for row in rows if row["quantity"] == quantity]
        q = benjamini_hochberg(np.array([row["p_value"] for row in mine]))
        for row, value in zip(mine, q.tolist(), strict=True):
            row |= {"q_value": value, "relation": relation}
    sentence = lineage.SENTENCES[relation].format(student=data.student, other=other)
    return Panel(
        name=NAME,
        columns=COLUMNS,
        rows=rows,
        drivers=[one for part in parts for one in part.drivers],
        warnings=list(dict.fromkeys([sentence, *(w for part in parts for w in part.warnings)])),
    )


def _part(data: DiagnosisData, other: str, about: str | Task) -> Part:
    """A domain's similarities, or one task."""
    if isinstance(about, str):
        return Part(rows=_similarities(data, other, about))
    return _task(data, other, about)


def _without_vectors(data: DiagnosisData, other: str) -> list[str]:
    stored = data.workspace.embeddings(other, -1)
    return sorted(set(data.clips.clip_id) - set(stored.clip_ids.tolist()))


def _similarities(data: DiagnosisData, other: str, domain: str) -> list[Row]:
    """Both students against every teacher and control, at each of the few layers."""
    places = data.rows(domain)
    clusters = data.clusters(places)
    found = []
    for layer in data.student_layers:
        mine = data.vectors(data.student, layer, places)
        theirs = data.vectors(other, data.matching_layer(other, layer), places)
        for name in [*data.teachers, *data.controls]:
            if name == other:  # a control can be the second student: it is like itself
                continue
            target = data.vectors(name, data.matching_layer(name, layer), places)
            for measure in MEASURES:
                try:
                    matrices = [
                        layer_similarity(
                            [x],
                            [target],
                            clusters,
                            measure=measure,
                            k=data.config.k,
                            n_permutations=0,
                            seed=data.config.seed,
                            max_clips=data.config.max_clips,
                        )
                        for x in (mine, theirs)
                    ]
                except (ShapeError, DegenerateError) as error:
                    row = _row(measure, name, domain, layer, other, math.nan, math.nan)
                    found.append(row | {"reason": str(error)})
                    continue
                a, b = matrices
                values = float(a.values[0, 0]), float(b.values[0, 0])
                row = _row(measure, name, domain, layer, other, *values)
                row |= {"n_clips": a.n_clips, "n_clusters": a.n_clusters, "reason": a.reason}
                if a.jackknife_values is not None and b.jackknife_values is not None:
                    left_out = (a.jackknife_values - b.jackknife_values)[:, 0, 0]
                    row |= jackknife_test(values[0] - values[1], left_out)
                found.append(row)
    return found


def jackknife_test(difference: float, left_out: Matrix) -> Row:
    """Limits and two-sided p of a difference from its leave-one-group-out values.

    >>> found = jackknife_test(0.0, np.array([-0.1, 0.0, 0.1]))
    >>> found["p_value"]
    1.0
    """
    low, high = jackknife_limits(np.asarray(difference), left_out, largest=1.0)
    n = len(left_out)
    error = math.sqrt((n - 1) / n * float(np.sum((left_out - left_out.mean()) ** 2)))
    if error == 0.0:
        p_value = 1.0 if difference == 0.0 else math.nan
    else:
        p_value = float(2 * stdtr(n - 1, -abs(difference) / error))
    return {"ci_low": float(low), "ci_high": float(high), "p_value": p_value}


def _task(data: DiagnosisData, other: str, task: Task) -> Part:
    """One task read from both on the same folds, and how far both make the same mistakes."""
    domain = task.domain or ANY_DOMAIN
    nothing = [
        _row(quantity, task.name, domain, None, other, math.nan, math.nan)
        for quantity in (TASK, KAPPA)
    ]
    try:
        found = predict_task(data, task, [data.student, other])
    except (ShapeError, DegenerateError) as error:
        return Part(rows=[row | {"reason": str(error)} for row in nothing])
    mine, theirs = found[data.student], found[other]
    row = _task_row(TASK, task.name, [(mine, theirs)], other)
    return Part(
        rows=[row, _kappa_row(nothing[1], mine, theirs, data.config.seed)],
        pair=(mine, theirs),
        drivers=[
            most_influential(
                cell_name(quantity=TASK, name=task.name),
                task.clip_ids,
                mine.right.mean(axis=0) - theirs.right.mean(axis=0),
                "error",
            ),
            most_influential(
                cell_name(quantity=KAPPA, name=task.name),
                task.clip_ids,
                both_wrong(mine, theirs),
                "error",
            ),
        ],
        warnings=[] if are_stored(found) else [NOT_STORED],
    )


def _means(pairs: Sequence[Pair], other: str) -> list[Row]:
    """Of each domain that has tasks: the mean over them, clusters drawn once for all.

    Tasks with too few clusters to resample would leave the mean without an interval: it is
    that of the others, where there are some, and is named so.
    """
    by_domain: dict[str, list[Pair]] = {}
    for pair in pairs:
        by_domain.setdefault(pair[0].task.domain or ANY_DOMAIN, []).append(pair)
    rows = []
    for mine in by_domain.values():
        with_interval = [pair for pair in mine if pair[0].task.has_interval]
        is_part = 0 < len(with_interval) < len(mine)
        name, taken = (MEAN_WITH_INTERVAL, with_interval) if is_part else (MEAN_OF_TASKS, mine)
        rows.append(_task_row(MEAN_OF_TASKS, name, taken, other))
    return rows


def _task_row(quantity: str, name: str, pairs: Sequence[Pair], other: str) -> Row:
    """One task of a domain, or the mean of several with the same weight for each."""
    values = [
        mean_difference([(pair[side].task, pair[side].labels, None) for pair in pairs]).value
        for side in (0, 1)
    ]
    found = mean_difference([(a.task, a.labels, b.labels) for a, b in pairs])
    domain = pairs[0][0].task.domain or ANY_DOMAIN
    return _row(quantity, name, domain, None, other, *values) | {
        "ci_low": found.ci_low,
        "ci_high": found.ci_high,
        "n_clips": len({clip_id for a, _ in pairs for clip_id in a.task.clip_ids}),
        "n_clusters": found.n_clusters,
        "reason": found.reason,
        "protocol": " and ".join(sorted({a.protocol for a, _ in pairs})),
        "p_value": _normal_p(found.value, found.ci_low, found.ci_high),
    }


def _kappa_row(row: Row, mine: Predictions, theirs: Predictions, seed: int) -> Row:
    """Error consistency of the two: one value of both, no difference."""
    one = error_consistency(mine.right, theirs.right, mine.task.units, seed=seed)
    return row | {
        "value": one.kappa,
        "ci_low": one.ci_low,
        "ci_high": one.ci_high,
        "n_clips": one.n_clips,
        "n_clusters": one.n_clusters,
        "reason": one.reason,
        "protocol": mine.protocol,
    }


def _normal_p(value: float, low: float, high: float) -> float:
    """Two-sided p that agrees with a 95% interval, from its limit on the side of 0.

    NaN without an interval.

    >>> _normal_p(0.0, -0.1, 0.1), _normal_p(0.0, 0.0, 0.0)
    (1.0, 1.0)
    >>> round(_normal_p(-0.1, -0.15, 0.0), 3)
    0.05
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        return math.nan
    if value == 0.0:
        return 1.0
    reach = high - value if value < 0 else value - low
    return float(2 * ndtr(-abs(value) / reach * float(ndtri(0.975)))) if reach > 0 else math.nan


def _row(
    quantity: str,
    name: str,
    domain: str,
    layer: int | None,
    other: str,
    value: float,
    other_value: float,
) -> Row:
    return {
        "kind": KINDS.get(quantity, "similarity"),
        "relation": "",
        "protocol": None,
        "quantity": quantity,
        "name": name,
        "domain": domain,
        "layer": layer,
        "other": other,
        "value": value,
        "other_value": other_value,
        "difference": value - other_value,
        "ci_low": math.nan,
        "ci_high": math.nan,
        "p_value": math.nan,
        "q_value": math.nan,
        "n_clips": 0,
        "n_clusters": 0,
        "reason": "",
    }


def changed_by_stage_2(rows: Sequence[Mapping[str, Any]]) -> dict[str, StageChange] | None:
    """The mean of each domain's tasks in the second stage minus that in the first.

    Args:
        rows: Of the panel.

    Returns:
        By domain; none where the two students are not stages of one.
    """
    means = [
        row
        for row in rows
        if row["quantity"] == MEAN_OF_TASKS and row["relation"] in ("second stage", "first stage")
    ]
    return {str(row["domain"]): _stage_change(row) for row in means} or None


def _stage_change(row: Mapping[str, Any]) -> StageChange:
    value, low, high = (float(row[name]) for name in ("difference", "ci_low", "ci_high"))
    if row["relation"] == "first stage":
        value, low, high = -value, -high, -low
    estimate = Estimate(value=value, ci_low=low, ci_high=high, n_clips=int(row["n_clips"]))
    return StageChange(estimate=estimate, q_value=float(row["q_value"]))
