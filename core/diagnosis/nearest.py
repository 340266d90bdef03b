"""From similarities to a statement: which teacher a student is nearest to."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from usad_workbench.core.diagnosis.sentences import describe_nearest
from usad_workbench.core.similarity import (
    EncoderRole,
    LayerMatrix,
    NearestTeacher,
    nearest_teachers,
)
from usad_workbench.core.storage.rows import read_rows, write_rows
from usad_workbench.core.storage.workspace import Workspace

MatrixKey = tuple[str, str, str, str]
"""student, encoder, domain, measure"""
TABLE = "nearest_teachers"
SIMILARITIES = "teacher_similarity"


@dataclass(frozen=True, kw_only=True, slots=True)
class TeacherSimilarityRow:
    """A row of ``teacher_similarity``: a student layer beside a layer of another encoder."""

    student: str
    student_layer: int
    teacher: str
    """The other encoder, whatever it is to the student."""
    teacher_layer: int
    domain: str
    measure: str
    value: float
    ci_low: float
    ci_high: float
    null_kind: str | None
    null_q95: float
    """The similarity that 95% of the permutations stay below."""
    p_value: float
    q_value: float = math.nan
    n_clips: int
    n_clusters: int
    reason: str
    fingerprint: str
    """Of what the value was computed from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NearestTeacherRow:
    """A row of ``nearest_teachers``: who is nearest to a student in a domain by a measure.

    No teacher, and NaN, where none stands out; the control is the nearest one beside it.
    """

    student: str
    domain: str
    measure: str
    teacher: str | None
    student_layer: int | None
    teacher_layer: int | None
    value: float
    ci_low: float
    ci_high: float
    control: str | None
    control_value: float
    difference: float
    """Teacher minus control."""
    difference_ci_low: float
    difference_ci_high: float
    n_clips: int | None
    n_clusters: int | None
    statement: str
    """The same in a sentence, with its interval."""


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


def store_nearest_teachers(
    workspace: Workspace,
    student: str,
    domains: Sequence[str],
    matrices: Mapping[MatrixKey, LayerMatrix],
    roles: Mapping[str, EncoderRole],
    alpha: float,
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
    nearest_of_domains = nearest_teachers(table[table.domain.isin(domains)], roles, matrices, alpha)
    rows = [_nearest_row(nearest) for nearest in nearest_of_domains]
    with workspace.database.write() as connection:
        write_rows(connection, TABLE, NearestTeacherRow, rows, key={"student": student})
    return nearest_of_domains


def _nearest_row(nearest: NearestTeacher) -> NearestTeacherRow:
    teacher, control, difference = nearest.teacher, nearest.control, nearest.difference
    return NearestTeacherRow(
        student=nearest.student,
        domain=nearest.domain,
        measure=nearest.measure,
        teacher=teacher.encoder if teacher else None,
        student_layer=teacher.student_layer if teacher else None,
        teacher_layer=teacher.teacher_layer if teacher else None,
        value=teacher.value if teacher else math.nan,
        ci_low=teacher.ci_low if teacher else math.nan,
        ci_high=teacher.ci_high if teacher else math.nan,
        control=control.encoder if control else None,
        control_value=control.value if control else math.nan,
        difference=difference.value if difference else math.nan,
        difference_ci_low=difference.ci_low if difference else math.nan,
        difference_ci_high=difference.ci_high if difference else math.nan,
        n_clips=teacher.n_clips if teacher else None,
        n_clusters=teacher.n_clusters if teacher else None,
        statement=describe_nearest(nearest),
    )


def stored_nearest_teachers(workspace: Workspace, student: str) -> list[NearestTeacherRow]:
    """The nearest teachers of a student as they are stored, by measure and domain."""
    return read_rows(
        workspace,
        NearestTeacherRow,
        TABLE,
        key={"student": student},
        order_by=("measure", "domain"),
    )
