"""Two students on the same clips: two encoders, two stages, or two checkpoints of one run.

Differences are first minus second, paired: the same clips, the same clusters left out or
drawn, the same folds. Both are asked at the same relative depth. Tasks are read from stored
predictions where ``usad evaluate`` has both students with one protocol and the same splits.
``lineage`` says what the two are to each other: only stages of one student say what a stage
changed.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtr, ndtri, stdtr

from usad_workbench.core.arrays import Matrix
from usad_workbench.core.bias.error_consistency import error_consistency
from usad_workbench.core.diagnosis import lineage
from usad_workbench.core.diagnosis.data import DiagnosisData
from usad_workbench.core.diagnosis.panel import (
    InfluentialClips,
    Panel,
    PanelRow,
    cell_name,
    join_reasons,
    most_influential,
    q_values,
)
from usad_workbench.core.diagnosis.panels.routing import ANY_DOMAIN
from usad_workbench.core.diagnosis.predictions import (
    NOT_STORED,
    are_stored,
    both_wrong,
    predict_task,
)
from usad_workbench.core.diagnosis.sentences import describe_relation
from usad_workbench.core.diagnosis.teacher_similarity import MEASURES
from usad_workbench.core.diagnosis.verdict_on_falsification import StageChange
from usad_workbench.core.diagnosis.verdicts import Estimate
from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.evaluation.predictions import Predictions
from usad_workbench.core.evaluation.tasks import (
    MEAN_OF_TASKS,
    Task,
    judged_tasks,
    mean_difference,
)
from usad_workbench.core.parallel import as_finished
from usad_workbench.core.progress import Progress
from usad_workbench.core.similarity import Measure, layer_similarity
from usad_workbench.core.similarity.comparison import difference_of_pairs
from usad_workbench.core.similarity.resampling import jackknife_error, jackknife_limits
from usad_workbench.core.storage.clip_vectors import ClipVectors

NAME = "comparison"
QUESTION = "In what do two students differ, and do they make the same mistakes?"
TASK, KAPPA = "task", "error consistency"
"""Quantities beside the measures of similarity and the mean of a domain's tasks."""
KINDS = {TASK: "task", MEAN_OF_TASKS: "task", KAPPA: "errors"}
"""Kind of a row by its quantity; all others are similarities."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparisonRow(PanelRow):
    """One quantity of two students, first minus second, on the same clips."""

    kind: str
    """similarity, task or errors."""
    relation: str = ""
    """What the first student is to the second."""
    quantity: str
    name: str
    """The encoder of a similarity, or the task."""
    domain: str
    layer: int | None = None
    other: str
    """The second student."""
    value: float = math.nan
    other_value: float = math.nan
    difference: float = math.nan
    ci_low: float = math.nan
    ci_high: float = math.nan
    p_value: float = math.nan
    q_value: float = math.nan
    n_clips: int = 0
    n_clusters: int = 0
    protocol: str | None = None
    reason: str = ""


Pair = tuple[Predictions, Predictions]
"""What both students said of one task, the first student first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Contribution:
    """What one domain or task adds to the panel."""

    rows: Sequence[ComparisonRow]
    pair: Pair | None = None
    clips: Sequence[InfluentialClips] = ()
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
    compared: dict[int, Contribution] = {}
    with closing(as_finished(_contribution, jobs, n_processes, (data, other))) as results:
        for index, contribution in results:
            compared[index] = contribution
            progress(len(compared), len(jobs), NAME)
    contributions = [compared[index] for index in range(len(jobs))]
    relation = lineage.relation(data.workspace, data.student, other)
    rows = [row for contribution in contributions for row in contribution.rows]
    rows += _means(
        [contribution.pair for contribution in contributions if contribution.pair], other
    )
    q: dict[str, Iterator[float]] = {
        quantity: iter(q_values(row.p_value for row in rows if row.quantity == quantity))
        for quantity in {row.quantity for row in rows}
    }
    sentence = describe_relation(relation, data.student, other)
    return Panel(
        name=NAME,
        row_type=ComparisonRow,
        rows=[replace(row, q_value=next(q[row.quantity]), relation=relation) for row in rows],
        influential=[clips for contribution in contributions for clips in contribution.clips],
        warnings=list(
            dict.fromkeys(
                [sentence, *(w for contribution in contributions for w in contribution.warnings)]
            )
        ),
    )


