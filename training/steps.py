"""What the steps of a run came to, and how far a run is; values are read from the device late."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from usad_workbench.training.batches import MicroBatch
from usad_workbench.training.distributed import World


@dataclass(slots=True)
class RunProgress:
    """How far a run is."""

    step: int = 0
    """Steps done."""
    audio_s: float = 0.0
    """Seconds of audio seen, without padding."""
    wall_s: float = 0.0
    """Seconds of work, those before a resume included."""
    loss: float = math.nan
    """Loss of the last step whose values were read."""
    n_unreadable: int = 0
    """Clips that steps went without, as they could not be decoded."""
    n_left_out: int = 0
    """Pieces that a teacher does not teach, see ``OnlineTargets``, over all teachers."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MicroBatchRecord:
    """This process's part of a step; values stay on the device."""

    pieces: tuple[int, ...]
    domains: tuple[str, ...]
    total: Tensor
    per_clip: Tensor
    sums: Tensor

    @classmethod
    def of(cls, part: MicroBatch, values: tuple[Tensor, Tensor, Tensor]) -> "MicroBatchRecord":
        """What was computed for a part."""
        total, per_clip, sums = values
        return cls(
            pieces=part.pieces,
            domains=part.domains,
            total=total.detach(),
            per_clip=per_clip,
            sums=sums,
        )

    def bad_pieces(self) -> list[int]:
        """Pieces whose loss is not finite."""
        bad = (~self.per_clip.isfinite()).nonzero().flatten().tolist()
        return [self.pieces[row] for row in bad]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StepRecord:
    """This process's part of a step."""

    step: int
    """From 0."""
    norm: Tensor
    """Norm of the whole gradient, before it is cut."""
    parts: tuple[MicroBatchRecord, ...]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StepValues:
    """A step of all processes, as numbers."""

    loss: float
    norm: float
    sums: npt.NDArray[np.float64]
    """``Loss.sums`` added up by domain, shape [teacher, domain, 3]."""


def read_steps(
    records: list[StepRecord], n_teachers: int, domains: list[str], world: World
) -> list[StepValues]:
    """The numbers of some steps; waits for the device and for the other processes.

    Args:
        records: Of the same steps in all processes.
        n_teachers: Of the objective.
        domains: All that pieces have, in the order of the result.
        world: Whose parts are added.
    """
    losses = torch.zeros(len(records), dtype=torch.float64)
    sums = torch.zeros(len(records), n_teachers, len(domains), 3, dtype=torch.float64)
    for at, record in enumerate(records):
        for part in record.parts:
            losses[at] += part.total.cpu().double()
            rows = torch.tensor([domains.index(domain) for domain in part.domains])
            sums[at].index_add_(1, rows, part.sums.cpu().double().transpose(0, 1))
    losses, sums = world.sum(losses), world.sum(sums)
    return [
        StepValues(loss=float(loss), norm=float(record.norm), sums=of_step.numpy())
        for loss, record, of_step in zip(losses, records, sums, strict=True)
    ]
