"""How a run begins: with random weights, or as a student that was trained before.

The second stage of USAD 2.0 begins as a student of the first; a scaled student begins as
a shallower one. Heads always begin anew: the second stage has other teachers, and a
scaled student's layers stand for others than before. All of the student goes on
learning, in the second stage too: its one loss, at the last layer, reaches every block
(whether the paper freezes any is not published).
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from usad_workbench.core.encoders.students import run_folder
from usad_workbench.core.models.checkpoint import (
    MODEL_FILE,
    find_checkpoint,
    read_student_folder,
    read_tensors,
)
from usad_workbench.core.models.depth import check_scalable, scale_weights, source_layers
from usad_workbench.core.models.student import Student, build_student
from usad_workbench.training.recipe import Recipe

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class InitialStudent:
    """What a run begins with."""

    student: Student
    taught: tuple[dict[str, Any], ...] = ()
    """Who taught it before: the ``teachers`` of its provenance."""
    source: dict[str, Any] | None = None
    """The student that it begins as: name, weights' sha256, depth, method."""


def start_student(recipe: Recipe) -> InitialStudent:
    """The student of a recipe before its first step.

    Raises:
        CheckpointError: ``start.student`` names no student, or a damaged one.
        ConfigError: its architecture or depth does not fit.
    """
    student = build_student(recipe.student, recipe.run.seed)
    if not recipe.start.student:
        if recipe.stage > 1:
            logger.warning(
                "Stage %s of %s begins with random weights, as start.student is empty. Name "
                "a student of the stage before, unless that is meant.",
                recipe.stage,
                recipe.name,
            )
        return InitialStudent(student=student)
    described = read_student_folder(run_folder(recipe.start.student))
    method = recipe.start.depth
    check_scalable(described.config, recipe.student, method)
    layers = source_layers(method, described.config.n_layers, recipe.student.n_layers)
    weights = {name: value.float() for name, value in read_tensors(described, MODEL_FILE).items()}
    student.load_state_dict(scale_weights(weights, student.state_dict(), layers))
    return InitialStudent(
        student=student,
        taught=tuple(described.provenance.get("teachers", ())),
        source={
            "student": described.provenance.get("name", described.folder.name),
            "weights_sha256": described.sha256[MODEL_FILE],
            "n_layers": described.config.n_layers,
            "depth": method,
            "layers": list(layers),
            "data": described.provenance.get("data"),
            "audio_s": described.provenance.get("audio_s"),
            "start": described.provenance.get("start"),
        },
    )


def resumed_start(recipe: Recipe, run_dir: Path) -> InitialStudent:
    """The beginning of a run that has a checkpoint, as recorded there.

    The student that the run began as is not read again: it may have been trained on, or
    deleted. Weights are those of an untrained student, for the checkpoint to replace.

    Raises:
        CheckpointError: a damaged checkpoint.
    """
    recorded = read_student_folder(find_checkpoint(run_dir)).provenance
    teachers = list(recorded.get("teachers", ()))
    return InitialStudent(
        student=build_student(recipe.student, recipe.run.seed),
        taught=tuple(teachers[: len(teachers) - len(recipe.teachers)]),
        source=recorded.get("start"),
    )
