"""The student as an encoder of X-ARES (package ``xares``, ``check_audio_encoder``).

``xares`` finds the class by its name's end, so this module holds no other such name:
``python -m xares.run usad_workbench.core.interop.xares …``.
"""

import torch
from torch import Tensor, nn

from usad_workbench.core.interop.source import frames_of, open_student, resolve_layer


class UsadEncoder(nn.Module):
    """Samples to frames of one layer; frozen."""

    def __init__(self, student: str = "", layer: int = -1) -> None:
        """See ``open_student`` for ``student``; a negative layer counts from the end."""
        super().__init__()
        self.student = open_student(student).student
        self.layer = resolve_layer(layer, self.student)
        self.sampling_rate = self.student.log_mel.config.sample_rate_hz
        self.output_dim = self.student.config.dim
        self.hop_size_in_ms = 1000 // self.student.config.frame_rate_hz

    @torch.no_grad()
    def forward(self, audio: Tensor) -> Tensor:
        """Samples [clip, sample] or [sample] to frames [clip, frame, ``output_dim``]."""
        batch = audio.unsqueeze(0) if audio.ndim == 1 else audio
        (frames,), _ = frames_of(self.student.eval(), batch.float(), (self.layer,))
        return frames
