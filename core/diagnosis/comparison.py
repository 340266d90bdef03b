"""Two students on the same clips: two encoders, two stages, or two checkpoints of one run.

Differences are first minus second, paired: the same clips, the same clusters left out or
drawn, the same folds. Both are asked at the same relative depth.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri, stdtr

from usad_workbench.core.diagnosis.material import Material
from usad_workbench.core.diagnosis.panel import Drivers, Panel, cell_name, drivers_of
from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.probes import evaluate_best_layer, paired_difference
from usad_workbench.core.progress import Progress
from usad_workbench.core.similarity import benjamini_hochberg, layer_similarity
from usad_workbench.core.similarity._arrays import Matrix
from usad_workbench.core.similarity.resampling import jackknife_limits
from usad_workbench.core.tasks import Task
from usad_workbench.core.teacher_similarity import MEASURES

NAME = "comparison"
COLUMNS = {
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
    "reason": "VARCHAR",
}
SEEDS = (0,)
"""One split of the clips: three take 4 minutes for two students of 9 layers and 9 tasks."""
Row = dict[str, Any]


def compare_students(material: Material, other: str, progress: Progress) -> Panel:
    """Similarity to every encoder and every task, of one student minus another.

    Args:
        material: Of the first student; the second must have vectors of the same clips.
        other: The second student.
        progress: Called after each domain and task.

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
    tasks = material.tasks()
    total = len(material.domains) + len(tasks)
    rows: list[Row] = []
    drivers: list[Drivers] = []
    for domain in material.domains:
        rows += _similarities(material, other, domain)
        progress(len({row["domain"] for row in rows}), total, NAME)
    for done, task in enumerate(tasks, start=len(material.domains) + 1):
        row, driver = _task(material, other, task)
        rows.append(row)
        drivers += driver
        progress(done, total, NAME)
    for quantity in {row["quantity"] for row in rows}:
        mine = [row for row in rows if row["quantity"] == quantity]
        q = benjamini_hochberg(np.array([row["p_value"] for row in mine]))
        for row, value in zip(mine, q.tolist(), strict=True):
            row["q_value"] = value
    return Panel(name=NAME, columns=COLUMNS, rows=rows, drivers=drivers)


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


def _task(material: Material, other: str, task: Task) -> tuple[Row, list[Drivers]]:
    """One task read from both, on the same folds; layers chosen on training folds."""
    results = []
    for name in (material.student, other):
        layers = [
            material.vectors(name, layer, material.places(task.clip_ids))
            for layer in material.layers(name)
        ]
        results.append(
            evaluate_best_layer(
                layers,
                task.labels.tolist(),
                task.groups.tolist(),
                None,
                "linear",
                task.metric,
                seeds=SEEDS,
            )
        )
    a, b = results
    row = _row("task", task.name, _domain_of(material, task), None, other, a.value, b.value)
    found = paired_difference(
        a.predictions,
        b.predictions,
        task.labels.tolist(),
        task.units.tolist(),
        metric=task.metric,
    )
    row |= {
        "ci_low": found.ci_low, "ci_high": found.ci_high, "n_clips": a.n_test,
        "n_clusters": found.n_clusters, "reason": found.reason,
        "p_value": _normal_p(found.value, found.ci_low, found.ci_high),
    }  # fmt: skip
    right = [(one.predictions == task.labels[None]).mean(axis=0) for one in results]
    cell = cell_name(quantity="task", name=task.name)
    return row, [drivers_of(cell, task.clip_ids, right[0] - right[1], "error")]


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
        "quantity": quantity, "name": name, "domain": domain, "layer": layer, "other": other,
        "value": value, "other_value": other_value, "difference": value - other_value,
        "ci_low": math.nan, "ci_high": math.nan, "p_value": math.nan, "q_value": math.nan,
        "n_clips": 0, "n_clusters": 0, "reason": "",
    }  # fmt: skip


def lost_domains(rows: Sequence[Mapping[str, Any]], margin: float, alpha: float) -> dict[str, str]:
    """Tasks at which the first student is worse than the second by more than the margin.

    Args:
        rows: Of the panel.
        margin: What does not matter.
        alpha: Limit of the q-value.
    """
    return {
        str(row["name"]): f"{row['difference']:+.3f} [{row['ci_low']:+.3f}, {row['ci_high']:+.3f}]"
        for row in rows
        if row["quantity"] == "task" and row["difference"] < -margin and row["q_value"] <= alpha
    }
