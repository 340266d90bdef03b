"""Encoders by name: what exists, what is usable here, and how to get one.

A name is a built-in encoder (``usad encoders list``), the shipped student
``usad-demo``, or ``run:DIR`` or ``run:DIR@STEP`` for a trained student. Neither torch
nor any weights are imported to answer what exists.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from usad_workbench.core.errors import UnknownNameError
from usad_workbench.core.lazy import import_object
from usad_workbench.core.models.spec import EncoderSpec
from usad_workbench.core.names import did_you_mean
from usad_workbench.core.teachers.builtin import BUILTIN, BuiltinEncoder
from usad_workbench.core.teachers.weights import missing_reason

if TYPE_CHECKING:
    from usad_workbench.core.models.encoder import Encoder

RUN_PREFIX = "run:"


@dataclass(frozen=True, kw_only=True, slots=True)
class EncoderStatus:
    """Whether an encoder can be loaded on this machine."""

    available: bool
    reason: str
    """Why not and what to do; empty where it is available."""


def encoder_specs() -> dict[str, EncoderSpec]:
    """Every encoder that has a name of its own, in the order in which they are listed."""
    return {name: row.spec for name, row in _table().items()}


def encoder_status(name: str) -> EncoderStatus:
    """Whether an encoder can be loaded here, without loading it.

    Raises:
        UnknownNameError: no such encoder.
    """
    row = _row(name)
    reason = missing_reason(name) if row.source is not None else None
    return EncoderStatus(available=reason is None, reason=reason or "")


def load_encoder(name: str, device: str = "cpu") -> Encoder:
    """An encoder with its weights.

    Args:
        name: A name of ``encoder_specs()``, or ``run:DIR`` or ``run:DIR@STEP``.
        device: A torch device, or ``auto`` for the fastest one that there is.

    Raises:
        UnknownNameError: no such encoder.
        WeightsError: the weights have not been fetched, or are damaged.
        CheckpointError: no such run or step.
    """
    row = _row(name)
    loaded: Encoder = import_object(row.loader)(row.spec)
    return loaded.to(device)


def _table() -> dict[str, BuiltinEncoder]:
    return BUILTIN


def _row(name: str) -> BuiltinEncoder:
    table = _table()
    if name not in table:
        raise UnknownNameError(f"{name} is no known encoder. {did_you_mean(name, table)}")
    return table[name]
