"""From similarities to a statement: corrected p-values, roles, the nearest teacher."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from usad_workbench.core.similarity import (
    EncoderRole,
    LayerMatrix,
    NearestTeacher,
    benjamini_hochberg,
    nearest_teachers,
)
from usad_workbench.core.storage.workspace import Workspace

MatrixKey = tuple[str, str, str, str]
"""student, encoder, domain, measure"""


def finish_panel(
    workspace: Workspace,
    student: str,
    matrices: Mapping[MatrixKey, LayerMatrix],
    roles: Mapping[str, EncoderRole],
) -> list[NearestTeacher]:
    """Corrects p-values over the panel and states which teacher is nearest, per domain."""
    table = workspace.sql("SELECT * FROM teacher_similarity WHERE student = ?", [student])
    with workspace.database.write() as connection:
        for measure, rows in table.groupby("measure"):
            known = rows[rows.p_value.notna()]
            corrected = pa.table(
                {
                    "p": known.p_value.to_numpy(),
                    "q": benjamini_hochberg(known.p_value.to_numpy()),
                }
            )
            connection.register("corrected", corrected)
            connection.execute(
                "UPDATE teacher_similarity SET q_value = c.q FROM "
                "(SELECT DISTINCT p, q FROM corrected) c "
                "WHERE student = ? AND measure = ? AND p_value = c.p",
                [student, measure],
            )
        found = nearest_teachers(table, roles, matrices)
        connection.execute("DELETE FROM nearest_teachers WHERE student = ?", [student])
        for nearest in found:
            connection.execute(
                f"INSERT INTO nearest_teachers VALUES ({', '.join('?' * 17)})",
                _nearest_row(nearest),
            )
    return found


def encoder_roles(
    workspace: Workspace, student: str, teachers: Sequence[str] | None = None
) -> dict[str, EncoderRole]:
    """What every encoder is to this student: its teachers are those that taught it.

    ``encoders.role`` is only the default: a teacher of another student is a control here.
    Without rows in ``distillation`` and without ``teachers`` the defaults stand.
    """
    taught = set(
        workspace.sql("SELECT teacher FROM distillation WHERE student = ?", [student]).teacher
        if teachers is None
        else teachers
    )
    roles = {}
    for row in workspace.encoders().itertuples():
        role = str(row.role)
        if row.encoder in taught:
            role = "teacher"
        elif taught and role == "teacher":
            role = "control"
        domain = row.domain if isinstance(row.domain, str) else None
        roles[str(row.encoder)] = EncoderRole(role=role, domain=domain)
    return roles


def _nearest_row(nearest: NearestTeacher) -> list[Any]:
    teacher, control, difference = nearest.teacher, nearest.control, nearest.difference
    return [
        nearest.student, nearest.domain, nearest.measure,
        *(
            [
                teacher.encoder, teacher.student_layer, teacher.teacher_layer, teacher.value,
                _number(teacher.ci_low), _number(teacher.ci_high),
            ]
            if teacher
            else [None] * 6
        ),
        *([control.encoder, control.value] if control else [None, None]),
        *(
            [_number(difference.value), _number(difference.ci_low), _number(difference.ci_high)]
            if difference
            else [None] * 3
        ),
        *([teacher.n_clips, teacher.n_clusters] if teacher else [None, None]),
        nearest.sentence,
    ]  # fmt: skip


def _number(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)
