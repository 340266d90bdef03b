"""Domains that no teacher of a student is at home in or taught on.

A domain is unseen where no teacher of the student has its home there or taught on it by name: a
teacher of any audio taught on what there was.
"""

from collections.abc import Iterable, Sequence

from usad_workbench.core.storage.contents import Read
from usad_workbench.core.storage.distillation import taught_domains
from usad_workbench.core.storage.roles import roles_to


def is_unseen(domain: str, homes: Sequence[str | None], taught: Iterable[str | None]) -> bool:
    """Whether a student has teachers and none of them is of this domain.

    Args:
        domain: Of some clips.
        homes: Home domain of each teacher; none for any audio.
        taught: Domains that teachers taught on; none for any audio.

    >>> is_unseen("effects", ["speech", None], ["speech", None]), is_unseen("effects", [], [])
    (True, False)
    """
    return len(homes) > 0 and domain not in {*homes, *taught}


def unseen_domains(read: Read, student: str) -> set[str]:
    """The domains of the workspace's clips that are unseen by a student."""
    roles = roles_to(read, student)
    teachers = [name for name, role in roles.items() if role.role == "teacher"]
    record = taught_domains(read, student)
    homes = [roles[name].domain for name in teachers]
    taught = [domain for name in teachers for domain in record.get(name, set())]
    domains = read("SELECT DISTINCT domain FROM clips").domain
    return {str(domain) for domain in domains if is_unseen(str(domain), homes, taught)}
