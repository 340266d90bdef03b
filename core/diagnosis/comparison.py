"""Two students on the same clips: two encoders, two stages, or two checkpoints of one run.

Differences are first minus second, paired: the same clips, the same clusters left out or
drawn, the same folds. Both are asked at the same relative depth. Tasks are read from stored
predictions where ``usad evaluate`` has both students with one protocol and the same splits.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri, stdtr

from usad_workbench.core.bias.errors import error_consistency
from usad_workbench.core.diagnosis import lineage
from usad_workbench.core.diagnosis.answers import (
    NOT_STORED,
    answers_of,
    are_stored,
    both_wrong,
)
from usad_workbench.core.diagnosis.material import Material
from usad_workbench.core.diagnosis.panel import Drivers, Panel, cell_name, drivers_of
from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.parallel import as_finished
from usad_workbench.core.predictions import Predictions
from usad_workbench.core.progress import Progress
from usad_workbench.core.similarity import benjamini_hochberg, layer_similarity
from usad_workbench.core.similarity._arrays import Matrix
from usad_workbench.core.similarity.resampling import jackknife_limits
from usad_workbench.core.tasks import Task, mean_difference
from usad_workbench.core.teacher_similarity import MEASURES

NAME = "comparison"
KAPPA = "error consistency"
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """What one domain or task adds to the panel."""

    rows: Sequence[Row]
    drivers: Sequence[Drivers] = ()
    warnings: Sequence[str] = ()


def compare_students(
    material: Material, other: str, progress: Progress, *, n_processes: int | None = 1
) -> Panel:
    """Similarity to every encoder and every task, of one student minus another.

    Args:
        material: Of the first student; the second must have vectors of the same clips.
        other: The second student.
        progress: Called after each domain and task.
        n_processes: 1 works in this process; none takes one for each core.

    Raises:
        UnknownNameError: the second has no vectors in the workspace.
        DegenerateError: clips that only one of them has.
    """
    missing = _without_vectors(material, other)
    if missing:
        raise DegenerateError(
            f"{len(missing)} of {len(material.clips)} clips have no vector of {other}, such as "
            f"{missing[0]!r}, expected the same clips of both. Run `usad embed --encoders "
            f"{other}`, or choose clips with --where."
        )
    jobs: list[tuple[str | Task]] = [(domain,) for domain in material.domains]
    jobs += [(task,) for task in material.tasks()]
    found: dict[int, Part] = {}
    with closing(as_finished(_part, jobs, n_processes, (material, other))) as results:
        for place, part in results:
            found[place] = part
            progress(len(found), len(jobs), NAME)
    parts = [found[place] for place in range(len(jobs))]
    relation = lineage.relation(material.workspace, material.student, other)
    rows = [row | {"relation": relation} for part in parts for row in part.rows]
    for quantity in {row["quantity"] for row in rows}:
        mine = [row for row in rows if row["quantity"] == quantity]
        q = benjamini_hochberg(np.array([row["p_value"] for row in mine]))
        for row, value in zip(mine, q.tolist(), strict=True):
            row["q_value"] = value
    sentence = lineage.SENTENCES[relation].format(student=material.student, other=other)
    return Panel(
        name=NAME, columns=COLUMNS, rows=rows,
        drivers=[one for part in parts for one in part.drivers],
        warnings=list(dict.fromkeys([sentence, *(w for part in parts for w in part.warnings)])),
    )  # fmt: skip


def _part(material: Material, other: str, about: str | Task) -> Part:
    """A domain's similarities, or one task."""
    if isinstance(about, str):
        return Part(rows=_similarities(material, other, about))
    return _task(material, other, about)


def _without_vectors(material: Material, other: str) -> list[str]:
    stored = material.workspace.embeddings(other, -1)
    return sorted(set(material.clips.clip_id) - set(stored.clip_ids.tolist()))


def _similarities(material: Material, other: str, domain: str) -> list[Row]:
    """Both students against every teacher and control, at each of the few layers."""
    places = material.rows(domain)
    clusters = material.clusters(places)
    found = []
    for layer in material.student_layers:
        mine = material.vectors(material.student, layer, places)
        theirs = material.vectors(other, material.matching_layer(other, layer), places)
        for name in [*material.teachers, *material.controls]:
            target = material.vectors(name, material.matching_layer(name, layer), places)
            for measure in MEASURES:
                try:
                    matrices = [
                        layer_similarity(
                            [x], [target], clusters, measure=measure, k=material.config.k,
                            n_permutations=0, seed=material.config.seed,
                            max_clips=material.config.max_clips,
                        )
                        for x in (mine, theirs)
                    ]  # fmt: skip
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
    low, high = jackknife_limits(np.asarray(difference), left_out)
    n = len(left_out)
    error = math.sqrt((n - 1) / n * float(np.sum((left_out - left_out.mean()) ** 2)))
    if error == 0.0:
        p_value = 1.0 if difference == 0.0 else math.nan
    else:
        p_value = float(2 * stdtr(n - 1, -abs(difference) / error))
    return {"ci_low": float(low), "ci_high": float(high), "p_value": p_value}


