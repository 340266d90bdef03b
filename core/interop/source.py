"""Which student is meant, for everything that leaves this package."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from usad_workbench.core.encoders.students import RUN_PREFIX, SHIPPED_NAME, run_folder
from usad_workbench.core.errors import UnknownNameError
from usad_workbench.core.models.checkpoint import (
    MODEL_FILE,
    SHIPPED,
    load_student,
    read_student_folder,
)
from usad_workbench.core.models.encoder import frame_mask, resolve_layers
from usad_workbench.core.models.student import Student


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LoadedStudent:
    """A student with its weights and what is known of where they come from."""

    name: str
    student: Student
    """Frozen, in evaluation mode, float32, on the CPU."""
    licence: str
    weights_sha256: str
    provenance: dict[str, Any]


def open_student(name: str = "") -> LoadedStudent:
    """A student by what a user calls it.

    Args:
        name: ``usad-demo`` (or nothing) for the shipped one, ``run:DIR`` or
            ``run:DIR@STEP`` for a trained one, or the folder of a student or run.

    Raises:
        UnknownNameError: neither a known name nor a folder.
        CheckpointError: no such run or step, or a damaged one.
    """
    folder = student_folder(name)
    described = read_student_folder(folder)
    encoder = load_student(folder)
    return LoadedStudent(
        name=encoder.spec.name,
        student=encoder.student,
        licence=encoder.spec.licence,
        weights_sha256=described.sha256[MODEL_FILE],
        provenance=described.provenance,
    )


def student_folder(name: str) -> Path:
    """The folder that ``open_student`` reads; the same names, the same errors."""
    if name in ("", SHIPPED_NAME):
        return SHIPPED
    if name.startswith(RUN_PREFIX):
        return run_folder(name)
    if Path(name).is_dir():
        return run_folder(RUN_PREFIX + name)
    raise UnknownNameError(
        f"{name} is no student. Name {SHIPPED_NAME}, {RUN_PREFIX}DIR, {RUN_PREFIX}DIR@STEP or "
        "the folder of a student."
    )


def resolve_layer(layer: int, student: Student) -> int:
    """A layer number from 0 to L; a negative one counts from the end.

    Raises:
        UnknownNameError: a layer that does not exist.
    """
    return resolve_layers(layer, student.config.n_layers)[0]


def frames_of(
    student: Student, samples: Tensor, layers: tuple[int, ...], n_valid: Tensor | None = None
) -> tuple[tuple[Tensor, ...], Tensor]:
    """Frames of the asked layers, each [clip, frame, dim], and the valid ones per clip.

    Clips shorter than one window (25 ms) are padded with zeros, since benchmarks hold some.

    Args:
        student: In evaluation or training mode.
        samples: Shape [clip, sample].
        layers: From 0 to L.
        n_valid: Valid samples per clip; all where none.
    """
    window = student.log_mel.config.window
    if n_valid is not None:
        samples = samples.masked_fill(~frame_mask(n_valid, samples.shape[1]), 0.0)
        n_valid = n_valid.clamp(min=window)
    samples = F.pad(samples, (0, max(0, window - samples.shape[1])))
    output = student(samples, n_valid, target_layer=max(layers))
    return tuple(output.layer(layer) for layer in layers), output.n_valid
