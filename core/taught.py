"""Who taught a student: from its checkpoint's record into the table ``distillation``."""

from usad_workbench.core.encoders.students import trained_student_spec
from usad_workbench.core.errors import CheckpointError
from usad_workbench.core.storage.workspace import Workspace


def note_teachers(workspace: Workspace, student: str) -> None:
    """Notes the teachers that a student's checkpoint records.

    Rows that the workspace has of this student already stay as they are: somebody set them. An
    encoder without a record, or whose checkpoint cannot be read any more, gets none.

    Args:
        workspace: Where to.
        student: Any encoder.
    """
    try:
        spec = trained_student_spec(student)
    except CheckpointError:
        return
    if spec is None or not spec.taught_by or knows_teachers(workspace, student):
        return
    rows = [[student, *teaching] for teaching in spec.taught_by]
    with workspace.database.write() as connection:
        # Asked again inside: another process may have noted them since.
        known = connection.execute(
            "SELECT count(*) FROM distillation WHERE student = ?", [student]
        ).fetchone()
        if known == (0,):
            connection.executemany("INSERT INTO distillation VALUES (?, ?, ?, ?)", rows)


def knows_teachers(workspace: Workspace, student: str) -> bool:
    """Whether the workspace has it noted who taught this student."""
    rows = workspace.read("SELECT teacher FROM distillation WHERE student = ?", [student])
    return not rows.empty
