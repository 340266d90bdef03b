"""Whether one student was made from another, as their checkpoints record it.

The teachers alone do not tell: two runs with other seeds have the same ones. What tells is
the hash of the weights that a training began with. Students that came in as vectors have no
such record; one that began with a run's exported student, which is in half precision, is known
as its second stage only where that export (``run:DIR/student``) was embedded.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from usad_workbench.core.encoders.students import (
    RUN_PREFIX,
    run_and_step,
    trained_student_spec,
)
from usad_workbench.core.errors import CheckpointError
from usad_workbench.core.storage.workspace import Workspace

Relation = Literal[
    "second stage",
    "first stage",
    "continuation",
    "beginning",
    "same weights",
    "another checkpoint",
    "another student",
]
"""What the first student is to the second."""


def relation(workspace: Workspace, student: str, other: str) -> Relation:
    """What the first of two students is to the second.

    Args:
        workspace: Has the hashes of the weights that were embedded.
        student: The first.
        other: The second. A student whose checkpoint cannot be read has no record.
    """
    return relations(workspace, student, [other])[other]


def relations(workspace: Workspace, student: str, others: Iterable[str]) -> dict[str, Relation]:
    """What a student is to each of several others; the workspace is read once.

    Args:
        workspace: Has the hashes of the weights that were embedded.
        student: The first of each pair.
        others: The second.
    """
    known = workspace.encoders()
    weights = dict(zip(known.encoder, known.weights_sha256, strict=True))
    return {other: _relation(weights, student, other) for other in others}


def _relation(weights: Mapping[str, str], student: str, other: str) -> Relation:
    if weights[student] == weights[other]:
        return "same weights"
    (stage, starts), (other_stage, other_starts) = _record(student), _record(other)
    if weights[other] in starts:
        return "second stage" if 0 < other_stage < stage else "continuation"
    if weights[student] in other_starts:
        return "first stage" if 0 < stage < other_stage else "beginning"
    return "another checkpoint" if _run(student) == _run(other) != "" else "another student"


def _record(student: str) -> tuple[int, tuple[str, ...]]:
    """The last stage of a student's training, and the weights that its trainings began with.

    Stage 0 and no weights where nothing is recorded.
    """
    try:
        spec = trained_student_spec(student)
    except CheckpointError:
        return 0, ()
    if spec is None:
        return 0, ()
    return max((teaching.stage for teaching in spec.taught_by), default=0), spec.began_with


def _run(student: str) -> str:
    """The folder of the run that it is a checkpoint of; empty for other encoders."""
    if not student.startswith(RUN_PREFIX):
        return ""
    return str(Path(run_and_step(student)[0]).resolve())
