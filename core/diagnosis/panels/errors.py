"""Errors: does the student make its teachers' mistakes, beyond what controls share?"""

import math
from typing import Any

import numpy as np

from usad_workbench.core.bias.error_consistency import (
    error_consistency,
    excess_consistency,
    shared_confusions,
)
from usad_workbench.core.diagnosis.controls import controls_for, no_peer_words
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
    both_wrong,
    task_predictions,
)
from usad_workbench.core.diagnosis.verdicts import answer_of
from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.evaluation.tasks import Task
from usad_workbench.core.progress import Progress
from usad_workbench.core.similarity import benjamini_hochberg, family_p_values
from usad_workbench.core.similarity.excess import ControlSlot

NAME = "errors"
SLOTS: tuple[ControlSlot, ...] = ("student", "teacher")
COLUMNS = {
    "task": "VARCHAR",
    "domain": "VARCHAR",
    "teacher": "VARCHAR",
    "protocol": "VARCHAR",
    "kappa": "DOUBLE",
    "ci_low": "DOUBLE",
    "ci_high": "DOUBLE",
    "kappa_unbiased": "DOUBLE",
    "kappa_max": "DOUBLE",
    "copy_probability": "DOUBLE",
    "copy_ci_low": "DOUBLE",
    "copy_ci_high": "DOUBLE",
    "form": "VARCHAR",
    "excess": "DOUBLE",
    "excess_ci_low": "DOUBLE",
    "excess_ci_high": "DOUBLE",
    "clips_ci_low": "DOUBLE",
    "clips_ci_high": "DOUBLE",
    "p_value": "DOUBLE",
    "p_kind": "VARCHAR",
    "q_value": "DOUBLE",
    "pair_p_value": "DOUBLE",
    "copied": "VARCHAR",
    "controls": "VARCHAR[]",
    "control_kappa": "DOUBLE",
    "shared_confusions": "DOUBLE",
    "shared_ci_low": "DOUBLE",
    "shared_ci_high": "DOUBLE",
    "agreement": "DOUBLE",
    "accuracy": "DOUBLE",
    "teacher_accuracy": "DOUBLE",
    "n_errors": "DOUBLE",
    "n_both_wrong": "DOUBLE",
    "n_test": "INTEGER",
    "n_clips": "INTEGER",
    "n_clusters": "INTEGER",
    "reason": "VARCHAR",
}
N_RESAMPLES = 1000
Row = dict[str, Any]


def compute(data: DiagnosisData, progress: Progress) -> Panel:
    """Every teacher on every task, once for each place that has controls."""
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
        for teacher in data.teachers:
            rows += _rows(data, task, teacher, found)
            drivers.append(_drivers(data, task, teacher, found))
        progress(done, len(tasks), NAME)
    _answer(rows, data.config.rules.alpha)
    return Panel(name=NAME, columns=COLUMNS, rows=rows, drivers=drivers, warnings=list(warnings))


def _answer(rows: list[Row], alpha: float) -> None:
    """q over the panel, one p for each teacher and domain, then an answer, as for inheritance.

    With q alone errors seemed copied from another teacher too in 6 of 50 planted worlds.
    """
    p = np.array([row["p_value"] for row in rows], dtype=np.float64)
    pair_p = family_p_values(p, [(row["teacher"], row["domain"]) for row in rows])
    q = benjamini_hochberg(p)
    for row, q_value, pair_p_value in zip(rows, q.tolist(), pair_p.tolist(), strict=True):
        row |= {"q_value": q_value, "pair_p_value": pair_p_value}
        if math.isfinite(q_value):
            is_shown = max(q_value, pair_p_value) <= alpha and row["excess"] > 0
            row["copied"] = answer_of(is_shown, row["excess_ci_low"], row["excess_ci_high"])


def _rows(data: DiagnosisData, task: Task, teacher: str, found: TaskPredictions) -> list[Row]:
    base = _consistency(data, task, teacher, found)
    rows = []
    for slot in SLOTS:
        controls = [name for name in controls_for(data, teacher, slot) if name in found]
        if not controls:
            continue
        row = base | {"form": f"controls for the {slot}", "controls": controls}
        rows.append(row)
        if math.isnan(row["kappa"]):
            continue
        try:
            one = excess_consistency(
                found[data.student].right,
                found[teacher].right,
                [found[name].right for name in controls],
                task.units,
                slot=slot,
            )
        except (ShapeError, DegenerateError) as error:
            row["reason"] = "; ".join(filter(None, (row["reason"], str(error))))
            continue
        row |= {
            "excess": one.value,
            "excess_ci_low": one.ci_low,
            "excess_ci_high": one.ci_high,
            "clips_ci_low": one.clips_low,
            "clips_ci_high": one.clips_high,
            "p_value": one.p_value,
            "p_kind": one.p_kind,
            "control_kappa": float(one.control_values.mean()),
            "reason": "; ".join(dict.fromkeys(filter(None, (row["reason"], one.reason)))),
        }
    if not rows:
        why = (
            f"no excess: no exchangeable control for {teacher} or the student{no_peer_words(data)}"
        )
        reason = "; ".join(filter(None, (base["reason"], why)))
        rows.append(base | {"form": "none", "reason": reason})
    return rows


def _consistency(data: DiagnosisData, task: Task, teacher: str, found: TaskPredictions) -> Row:
    """Kappa, copy probability and shared confusions of student and teacher."""
    student = found[data.student]
    row: Row = {name: math.nan if kind == "DOUBLE" else None for name, kind in COLUMNS.items()}
    row |= {
        "task": task.name,
        "domain": task.domain,
        "teacher": teacher,
        "protocol": student.protocol,
        "p_kind": "none",
        "copied": "not testable",
        "controls": [],
        "n_test": len(task.clip_ids),
        "reason": "",
    }
    settings = {"n_resamples": N_RESAMPLES, "seed": data.config.seed}
    one = error_consistency(student.right, found[teacher].right, task.units, **settings)
    row |= {key: getattr(one, key) for key in CONSISTENCY_KEYS}
    shared = shared_confusions(
        student.labels, found[teacher].labels, task.labels, task.units, **settings
    )
    row |= {
        "shared_confusions": shared.kappa,
        "shared_ci_low": shared.ci_low,
        "shared_ci_high": shared.ci_high,
        "n_both_wrong": shared.n_clips,
    }
    if math.isnan(shared.kappa) and shared.reason:
        why = f"no shared confusions: {shared.reason}"
        row["reason"] = "; ".join(filter(None, (row["reason"], why)))
    return row


CONSISTENCY_KEYS = (
    "kappa",
    "ci_low",
    "ci_high",
    "kappa_unbiased",
    "kappa_max",
    "copy_probability",
    "copy_ci_low",
    "copy_ci_high",
    "agreement",
    "accuracy",
    "teacher_accuracy",
    "n_errors",
    "n_clips",
    "n_clusters",
    "reason",
)


def _drivers(
    data: DiagnosisData, task: Task, teacher: str, found: TaskPredictions
) -> InfluentialClips:
    """Clips that both get wrong: 1 in the same way, 0.5 in another, mean over seeds."""
    shared = both_wrong(found[data.student], found[teacher])
    return most_influential(
        cell_name(task=task.name, teacher=teacher), task.clip_ids, shared, "error"
    )


PANEL = PanelKind(
    name=NAME,
    question="Does the student make its teachers' mistakes, more than controls do?",
    columns=COLUMNS,
    compute=compute,
)
