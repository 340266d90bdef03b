"""Prediction heads: from a student's layer to a teacher's layer.

They belong to a checkpoint, not to the student: the published checkpoints leave them
out, and a student is used without them.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from usad_workbench.core.models.encoder import TargetKind


@dataclass(frozen=True, kw_only=True, slots=True)
class HeadSpec:
    """What one head predicts, from what."""

    teacher: str
    student_layer: int
    teacher_layer: int
    kind: TargetKind
    """Which output of the teacher's layer; some teachers have no feed-forward block."""
    teacher_dim: int
    student_dim: int
    hidden_dim: int
    """*Reading*: the width between the two layers is not published."""

    @property
    def name(self) -> str:
        """Unique within a run; used as file and log key."""
        return f"{self.teacher}/{self.student_layer}-{self.teacher_layer}"


class Head(nn.Module):
    """Two linear layers with a ReLU between (USAD, arXiv 2506.18843, sec. III-B, IV-A).

    Holds the mean and the deviation of its targets too: what the outputs are measured
    in. They are 0 and 1 where the targets are used as they are.
    """

    target_mean: Tensor
    target_std: Tensor

    def __init__(self, spec: HeadSpec) -> None:
        super().__init__()
        self.spec = spec
        self.inner = nn.Linear(spec.student_dim, spec.hidden_dim)
        self.output = nn.Linear(spec.hidden_dim, spec.teacher_dim)
        self.register_buffer("target_mean", torch.zeros(spec.teacher_dim))
        self.register_buffer("target_std", torch.ones(spec.teacher_dim))

    def forward(self, frames: Tensor) -> Tensor:
        """Predicted scaled target: [clip, frame, student dim] to [clip, frame, teacher dim]."""
        predicted: Tensor = self.output(torch.relu(self.inner(frames)))
        return predicted

    def scale(self, target: Tensor) -> Tensor:
        """A teacher's frames in the units of the prediction."""
        return (target - self.target_mean) / self.target_std


class Heads(nn.Module):
    """All heads of a run, in the order of their specs."""

    def __init__(self, specs: tuple[HeadSpec, ...]) -> None:
        super().__init__()
        self.heads = nn.ModuleList(Head(spec) for spec in specs)

    @property
    def specs(self) -> tuple[HeadSpec, ...]:
        """What each head predicts."""
        return tuple(head.spec for head in self)

    def __iter__(self) -> Iterator[Head]:
        return (head for head in self.heads if isinstance(head, Head))

    def __len__(self) -> int:
        return len(self.heads)
