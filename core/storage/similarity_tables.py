"""What was compared: the tables ``teacher_similarity`` and ``clip_teacher_similarity``."""

import pyarrow as pa

from usad_workbench.core.storage.rows import replace_matching
from usad_workbench.core.storage.workspace import Workspace


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
