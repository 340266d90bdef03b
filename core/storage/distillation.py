"""Who taught whom: the table ``distillation``, as checkpoints and people say it."""

from collections.abc import Sequence

import duckdb
import pandas as pd

from usad_workbench.core.models.spec import Teaching
from usad_workbench.core.storage.contents import Read
from usad_workbench.core.storage.domains import same_domain
from usad_workbench.core.storage.workspace import Workspace


def set_distillation(
    workspace: Workspace, student: str, taught_by: Sequence[tuple[str, str | None, int]]
) -> None:
    """Says who taught a student, in place of what was said before.

    Args:
        workspace: Where to.
        student: Any name.
        taught_by: Rows of (teacher, domain or none for all, stage).
    """
    with workspace.database.write() as connection:
        connection.execute("DELETE FROM distillation WHERE student = ?", [student])
        _insert(connection, student, taught_by)


def record_teachers(workspace: Workspace, student: str, taught_by: Sequence[Teaching]) -> None:
    """Records who taught a student, unless the workspace has it already.

    Rows of this student that are there stay as they are: somebody set them.

    Args:
        workspace: Where to.
        student: Any encoder.
        taught_by: As its spec says; nothing is recorded of an encoder without.
    """
    if not taught_by or has_teachers(workspace, student):
        return
    with workspace.database.write() as connection:
        record_teachers_within(connection, student, taught_by)


def record_teachers_within(
    connection: duckdb.DuckDBPyConnection, student: str, taught_by: Sequence[Teaching]
) -> None:
    """``record_teachers`` within a transaction of the caller."""
    if taught_by and not _rows_of(connection, student):
        _insert(connection, student, taught_by)


def has_teachers(workspace: Workspace, student: str) -> bool:
    """Whether the workspace has it on record who taught this student."""
    with workspace.database.read() as connection:
        return _rows_of(connection, student) > 0


def recorded_teachers(workspace: Workspace, student: str) -> set[str]:
    """The teachers of a student by the record of the workspace."""
    return {str(name) for name in distillation_rows(workspace.read, student).teacher}


def taught_domains(read: Read, student: str) -> dict[str, set[str | None]]:
    """The domains that each teacher on record taught a student on; none for any audio."""
    domains = [str(name) for name in read("SELECT DISTINCT domain FROM clips").domain]
    taught: dict[str, set[str | None]] = {}
    for row in distillation_rows(read, student).itertuples():
        domain = same_domain(row.domain, domains) if isinstance(row.domain, str) else None
        taught.setdefault(str(row.teacher), set()).add(domain)
    return taught


def distillation_rows(read: Read, student: str | None = None) -> pd.DataFrame:
    """Rows of (student, teacher, domain, stage): of one student, or of all where none is named."""
    if student is None:
        return read("SELECT * FROM distillation")
    return read("SELECT * FROM distillation WHERE student = ?", [student])


def _rows_of(connection: duckdb.DuckDBPyConnection, student: str) -> int:
    """How many rows there are of a student."""
    ((n,),) = connection.execute(
        "SELECT count(*) FROM distillation WHERE student = ?", [student]
    ).fetchall()
    return int(n)


def _insert(
    connection: duckdb.DuckDBPyConnection,
    student: str,
    taught_by: Sequence[tuple[str, str | None, int]],
) -> None:
    for teacher, domain, stage in taught_by:
        connection.execute(
            "INSERT INTO distillation VALUES (?, ?, ?, ?)", [student, teacher, domain, stage]
        )
