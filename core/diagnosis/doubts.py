"""What a reader should doubt before any number: warnings on a student, its teachers, its clips."""

from collections.abc import Sequence

import pandas as pd

from usad_workbench.core.diagnosis.rules import MIN_CLIPS
from usad_workbench.core.diagnosis.teacher_similarity import describe_left_out
from usad_workbench.core.storage.distillation import has_teachers
from usad_workbench.core.storage.domains import describe_alike, other_letters_in
from usad_workbench.core.storage.workspace import Workspace

SMALL_SELECTION = 100
"""Below this many clips of a domain a warning goes with every number."""


def doubts(workspace: Workspace, student: str, are_known: bool) -> list[str]:
    """What is doubtful about the student itself."""
    warnings = []
    encoders = workspace.encoders().set_index("encoder")
    role = str(encoders.role[student])
    if role != "student" and not has_teachers(workspace, student):
        warnings.append(
            f"{student} has the role {role} in this workspace and no teachers on record: what it "
            "shares with others is no inheritance unless they taught it"
        )
    if not are_known:
        warnings.append(
            f"who taught {student} is not known: encoders with the role teacher are taken; name "
            "them with --teachers"
        )
    return warnings


def other_teachers(student: str, teachers: Sequence[str] | None, record: set[str]) -> list[str]:
    """What the teachers that the user named are beside those on record."""
    if teachers is None or not record:
        return []
    strangers, missing = sorted(set(teachers) - record), sorted(record - set(teachers))
    warnings = []
    if strangers:
        warnings.append(
            f"{', '.join(strangers)}: not on record as teachers of {student}, whom "
            f"{', '.join(sorted(record))} taught; what it shares with others is no inheritance"
        )
    if missing:
        warnings.append(
            f"{', '.join(missing)} taught {student} and are not among --teachers: they stand in no "
            "teacher's place as controls unless --controls names them"
        )
    return warnings


def few_permutations(n_permutations: int, enough: int, alpha: float) -> list[str]:
    """Permutations with which nothing can be shown at the level."""
    if n_permutations >= enough:
        return []
    return [
        f"{n_permutations} permutations: no p-value can be as low as {alpha:g}, take {enough} or more"
    ]


def small_and_left_out(counts: "pd.Series[int]") -> list[str]:
    """Domains with too few clips, with few, and under two spellings."""
    return [
        *describe_left_out(counts),
        *_small_selections(counts),
        *describe_alike({str(name): int(n) for name, n in counts.items()}),
    ]


def _small_selections(counts: "pd.Series[int]") -> list[str]:
    """Domains with few clips."""
    small = [f"{d} ({n} clips)" for d, n in counts.items() if MIN_CLIPS <= n < SMALL_SELECTION]
    if not small:
        return []
    return [
        f"{', '.join(small)}: fewer than {SMALL_SELECTION} clips, too few for small differences"
    ]


def where_letters(workspace: Workspace, where: str) -> list[str]:
    """Domains that the filter names in other letters."""
    present = workspace.read("SELECT DISTINCT domain FROM clips").domain
    meant = other_letters_in(where, [str(domain) for domain in present])
    return [f"the domain {text!r} of --where is {name!r} here" for text, name in meant.items()]
