"""What was compared: the tables ``teacher_similarity`` and ``clip_teacher_similarity``."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from usad_workbench.core.storage.rows import replace_matching
from usad_workbench.core.storage.workspace import Workspace

Values = npt.NDArray[np.float64]


def replace_similarities(workspace: Workspace, rows: pd.DataFrame) -> None:
    """Writes similarities in the place of those of the same encoders, domains and measures.

    Args:
        workspace: Where to.
        rows: Columns of ``teacher_similarity``; NaN becomes NULL.
    """
    table = pa.Table.from_pandas(rows, preserve_index=False)
    with workspace.database.write() as connection:
        replace_matching(
            connection, "teacher_similarity", table, by=("student", "teacher", "domain", "measure")
        )


def replace_clip_similarities(
    workspace: Workspace, rows: pa.Table, *, student: str, teacher: str, domain: str
) -> None:
    """Writes the similarities of single clips in the place of those of a domain.

    Args:
        workspace: Where to.
        rows: Columns of ``clip_teacher_similarity``.
        student: Whose rows are replaced.
        teacher: With whom it was compared.
        domain: Of the clips whose rows are replaced.
    """
    with workspace.database.write() as connection:
        connection.execute(
            "DELETE FROM clip_teacher_similarity WHERE student = ? AND teacher = ? AND "
            "clip_id IN (SELECT clip_id FROM clips WHERE domain = ?)",
            [student, teacher, domain],
        )
        replace_matching(connection, "clip_teacher_similarity", rows, by=())


def set_q_values(workspace: Workspace, student: str, correct: Callable[[Values], Values]) -> None:
    """Writes the q-values of a student's similarities, measure by measure.

    Args:
        workspace: Holds ``teacher_similarity``.
        student: Whose p-values.
        correct: Makes q-values [test] of the p-values [test] of one measure.
    """
    with workspace.database.write() as connection:
        measures = connection.execute(
            "SELECT DISTINCT measure FROM teacher_similarity WHERE student = ?", [student]
        ).fetchall()
        for (measure,) in measures:
            p = connection.execute(
                "SELECT p_value FROM teacher_similarity WHERE student = ? AND measure = ? "
                "AND p_value IS NOT NULL",
                [student, measure],
            ).fetchnumpy()["p_value"]
            corrected = pa.table({"p": np.asarray(p), "q": correct(np.asarray(p))})
            connection.register("corrected", corrected)
            connection.execute(
                "UPDATE teacher_similarity SET q_value = c.q FROM "
                "(SELECT DISTINCT p, q FROM corrected) c "
                "WHERE student = ? AND measure = ? AND p_value = c.p",
                [student, measure],
            )
            connection.unregister("corrected")
