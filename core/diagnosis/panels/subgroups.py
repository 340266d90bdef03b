"""Subgroups: who is served worst, and is the gap that of a teacher?"""

import math
from collections.abc import Sequence
from typing import Any

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
    cell_name,
    most_influential,
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
from usad_workbench.core.similarity import benjamini_hochberg
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
COLUMNS = {
    "task": "VARCHAR",
    "domain": "VARCHAR",
    "encoder": "VARCHAR",
    "group_column": "VARCHAR",
    "protocol": "VARCHAR",
    "worst_group": "VARCHAR",
    "worst_value": "DOUBLE",
    "worst_ci_low": "DOUBLE",
    "worst_ci_high": "DOUBLE",
    "gap": "DOUBLE",
    "ci_low": "DOUBLE",
    "ci_high": "DOUBLE",
    "null_gap": "DOUBLE",
    "debiased_gap": "DOUBLE",
    "p_value": "DOUBLE",
    "q_value": "DOUBLE",
    "dealt_over": "VARCHAR",
    "equalised_odds_gap": "DOUBLE",
    "accuracies": "MAP(VARCHAR, DOUBLE)",
    "inherited_gap": "DOUBLE",
    "inherited_ci_low": "DOUBLE",
    "inherited_ci_high": "DOUBLE",
    "controls": "VARCHAR[]",
    "n_groups": "INTEGER",
    "n_clips": "INTEGER",
    "n_clusters": "INTEGER",
    "reason": "VARCHAR",
}
_NOT_GROUPS = {*CLIP_COLUMNS} - {"dataset"}
Row = dict[str, Any]


def compute(data: DiagnosisData, progress: Progress) -> Panel:
    """Every encoder on every task, by the metadata columns of the task's clips."""
    tasks = data.tasks()
    rows: list[Row] = []
    drivers: list[InfluentialClips] = []
    warnings: dict[str, None] = {}
    for done, task in enumerate(tasks, start=1):
        try:
            found = task_predictions(data, task)
        except (ShapeError, DegenerateError) as error:
            warnings[f"task {task.name}: {error}"] = None
            continue
        if not are_stored(found):
            warnings[NOT_STORED] = None
        columns = group_columns(data, task)
        for column, (groups, kept) in columns.items():
            for name in (one for one in data.encoders if one in found):
                row = _row(data, task, name, column, groups, kept, found)
                rows.append(row)
                drivers.append(_wrong_of_worst(task, row, groups, kept, found))
        progress(done, len(tasks), NAME)
    q = benjamini_hochberg(np.array([row["p_value"] for row in rows], dtype=np.float64))
    for row, value in zip(rows, q.tolist(), strict=True):
        row["q_value"] = value
    return Panel(name=NAME, columns=COLUMNS, rows=rows, drivers=drivers, warnings=list(warnings))


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
    found: TaskPredictions,
) -> Row:
    row: Row = {key: math.nan if kind == "DOUBLE" else None for key, kind in COLUMNS.items()}
    row |= {
        "task": task.name,
        "domain": task.domain,
        "encoder": name,
        "group_column": column,
        "protocol": found[name].protocol,
        "accuracies": {},
        "controls": [],
        "reason": "",
    }
    group, units = groups[kept], task.units[kept]
    try:
        gap = group_gap(
            found[name].right[:, kept],
            group,
            units,
            n_permutations=N_PERMUTATIONS,
            n_resamples=N_RESAMPLES,
            seed=data.config.seed,
        )
        odds = equalised_odds_gap(task.labels[kept], found[name].labels[:, kept], group)
    except (ShapeError, DegenerateError) as error:
        return row | {"reason": str(error), "n_clips": len(kept)}
    row |= {key: getattr(gap, key) for key in GAP_KEYS}
    row |= {"equalised_odds_gap": odds, "n_groups": len(gap.accuracies)}
    if name in data.teachers:
        row |= _inherited(data, name, group, units, kept, found)
    return row


GAP_KEYS = (
    "worst_group",
    "worst_value",
    "worst_ci_low",
    "worst_ci_high",
    "gap",
    "ci_low",
    "ci_high",
    "null_gap",
    "debiased_gap",
    "p_value",
    "dealt_over",
    "accuracies",
    "n_clips",
    "n_clusters",
    "reason",
)


def _inherited(
    data: DiagnosisData,
    teacher: str,
    group: np.ndarray,
    units: np.ndarray,
    kept: Indices,
    found: TaskPredictions,
) -> Row:
    """How much more the student's profile is this teacher's than that of its controls."""
    controls: Sequence[str] = [n for n in controls_for(data, teacher, "teacher") if n in found]
    try:
        one = inherited_gap(
            found[data.student].right[:, kept],
            found[teacher].right[:, kept],
            [found[name].right[:, kept] for name in controls],
            group,
            units,
            n_resamples=N_RESAMPLES,
            seed=data.config.seed,
        )
    except (ShapeError, DegenerateError):
        return {}
    return {
        "inherited_gap": one.value,
        "inherited_ci_low": one.ci_low,
        "inherited_ci_high": one.ci_high,
        "controls": list(controls),
    }


def _wrong_of_worst(
    task: Task, row: Row, groups: np.ndarray, kept: Indices, found: TaskPredictions
) -> InfluentialClips:
    """The wrong clips of the worst group, by the share of splits that get them wrong."""
    wrong = 1 - found[row["encoder"]].right.mean(axis=0)
    counts = np.isin(np.arange(len(groups)), kept) & (groups == row["worst_group"]) & (wrong > 0)
    cell = cell_name(task=task.name, encoder=row["encoder"], group_column=row["group_column"])
    return most_influential(cell, task.clip_ids, np.where(counts, wrong, np.nan), "error")


PANEL = PanelKind(
    name=NAME,
    question="Which speakers, languages or instruments are served worst, and by whom?",
    columns=COLUMNS,
    compute=compute,
)