def _contribution(data: DiagnosisData, other: str, about: str | Task) -> Contribution:
    """A domain's similarities, or one task."""
    if isinstance(about, str):
        return Contribution(rows=_similarities(data, other, about))
    return _task(data, other, about)


def _without_vectors(data: DiagnosisData, other: str) -> list[str]:
    stored = data.workspace.embeddings(other, -1)
    return sorted(set(data.clips.clip_id) - set(stored.clip_ids.tolist()))


def _similarities(data: DiagnosisData, other: str, domain: str) -> list[ComparisonRow]:
    """Both students against every teacher and control, at each of the few layers."""
    clip_rows = data.rows(domain)
    rows = []
    for layer in data.student_layers:
        pair = (
            data.vectors(data.student, layer, clip_rows),
            data.vectors(other, data.matching_layer(other, layer), clip_rows),
        )
        for name in [*data.teachers, *data.controls]:
            if name == other:  # a control can be the second student: it is like itself
                continue
            target = data.vectors(name, data.matching_layer(name, layer), clip_rows)
            for measure in MEASURES:
                row = _row(measure, name, domain, other, layer)
                rows.append(_with_similarities(row, data, pair, target, measure))
    return rows


def _with_similarities(
    row: ComparisonRow,
    data: DiagnosisData,
    pair: tuple[ClipVectors, ClipVectors],
    target: ClipVectors,
    measure: Measure,
) -> ComparisonRow:
    """Adds the similarity of both students to one encoder, and their paired difference."""
    config = data.config
    clusters = data.clusters(data.rows(row.domain))
    try:
        a, b = (
            layer_similarity(
                [x],
                [target],
                clusters,
                measure=measure,
                k=config.k,
                n_permutations=0,
                seed=config.seed,
                max_clips=config.max_clips,
            )
            for x in pair
        )
    except (ShapeError, DegenerateError) as error:
        return replace(row, reason=str(error))
    value, other_value = float(a.values[0, 0]), float(b.values[0, 0])
    row = replace(
        row,
        value=value,
        other_value=other_value,
        difference=value - other_value,
        n_clips=a.n_clips,
        n_clusters=a.n_clusters,
        reason=a.reason,
    )
    if a.jackknife_values is None or b.jackknife_values is None:
        return row
    left_out = (a.jackknife_values - b.jackknife_values)[:, 0, 0]
    test = jackknife_test(row.difference, left_out, difference_of_pairs(a, b))
    return replace(row, ci_low=test.ci_low, ci_high=test.ci_high, p_value=test.p_value)


@dataclass(frozen=True, kw_only=True, slots=True)
class JackknifeTest:
    """Limits and two-sided p of a difference."""

    ci_low: float
    ci_high: float
    p_value: float


def jackknife_test(difference: float, left_out: Matrix, of_pairs: float = 0.0) -> JackknifeTest:
    """Limits and two-sided p of a difference from its leave-one-group-out values.

    Args:
        difference: Of all clips.
        left_out: The same without each group in turn `[group]`.
        of_pairs: The variance that pairs of groups add (``resampling.pair_variance``).

    >>> jackknife_test(0.0, np.array([-0.1, 0.0, 0.1])).p_value
    1.0
    """
    low, high = jackknife_limits(np.asarray(difference), left_out, largest=1.0, of_pairs=of_pairs)
    n, error = len(left_out), float(jackknife_error(left_out, of_pairs))
    if error == 0.0:
        p_value = 1.0 if difference == 0.0 else math.nan
    else:
        p_value = float(2 * stdtr(n - 1, -abs(difference) / error))
    return JackknifeTest(ci_low=float(low), ci_high=float(high), p_value=p_value)


