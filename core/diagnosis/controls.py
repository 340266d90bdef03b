"""Which controls could stand in the teacher's place, and which in the student's.

A control is exchangeable with a teacher if it has the same home domain and did not teach;
with the student if it is a student that this teacher did not teach, and nothing on record says
that it is of another architecture, size or training (``comparable_students``). How alike they are otherwise
stands in the match table: similarity grows with accuracy and with dims, whoever taught whom.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from usad_workbench.core.arrays import Indices
from usad_workbench.core.diagnosis.comparable_students import differences, student_record
from usad_workbench.core.diagnosis.data import DiagnosisData
from usad_workbench.core.encoders.students import trained_student_spec
from usad_workbench.core.errors import CheckpointError
from usad_workbench.core.evaluation.testability import untestable
from usad_workbench.core.probes import evaluate_probe
from usad_workbench.core.similarity.excess import ControlSlot
from usad_workbench.core.storage.clip_vectors import ClipVectors

USERS_WORD = "--controls, the user's word"
SLOTS: tuple[ControlSlot, ...] = ("student", "teacher")
"""The slots that controls may take, in the order of the rows."""
MATCHED_ACCURACY = 0.05
"""Encoders whose accuracies differ by more do not match."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Match:
    """One encoder beside the mean of the controls that take its place, in one domain.

    NaN: unknown.
    """

    accuracy: float
    """Cosine k-NN on the domain's tasks at the matching layer, mean over tasks."""
    control_accuracy: float
    dim: float
    control_dim: float
    n_params: float
    control_n_params: float

    @property
    def is_matched(self) -> bool | None:
        """Whether accuracies lie within 0.05; none where one is unknown."""
        gap = abs(self.accuracy - self.control_accuracy)
        return None if math.isnan(gap) else gap <= MATCHED_ACCURACY


def controls_for(data: DiagnosisData, teacher: str, slot: ControlSlot) -> list[str]:
    """The controls that could stand in the teacher's or in the student's place.

    Args:
        data: Of one student.
        teacher: One of its teachers.
        slot: Whose place.
    """
    taught = _taught_by(data)
    if slot == "student":
        others = no_peers(data)
        return [
            n
            for n, teachers in taught.items()
            if teachers is not None and teacher not in teachers and n not in others
        ]
    home = data.roles[teacher].domain
    return [
        n
        for n, teachers in taught.items()
        if teachers is None and _home(data, n) == home and n not in data.once_taught
    ]


def no_peers(data: DiagnosisData) -> dict[str, str]:
    """Controls that are known to be no peers of the student, and in what."""
    of_student = student_record(data.student)
    if of_student is None:
        return {}
    apart_in = {}
    for name in data.controls:
        record = student_record(name)
        apart = differences(of_student, record) if record else []
        if apart:
            apart_in[name] = ", ".join(apart)
    return apart_in


def describe_no_peers(data: DiagnosisData) -> str:
    """The controls that are known to be no peers, each with its differences; empty for none."""
    others = no_peers(data)
    if not others:
        return ""
    return "; no peers of the student: " + "; ".join(f"{n} ({why})" for n, why in others.items())


def rests_on(data: DiagnosisData, names: Sequence[str], slot: ControlSlot) -> str:
    """What it rests on that these controls are peers of the one whose place they take.

    Args:
        data: Of one student.
        names: Controls of one row; empty where it has none.
        slot: Whose place.
    """
    if not names:
        return ""
    chosen = USERS_WORD if data.are_controls_named else "their roles here"
    if slot == "teacher":
        return f"controls for the teacher: the same home domain, and {chosen}"
    unknown = [n for n in names if not (student_record(data.student) and student_record(n))]
    if not unknown:
        return "controls for the student: architecture and training on record, alike"
    return (
        f"controls for the student: {chosen}, as architecture and training of "
        f"{_some(unknown)} beside {data.student} are not on record"
    )


def _some(names: Sequence[str], n: int = 4) -> str:
    more = len(names) - n
    return ", ".join(names[:n]) + (f" and {more} more" if more > 0 else "")


def _home(data: DiagnosisData, name: str) -> str | None:
    return data.roles[name].domain


def _taught_by(data: DiagnosisData) -> dict[str, set[str] | None]:
    """Control to the teachers of a control that is a student; none for any other encoder.

    A student that is named as a control and whose teachers nobody recorded had none of ours.
    """
    recorded = data.workspace.read("SELECT student, teacher FROM distillation")
    kept = data.workspace.encoders()
    roles = dict(zip(kept.encoder, kept.role, strict=True))
    taught: dict[str, set[str] | None] = {}
    for name in data.controls:
        teachers = recorded[recorded.student == name].teacher
        if len(teachers):
            taught[name] = {str(name_of_teacher) for name_of_teacher in teachers}
            continue
        try:
            spec = trained_student_spec(name)
        except CheckpointError:  # its folder is gone; its vectors are still here
            spec = None
        if spec is not None:
            taught[name] = {teaching.teacher for teaching in spec.taught_by}
        else:
            taught[name] = set() if roles.get(name) == "student" else None
    return taught


class MatchTable:
    """Matches of one diagnosis; each accuracy is measured once."""

    def __init__(self, data: DiagnosisData) -> None:
        """Takes what the panels are computed from."""
        self._data = data
        self._tasks = data.tasks()
        self._accuracies: dict[tuple[str, int, str], float] = {}
        kept = data.workspace.encoders()
        self._n_params = {str(r.encoder): float(r.n_params) for r in kept.itertuples()}

    def match(self, encoder: str, controls: Sequence[str], layer: int, domain: str) -> Match:
        """One encoder beside its controls.

        Args:
            encoder: Teacher or student.
            controls: Who takes its place; at least one.
            layer: Of the student; the others are taken at the matching one.
            domain: Whose tasks.
        """
        names = (encoder, *controls)
        sizes = [self._n_params.get(name, math.nan) for name in names]
        first = self._data.rows(domain)[:1]
        dims = [float(self._vectors(name, layer, first).shape[1]) for name in names]
        accuracies = [self._accuracy(name, layer, domain) for name in names]
        n = len(controls)
        return Match(
            accuracy=accuracies[0],
            control_accuracy=sum(accuracies[1:]) / n,
            dim=dims[0],
            control_dim=sum(dims[1:]) / n,
            n_params=sizes[0],
            control_n_params=sum(sizes[1:]) / n,
        )

    def _vectors(self, name: str, layer: int, rows: Indices) -> ClipVectors:
        data = self._data
        return data.vectors(name, data.matching_layer(name, layer), rows)

    def _accuracy(self, name: str, layer: int, domain: str) -> float:
        key = (name, layer, domain)
        if key not in self._accuracies:
            self._accuracies[key] = self._measured(name, layer, domain)
        return self._accuracies[key]

    def _measured(self, name: str, layer: int, domain: str) -> float:
        data, values = self._data, []
        inside = set(data.clips.clip_id[data.rows(domain)])
        for whole in self._tasks:
            rows = np.flatnonzero([clip_id in inside for clip_id in whole.clip_ids])
            task = whole.take(rows)
            if untestable(task):
                continue
            x = self._vectors(name, layer, data.rows_of_clips(task.clip_ids))
            score = evaluate_probe(
                x, task.labels, task.groups, task.units, metric=task.metric, seeds=(0,)
            )
            values.append(score.value)
        return sum(values) / len(values) if values else math.nan
