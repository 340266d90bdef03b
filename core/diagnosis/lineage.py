"""Whether one student was made from another, as their checkpoints record it.

The teachers alone do not tell: two runs with other seeds have the same ones. What tells is
the hash of the weights that a training began with.
"""

from typing import Literal

from usad_workbench.core.errors import CheckpointError, UnknownNameError
from usad_workbench.core.registry import student_run, student_start, student_teachers
from usad_workbench.core.storage.workspace import Workspace

Relation = Literal[
    "second stage", "first stage", "continuation", "beginning", "another checkpoint",
    "another student",
]  # fmt: skip
"""What the first student is to the second."""

SENTENCES: dict[Relation, str] = {
    "second stage": "{student} is the second stage of {other}: it began with these weights, and "
    "a difference is what the second stage changed.",
    "first stage": "{student} is the first stage of {other}, which began with these weights: a "
    "difference is what the second stage changed, with the opposite sign.",
    "continuation": "{student} began with the weights of {other}, without a new stage: a "
    "difference is what more training changed.",
    "beginning": "{other} began with the weights of {student}, without a new stage: a difference "
    "is what more training changed, with the opposite sign.",
    "another checkpoint": "{student} and {other} are two checkpoints of one run.",
    "another student": "No record says that one of {student} and {other} began with the weights "
    "of the other: these are differences between two students, not between stages.",
}


def relation(workspace: Workspace, student: str, other: str) -> Relation:
    """What the first of two students is to the second.

    Args:
        workspace: Has the hashes of the weights that were embedded.
        student: The first.
        other: The second. A student whose checkpoint cannot be read has no record.
    """
    if _begins_with(workspace, student, other):
        return "second stage" if 0 < _stage(other) < _stage(student) else "continuation"
    if _begins_with(workspace, other, student):
        return "first stage" if 0 < _stage(student) < _stage(other) else "beginning"
    run = student_run(student)
    return "another checkpoint" if run and run == student_run(other) else "another student"


def _begins_with(workspace: Workspace, later: str, earlier: str) -> bool:
    """Whether training of one began with the embedded weights of the other."""
    known = workspace.encoders()
    weights = dict(zip(known.encoder, known.weights_sha256, strict=True))
    try:
        start = student_start(later)
    except (CheckpointError, UnknownNameError):
        return False
    return start is not None and start == weights.get(earlier)


def _stage(student: str) -> int:
    """The last stage of a student's training; 0 where it is not recorded."""
    try:
        return max((stage for _, _, stage in student_teachers(student)), default=0)
    except (CheckpointError, UnknownNameError):
        return 0
