"""What each encoder is to a student: teacher, control, baseline.

Diagnosis, report and every page of the app ask here. A teacher is who taught: by name, else by
the table ``distillation``; the role of ``encoders`` is only the default, and a teacher of other
students is a control to this one.
"""

from collections.abc import Sequence

from usad_workbench.core.similarity import EncoderRole
from usad_workbench.core.storage.contents import Read
from usad_workbench.core.storage.distillation import distillation_rows
from usad_workbench.core.storage.domains import same_domain
from usad_workbench.core.storage.workspace import Workspace


def encoder_roles(
    workspace: Workspace, student: str | None = None, teachers: Sequence[str] | None = None
) -> dict[str, EncoderRole]:
    """Role and home domain of every encoder; see ``roles_to``."""
    return roles_to(workspace.read, student, teachers)


def roles_to(
    read: Read, student: str | None = None, teachers: Sequence[str] | None = None
) -> dict[str, EncoderRole]:
    """What every encoder is to this student, or to all students together where none is named.

    Without rows in ``distillation`` and without ``teachers`` the default roles stand, which say
    nothing about this student: see ``has_teachers``.

    Args:
        read: Of the workspace.
        student: Whose teachers; none for a page that is about no student.
        teachers: Who taught it, where somebody says so.
    """
    taught = set(distillation_rows(read, student).teacher if teachers is None else teachers)
    domains = [str(domain) for domain in read("SELECT DISTINCT domain FROM clips").domain]
    roles = {}
    for row in read("SELECT encoder, role, domain FROM encoders ORDER BY encoder").itertuples():
        role = str(row.role)
        if row.encoder in taught:
            role = "teacher"
        elif taught and role == "teacher":
            role = "control"
        home = same_domain(row.domain, domains) if isinstance(row.domain, str) else None
        roles[str(row.encoder)] = EncoderRole(role=role, domain=home)
    return roles
