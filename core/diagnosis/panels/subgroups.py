"""Subgroups: who is served worst, and is the gap that of a teacher?"""

import math
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from usad_workbench.core.arrays import Indices
from usad_workbench.core.bias.subgroups import equalised_odds_gap, group_gap, inherited_gap
from usad_workbench.core.diagnosis.controls import controls_for
from usad_workbench.core.diagnosis.data import DiagnosisData
from usad_workbench.core.diagnosis.panel import (
    InfluentialClips,
    Panel,
    PanelKind,
    PanelRow,
    Shares,
    cell_name,
    most_influential,
    q_values,
)
from usad_workbench.core.diagnosis.predictions import (
    NOT_STORED,
    TaskPredictions,
    are_stored,
    task_predictions,
)
from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.evaluation.tasks import Task
from usad_workbench.core.progress import Progress
from usad_workbench.core.storage.schema import CLIP_COLUMNS

NAME = "subgroups"
GROUP_COLUMNS = (
    "speaker",
    "sex",
    "gender",
    "language",
    "accent",
    "age",
    "device",
    "instrument",
    "instrument_family",
    "dataset",
)
"""Metadata that people look at first, in this order; then the other columns that fit."""
MAX_COLUMNS = 4
"""Group columns per task: each costs a permutation null for every encoder."""
LEVELS = (2, 20)
MIN_GROUP_CLIPS = 10
"""Smaller groups are left out: one clip more is a tenth of their accuracy."""
N_PERMUTATIONS, N_RESAMPLES = 500, 500
_NOT_GROUPS = {*CLIP_COLUMNS} - {"dataset"}


@dataclass(frozen=True, kw_only=True, slots=True)
class SubgroupRow(PanelRow):
    """The gap between the groups of one metadata column, for one encoder on one task."""

    task: str
    domain: str | None
    encoder: str
    group_column: str
    protocol: str | None
    worst_group: str | None = None
    worst_value: float = math.nan
    """Accuracy of the group that is served worst."""
    worst_ci_low: float = math.nan
    worst_ci_high: float = math.nan
    gap: float = math.nan
    ci_low: float = math.nan
    ci_high: float = math.nan
    null_gap: float = math.nan
    """Mean gap of groups that are dealt at random."""
    debiased_gap: float = math.nan
    p_value: float = math.nan
    q_value: float = math.nan
    dealt_over: str | None = None
    equalised_odds_gap: float = math.nan
    accuracies: Shares = field(default_factory=dict)
    """By group."""
    inherited_gap: float = math.nan
    """How much more the student's profile is this teacher's than that of its controls."""
    inherited_ci_low: float = math.nan
    inherited_ci_high: float = math.nan
    controls: tuple[str, ...] = ()
    n_groups: int | None = None
    n_clips: int | None = None
    n_clusters: int | None = None
    reason: str = ""


def compute(data: DiagnosisData, progress: Progress) -> Panel:
    """Every encoder on every task, by the metadata columns of the task's clips."""
    tasks = data.tasks()
    rows: list[SubgroupRow] = []
    clips: list[InfluentialClips] = []
    warnings: dict[str, None] = {}
    for done, task in enumerate(tasks, start=1):
        try:
            predictions = task_predictions(data, task)
        except (ShapeError, DegenerateError) as error:
            warnings[f"task {task.name}: {error}"] = None
            continue
        if not are_stored(predictions):
            warnings[NOT_STORED] = None
        for column, (groups, kept) in group_columns(data, task).items():
            for name in (encoder for encoder in data.encoders if encoder in predictions):
                row = _row(data, task, name, column, groups, kept, predictions)
                rows.append(row)
                clips.append(_wrong_of_worst(task, row, groups, kept, predictions))
        progress(done, len(tasks), NAME)
    q = q_values(row.p_value for row in rows)
    rows = [replace(row, q_value=value) for row, value in zip(rows, q, strict=True)]
    return Panel(
        name=NAME, row_type=SubgroupRow, rows=rows, influential=clips, warnings=list(warnings)
    )


