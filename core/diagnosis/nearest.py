"""From similarities to a statement: corrected p-values, roles, the nearest teacher."""

from collections.abc import Callable, Iterator, Mapping, Sequence
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
from usad_workbench.core.similarity.significance import ALPHA
from usad_workbench.core.storage.workspace import Workspace

MatrixKey = tuple[str, str, str, str]
"""student, encoder, domain, measure"""


class LazyMatrices(Mapping[MatrixKey, LayerMatrix]):
    """Matrices that are computed when somebody asks for one, and then kept."""

    def __init__(
        self, keys: Sequence[MatrixKey], compute: Callable[[MatrixKey], LayerMatrix]
    ) -> None:
        """Takes the keys that there are, and how a matrix is made."""
        self._keys = list(keys)
        self._compute = compute
        self._known: dict[MatrixKey, LayerMatrix] = {}

    def __getitem__(self, key: MatrixKey) -> LayerMatrix:
        """The matrix of one encoder in one domain."""
        if key not in self._known:
            if key not in self._keys:
                raise KeyError(key)
            self._known[key] = self._compute(key)
        return self._known[key]

    def __iter__(self) -> Iterator[MatrixKey]:
        """The keys in their order."""
        return iter(self._keys)

    def __len__(self) -> int:
        """How many there can be."""
        return len(self._keys)

    def keep(self, key: MatrixKey, matrix: LayerMatrix) -> None:
        """Takes over a matrix that is there already."""
        self._known[key] = matrix


def correct_p_values(workspace: Workspace, student: str) -> None:
    """Writes q-values: Benjamini-Hochberg over the panel, measure by measure."""
    table = workspace.read(
        "SELECT DISTINCT measure FROM teacher_similarity WHERE student = ?", [student]
    )
    with workspace.database.write() as connection:
        for measure in table.measure:
            p = connection.execute(
                "SELECT p_value FROM teacher_similarity WHERE student = ? AND measure = ? "
                "AND p_value IS NOT NULL",
                [student, measure],
            ).fetchnumpy()["p_value"]
            corrected = pa.table({"p": np.asarray(p), "q": benjamini_hochberg(np.asarray(p))})
            connection.register("corrected", corrected)
            connection.execute(
                "UPDATE teacher_similarity SET q_value = c.q FROM "
                "(SELECT DISTINCT p, q FROM corrected) c "
                "WHERE student = ? AND measure = ? AND p_value = c.p",
                [student, measure],
            )


def store_nearest_teachers(
    workspace: Workspace,
    student: str,
    domains: Sequence[str],
    matrices: Mapping[MatrixKey, LayerMatrix],
    roles: Mapping[str, EncoderRole],
    alpha: float = ALPHA,
) -> list[NearestTeacher]:
    """States which teacher is nearest in each domain, in place of what was said before.

    Roles are no part of the similarities, so this is said anew even where none was computed.

    Args:
        workspace: Holds ``teacher_similarity``.
        student: Whose nearest teachers.
        domains: Those that were compared.
        matrices: For the interval of the difference to the nearest control.
        roles: Who takes part, as what; other encoders of the table are left out.
        alpha: Level at which a similarity stands out.
    """
    table = workspace.read("SELECT * FROM teacher_similarity WHERE student = ?", [student])
    found = nearest_teachers(table[table.domain.isin(domains)], roles, matrices, alpha)
    with workspace.database.write() as connection:
        connection.execute("DELETE FROM nearest_teachers WHERE student = ?", [student])
        for nearest in found:
            connection.execute(
                f"INSERT INTO nearest_teachers VALUES ({', '.join('?' * 17)})",
                _nearest_row(nearest),
            )
    return found


def _nearest_row(nearest: NearestTeacher) -> list[Any]:
    teacher, control, difference = nearest.teacher, nearest.control, nearest.difference
    return [
        nearest.student,
        nearest.domain,
        nearest.measure,
        *(
            [
                teacher.encoder,
                teacher.student_layer,
                teacher.teacher_layer,
                teacher.value,
                _number(teacher.ci_low),
                _number(teacher.ci_high),
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
    ]


def _number(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)