def _task(data: DiagnosisData, other: str, task: Task) -> Contribution:
    """One task read from both on the same folds, and how far both make the same mistakes."""
    domain = task.domain or ANY_DOMAIN
    kappa = _row(KAPPA, task.name, domain, other)
    try:
        predictions = predict_task(data, task, [data.student, other])
    except (ShapeError, DegenerateError) as error:
        nothing = (_row(TASK, task.name, domain, other), kappa)
        return Contribution(rows=[replace(row, reason=str(error)) for row in nothing])
    pair = predictions[data.student], predictions[other]
    first, second = pair
    return Contribution(
        rows=[
            _task_row(TASK, task.name, [pair], other),
            _with_kappa(kappa, first, second, data.config.seed),
        ],
        pair=pair,
        clips=[
            most_influential(
                cell_name(quantity=TASK, name=task.name),
                task.clip_ids,
                first.right.mean(axis=0) - second.right.mean(axis=0),
                "error",
            ),
            most_influential(
                cell_name(quantity=KAPPA, name=task.name),
                task.clip_ids,
                both_wrong(first, second),
                "error",
            ),
        ],
        warnings=[] if are_stored(predictions) else [NOT_STORED],
    )


def _means(pairs: Sequence[Pair], other: str) -> list[ComparisonRow]:
    """Of each domain that has tasks: the mean over them, clusters drawn once for all.

    Tasks with too few clusters to resample would leave the mean without an interval: it is
    that of the others, where there are some, and says so.
    """
    by_domain: dict[str, list[Pair]] = {}
    for pair in pairs:
        by_domain.setdefault(pair[0].task.domain or ANY_DOMAIN, []).append(pair)
    rows = []
    for of_domain in by_domain.values():
        name, judged, words = judged_tasks([first.task for first, _ in of_domain])
        names = {task.name for task in judged}
        taken = [pair for pair in of_domain if pair[0].task.name in names]
        row = _task_row(MEAN_OF_TASKS, name, taken, other)
        rows.append(replace(row, reason=join_reasons(row.reason, words)))
    return rows


def _task_row(quantity: str, name: str, pairs: Sequence[Pair], other: str) -> ComparisonRow:
    """One task of a domain, or the mean of several with the same weight for each."""
    value, other_value = (
        mean_difference([(pair[side].task, pair[side].labels, None) for pair in pairs]).value
        for side in (0, 1)
    )
    paired = mean_difference([(a.task, a.labels, b.labels) for a, b in pairs])
    return replace(
        _row(quantity, name, pairs[0][0].task.domain or ANY_DOMAIN, other),
        value=value,
        other_value=other_value,
        difference=value - other_value,
        ci_low=paired.ci_low,
        ci_high=paired.ci_high,
        n_clips=len({clip_id for a, _ in pairs for clip_id in a.task.clip_ids}),
        n_clusters=paired.n_clusters,
        reason=paired.reason,
        protocol=" and ".join(sorted({a.protocol for a, _ in pairs})),
        p_value=_normal_p(paired.value, paired.ci_low, paired.ci_high),
    )


def _with_kappa(
    row: ComparisonRow, first: Predictions, second: Predictions, seed: int
) -> ComparisonRow:
    """Adds the error consistency of the two: one value of both, no difference."""
    consistency = error_consistency(first.right, second.right, first.task.units, seed=seed)
    return replace(
        row,
        value=consistency.kappa,
        ci_low=consistency.ci_low,
        ci_high=consistency.ci_high,
        n_clips=consistency.n_clips,
        n_clusters=consistency.n_clusters,
        reason=consistency.reason,
        protocol=first.protocol,
    )


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
    quantity: str, name: str, domain: str, other: str, layer: int | None = None
) -> ComparisonRow:
    return ComparisonRow(
        kind=KINDS.get(quantity, "similarity"),
        quantity=quantity,
        name=name,
        domain=domain,
        layer=layer,
        other=other,
    )


def changed_by_stage_2(rows: Sequence[ComparisonRow]) -> dict[str, StageChange] | None:
    """The mean of each domain's tasks in the second stage minus that in the first.

    Args:
        rows: Of the panel.

    Returns:
        By domain; none where the two students are not stages of one.
    """
    means = [
        row
        for row in rows
        if row.quantity == MEAN_OF_TASKS and row.relation in ("second stage", "first stage")
    ]
    return {row.domain: _stage_change(row) for row in means} or None


def _stage_change(row: ComparisonRow) -> StageChange:
    value, low, high = row.difference, row.ci_low, row.ci_high
    if row.relation == "first stage":
        value, low, high = -value, -high, -low
    estimate = Estimate(value=value, ci_low=low, ci_high=high, n_clips=row.n_clips)
    return StageChange(estimate=estimate, q_value=row.q_value)
