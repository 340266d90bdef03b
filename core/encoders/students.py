"""Students as registered encoders: the shipped one, the untrained one, those of a run.

Their specs are read without torch; the architecture and its weights load when used.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from usad_workbench.core.config import parse_config
from usad_workbench.core.errors import CheckpointError, ConfigError, UnknownNameError
from usad_workbench.core.models.sizes import SIZES, StudentConfig, count_parameters
from usad_workbench.core.models.spec import (
    EncoderSpec,
    Role,
    beginnings_of_record,
    licence_of_record,
    teachings_of_record,
)

if TYPE_CHECKING:
    from usad_workbench.core.models.student import StudentEncoder

SHIPPED_NAME = "usad-demo"
UNTRAINED_NAME = "untrained-student"
RUN_PREFIX = "run:"
SHIPPED_FOLDER = Path(__file__).parent.parent / "models" / "shipped"
FAMILY_FOLDER = SHIPPED_FOLDER.parent / "family"
"""Vectors of students of one recipe, with all teachers and without each; no weights."""
PLACEBOS_FOLDER = SHIPPED_FOLDER.parent / "placebos"
"""Vectors of encoders that never taught a student; no weights."""
_CITATION = "USAD 2.0 (arXiv 2606.06444); USAD (arXiv 2506.18843)"
_LICENCE = "Apache-2.0"


def student_spec(name: str, role: Role, config: StudentConfig, licence: str) -> EncoderSpec:
    """The spec of a student of this architecture."""
    n_spaces = config.n_layers + 1
    return EncoderSpec(
        name=name,
        role=role,
        domain=None,
        n_layers=config.n_layers,
        dims=(config.dim,) * n_spaces,
        frame_rates_hz=(float(config.frame_rate_hz),) * n_spaces,
        sample_rate_hz=16_000,
        n_params=count_parameters(config).up_to_last_layer,
        licence=licence,
        citation=_CITATION,
        pads=True,
        has_ffn=True,
    )


def untrained_spec() -> EncoderSpec:
    """The shipped student's architecture with random weights: what training adds to."""
    return student_spec(UNTRAINED_NAME, "baseline", SIZES["demo"], _LICENCE)


def shipped_spec() -> EncoderSpec:
    """The student that comes with the package."""
    try:
        return _shipped_spec()
    except CheckpointError:
        return student_spec(SHIPPED_NAME, "student", SIZES["demo"], _LICENCE)


def shipped_missing_reason() -> str | None:
    """Why the shipped student cannot be used, or nothing."""
    if not (SHIPPED_FOLDER / "config.json").is_file():
        return (
            f"This installation ships no student: {SHIPPED_FOLDER} is empty. Train one "
            f"(`usad train`) and name it {RUN_PREFIX}DIR."
        )
    try:
        _read_description(SHIPPED_FOLDER)
    except CheckpointError as error:
        return str(error)
    return None


def run_folder(name: str) -> Path:
    """The checkpoint that ``run:DIR`` (the last one) or ``run:DIR@STEP`` names.

    ``DIR`` may also be a student's own folder, e.g. an exported one.

    Raises:
        CheckpointError: no such run or step.
    """
    from usad_workbench.core.models.checkpoint import CONFIG_FILE, find_checkpoint

    folder, step = run_and_step(name)
    if not folder or not Path(folder).is_dir():
        raise CheckpointError(
            f"{name} names no folder: {folder or 'nothing'} does not exist. Expected the folder "
            "of a run (`usad train … --run DIR`), optionally with @STEP."
        )
    if not step and (Path(folder) / CONFIG_FILE).is_file():
        return Path(folder)
    return find_checkpoint(folder, int(step) if step else None)


def run_and_step(name: str) -> tuple[str, str]:
    """The folder that ``run:DIR`` or ``run:DIR@STEP`` names, and the step or nothing.

    >>> run_and_step("run:nowhere@100")
    ('nowhere', '100')
    """
    text = name.removeprefix(RUN_PREFIX)
    folder, at, step = text.rpartition("@")
    if not at or not step.isdecimal() or Path(text).is_dir():  # an @ in a folder's name
        return text, ""
    return folder, step


def run_spec(name: str) -> EncoderSpec:
    """The spec of a trained student (``run:DIR``), without its weights.

    Raises:
        CheckpointError: no such run or step, or a damaged one.
    """
    from usad_workbench.core.models.checkpoint import read_student_folder

    described = read_student_folder(run_folder(name))
    return _recorded_spec(name, described.folder, described.config, described.provenance)