def group_columns(data: DiagnosisData, task: Task) -> dict[str, tuple[np.ndarray, Indices]]:
    """Columns with 2 to 20 groups of enough clips: each clip's group, and the rows that count.

    The label itself is no group, nor is a column that says the same in other words.
    """
    clips = data.clips.iloc[data.rows_of_clips(task.clip_ids)]
    others = [name for name in clips if name not in (*GROUP_COLUMNS, *_NOT_GROUPS)]
    found: dict[str, tuple[np.ndarray, Indices]] = {}
    partitions = {_partition(task.labels)}
    for column in (*(name for name in GROUP_COLUMNS if name in clips), *others):
        values = clips[column]
        if values.dtype.kind == "f" or len(found) == MAX_COLUMNS:
            continue
        counts = values.value_counts()
        large = counts.index[counts >= MIN_GROUP_CLIPS]
        kept = np.flatnonzero(values.isin(large).to_numpy())
        groups = values.astype(str).to_numpy(dtype=object)
        if not LEVELS[0] <= len(large) <= LEVELS[1] or _partition(groups) in partitions:
            continue
        if _determines(groups[kept], task.labels[kept]):
            continue
        partitions.add(_partition(groups))
        found[str(column)] = (groups, kept)
    return found


def _partition(values: np.ndarray) -> tuple[int, ...]:
    """Which clips are together, whatever the groups are called."""
    return tuple(pd.factorize(values)[0].tolist())


def _determines(groups: np.ndarray, labels: np.ndarray) -> bool:
    """Whether the label is known from the group, or the group from the label."""
    pairs = len(set(zip(groups.tolist(), labels.tolist(), strict=True)))
    return pairs in (len(set(groups)), len(set(labels)))


def _row(
    data: DiagnosisData,
    task: Task,
    name: str,
    column: str,
    groups: np.ndarray,
    kept: Indices,
    predictions: TaskPredictions,
) -> SubgroupRow:
    row = SubgroupRow(
        task=task.name,
        domain=task.domain,
        encoder=name,
        group_column=column,
        protocol=predictions[name].protocol,
    )
    group, units = groups[kept], task.units[kept]
    try:
        gap = group_gap(
            predictions[name].right[:, kept],
            group,
            units,
            n_permutations=N_PERMUTATIONS,
            n_resamples=N_RESAMPLES,
            seed=data.config.seed,
        )
        odds = equalised_odds_gap(task.labels[kept], predictions[name].labels[:, kept], group)
    except (ShapeError, DegenerateError) as error:
        return replace(row, reason=str(error), n_clips=len(kept))
    row = replace(
        row,
        worst_group=gap.worst_group,
        worst_value=gap.worst_value,
        worst_ci_low=gap.worst_ci_low,
        worst_ci_high=gap.worst_ci_high,
        gap=gap.gap,
        ci_low=gap.ci_low,
        ci_high=gap.ci_high,
        null_gap=gap.null_gap,
        debiased_gap=gap.debiased_gap,
        p_value=gap.p_value,
        dealt_over=gap.dealt_over,
        equalised_odds_gap=odds,
        accuracies=gap.accuracies,
        n_groups=len(gap.accuracies),
        n_clips=gap.n_clips,
        n_clusters=gap.n_clusters,
        reason=gap.reason,
    )
    if name in data.teachers:
        row = _with_inherited_gap(row, data, group, units, kept, predictions)
    return row


def _with_inherited_gap(
    row: SubgroupRow,
    data: DiagnosisData,
    group: np.ndarray,
    units: np.ndarray,
    kept: Indices,
    predictions: TaskPredictions,
) -> SubgroupRow:
    """Adds how much more the student's profile is this teacher's than that of its controls."""
    teacher = row.encoder
    controls = [n for n in controls_for(data, teacher, "teacher") if n in predictions]
    try:
        gap = inherited_gap(
            predictions[data.student].right[:, kept],
            predictions[teacher].right[:, kept],
            [predictions[name].right[:, kept] for name in controls],
            group,
            units,
            n_resamples=N_RESAMPLES,
            seed=data.config.seed,
        )
    except (ShapeError, DegenerateError):
        return row
    return replace(
        row,
        inherited_gap=gap.value,
        inherited_ci_low=gap.ci_low,
        inherited_ci_high=gap.ci_high,
        controls=tuple(controls),
    )


def _wrong_of_worst(
    task: Task, row: SubgroupRow, groups: np.ndarray, kept: Indices, predictions: TaskPredictions
) -> InfluentialClips:
    """The wrong clips of the worst group, by the share of splits that get them wrong."""
    wrong = 1 - predictions[row.encoder].right.mean(axis=0)
    counts = np.isin(np.arange(len(groups)), kept) & (groups == row.worst_group) & (wrong > 0)
    cell = cell_name(task=task.name, encoder=row.encoder, group_column=row.group_column)
    return most_influential(cell, task.clip_ids, np.where(counts, wrong, np.nan), "error")


PANEL = PanelKind(
    name=NAME,
    question="Which speakers, languages or instruments are served worst, and by whom?",
    row_type=SubgroupRow,
    compute=compute,
)