def _task(material: Material, other: str, task: Task) -> Part:
    """One task read from both on the same folds, and how far both make the same mistakes."""
    domain = _domain_of(material, task)
    nothing = [
        _row(quantity, task.name, domain, None, other, math.nan, math.nan)
        for quantity in ("task", KAPPA)
    ]
    try:
        found = answers_of(material, task, [material.student, other])
    except (ShapeError, DegenerateError) as error:
        return Part(rows=[row | {"reason": str(error)} for row in nothing])
    mine, theirs = found[material.student], found[other]
    values = [mean_difference([(task, one.labels, None)]).value for one in (mine, theirs)]
    difference = mean_difference([(task, mine.labels, theirs.labels)])
    row = _row("task", task.name, domain, None, other, *values) | {
        "ci_low": difference.ci_low, "ci_high": difference.ci_high,
        "n_clips": len(task.clip_ids), "n_clusters": difference.n_clusters,
        "reason": difference.reason, "protocol": mine.protocol,
        "p_value": _normal_p(difference.value, difference.ci_low, difference.ci_high),
    }  # fmt: skip
    return Part(
        rows=[row, _kappa_row(nothing[1], mine, theirs, material.config.seed)],
        drivers=[
            drivers_of(
                cell_name(quantity="task", name=task.name), task.clip_ids,
                mine.right.mean(axis=0) - theirs.right.mean(axis=0), "error",
            ),
            drivers_of(
                cell_name(quantity=KAPPA, name=task.name), task.clip_ids,
                both_wrong(mine, theirs), "error",
            ),
        ],
        warnings=[] if are_stored(found) else [NOT_STORED],
    )  # fmt: skip


def _kappa_row(row: Row, mine: Predictions, theirs: Predictions, seed: int) -> Row:
    """Error consistency of the two: one value of both, no difference."""
    one = error_consistency(mine.right, theirs.right, mine.task.units, seed=seed)
    return row | {
        "value": one.kappa, "ci_low": one.ci_low, "ci_high": one.ci_high,
        "n_clips": one.n_clips, "n_clusters": one.n_clusters, "reason": one.reason,
        "protocol": mine.protocol,
    }  # fmt: skip


def _normal_p(value: float, low: float, high: float) -> float:
    """Two-sided p of a difference whose interval is symmetric enough; NaN without interval.

    >>> round(_normal_p(0.0, -0.1, 0.1), 3)
    1.0
    """
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low:
        return math.nan
    error = (high - low) / (2 * float(ndtri(0.975)))
    return float(2 * ndtr(-abs(value) / error))


def _domain_of(material: Material, task: Task) -> str | None:
    domains = set(material.clips.domain[material.places(task.clip_ids)])
    return str(domains.pop()) if len(domains) == 1 else None


def _row(
    quantity: str,
    name: str,
    domain: str | None,
    layer: int | None,
    other: str,
    value: float,
    other_value: float,
) -> Row:
    return {
        "kind": "errors" if quantity == KAPPA else "difference", "relation": "", "protocol": None,
        "quantity": quantity, "name": name, "domain": domain, "layer": layer, "other": other,
        "value": value, "other_value": other_value, "difference": value - other_value,
        "ci_low": math.nan, "ci_high": math.nan, "p_value": math.nan, "q_value": math.nan,
        "n_clips": 0, "n_clusters": 0, "reason": "",
    }  # fmt: skip


def lost_by_stage_2(
    rows: Sequence[Mapping[str, Any]], margin: float, alpha: float
) -> dict[str, str] | None:
    """Tasks at which the second stage is worse than the first by more than the margin.

    Args:
        rows: Of the panel.
        margin: What does not matter.
        alpha: Limit of the q-value.

    Returns:
        By task, second stage minus first in words; none where the two students are not
        stages of one.
    """
    sign = {"second stage": 1.0, "first stage": -1.0}
    found: dict[str, str] | None = None
    for row in rows:
        if row["quantity"] != "task" or row["relation"] not in sign:
            continue
        found = {} if found is None else found
        low, value, high = sorted(
            sign[row["relation"]] * row[name] for name in ("ci_low", "difference", "ci_high")
        )
        if value < -margin and row["q_value"] <= alpha:
            found[str(row["name"])] = f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"
    return found
