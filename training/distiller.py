"""Student and objective as the one module that a step calls."""

import torch
from torch import Tensor, nn

from usad_workbench.core.models.student import Student
from usad_workbench.training.batches import MicroBatch
from usad_workbench.training.objective import Loss, Objective


class Distiller(nn.Module):
    """The module that a step calls: from a micro-batch to its part of the loss."""

    def __init__(self, student: Student, objective: Objective, autocast_bfloat16: bool) -> None:
        super().__init__()
        self.student, self.objective, self.autocast_bfloat16 = student, objective, autocast_bfloat16
        # Layer L is what enters this norm, so that no loss ever reaches it.
        student.final_norm.requires_grad_(False)

    def forward(self, part: MicroBatch, n_frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``total``, ``per_clip`` and ``sums`` of ``Loss``; DDP and FSDP2 know tuples.

        Args:
            part: On the device of the weights.
            n_frames: Of the whole batch per teacher, shape [teacher].
        """
        with torch.autocast(
            part.samples.device.type, torch.bfloat16, enabled=self.autocast_bfloat16
        ):
            output = self.student(part.samples, part.n_valid)
            loss: Loss = self.objective(output, part.targets, part.domains, n_frames)
        return loss.total, loss.per_clip, loss.sums

    def count_frames(self, part: MicroBatch) -> Tensor:
        """Frames that each teacher's loss is a mean over, shape [teacher]; no weights used."""
        n_mel = self.student.log_mel.n_frames(part.n_valid)
        return self.objective.count_frames(self.student.stem.n_frames(n_mel), part.targets)