def trained_student_spec(name: str) -> EncoderSpec | None:
    """The spec of a student that this program trained; none for any other encoder.

    Args:
        name: The shipped student or ``run:DIR``, and any other name.

    Raises:
        CheckpointError: no such run or step, or a damaged one.

    >>> trained_student_spec("usad-demo").taught_by[0].teacher
    'whisper-tiny.en'
    >>> trained_student_spec("musicnn")
    """
    if name == SHIPPED_NAME:
        return _shipped_spec()
    return run_spec(name) if name.startswith(RUN_PREFIX) else None


def load_untrained(spec: EncoderSpec) -> StudentEncoder:
    """The untrained student; its random weights follow from a fixed seed."""
    from usad_workbench.core.models.student import build_untrained_student

    return _with_spec(build_untrained_student(), spec)


def load_shipped(spec: EncoderSpec) -> StudentEncoder:
    """The student that comes with the package.

    Raises:
        CheckpointError: missing or damaged.
    """
    from usad_workbench.core.models.checkpoint import load_student

    return _with_spec(load_student(SHIPPED_FOLDER, SHIPPED_NAME), spec)


def load_run(spec: EncoderSpec) -> StudentEncoder:
    """The trained student that the spec's name names.

    Raises:
        CheckpointError: no such run or step, or a damaged one.
    """
    from usad_workbench.core.models.checkpoint import load_student

    return _with_spec(load_student(run_folder(spec.name), spec.name), spec)


def recorded_description(name: str) -> dict[str, Any]:
    """What a trained student's checkpoint says of it: ``student``, ``provenance``, ``n_params``.

    Raises:
        UnknownNameError: an encoder that is no trained student of this program.
        CheckpointError: no such student, or a damaged one.
    """
    if name != SHIPPED_NAME and not name.startswith(RUN_PREFIX):
        raise UnknownNameError(
            f"{name} is no trained student. Name {SHIPPED_NAME} or a run as {RUN_PREFIX}DIR."
        )
    folder = _folder_of(name)
    description = _read_description(folder)
    config = parse_config(StudentConfig, description["student"], source=str(folder / "config.json"))
    return {**description, "n_params": float(count_parameters(config).up_to_last_layer)}


def _folder_of(name: str) -> Path:
    return SHIPPED_FOLDER if name == SHIPPED_NAME else run_folder(name)


def _with_spec(encoder: StudentEncoder, spec: EncoderSpec) -> StudentEncoder:
    """The encoder under the spec that it is listed with, which must describe it."""
    if encoder.spec.dims != spec.dims or encoder.spec.n_params != spec.n_params:
        raise CheckpointError(
            f"{spec.name} is listed with {spec.n_layers} layers and {spec.n_params} parameters, "
            f"found {encoder.spec.n_layers} and {encoder.spec.n_params}. Install the package anew."
        )
    encoder.spec = spec
    return encoder


def _shipped_spec() -> EncoderSpec:
    """The spec that the shipped student's folder records; reads it without torch.

    Raises:
        CheckpointError: missing or damaged.
    """
    description, source = _read_description(SHIPPED_FOLDER), str(SHIPPED_FOLDER / "config.json")
    config = parse_config(StudentConfig, description["student"], source=source)
    return _recorded_spec(SHIPPED_NAME, SHIPPED_FOLDER, config, description["provenance"])


def _recorded_spec(
    name: str, folder: Path, config: StudentConfig, provenance: Mapping[str, Any]
) -> EncoderSpec:
    """The spec of a student with what its folder records of its training."""
    return replace(
        student_spec(name, "student", config, licence_of_record(provenance, _LICENCE)),
        taught_by=teachings_of_record(provenance, folder),
        began_with=beginnings_of_record(provenance),
    )


def _read_description(folder: Path) -> dict[str, Any]:
    """What a student's ``config.json`` says; only what is used here is checked."""
    path = folder / "config.json"
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        parse_config(StudentConfig, description["student"], source=str(path))
        description["provenance"].get("teachers")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
        raise CheckpointError(
            f"{path} does not describe a student: {error}. Expected what save_student writes."
        ) from error
    checked: dict[str, Any] = description
    return checked
