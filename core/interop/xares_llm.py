"""The student as an encoder of XARES-LLM (arXiv 2603.22728).

Its runner takes ``usad_workbench.core.interop.xares_llm.UsadEncoder`` as the encoder's
path. The interface differs from X-ARES': a mask goes in and comes out.
"""

import torch
from torch import Tensor, nn

from usad_workbench.core.interop.source import frames_of, open_student, resolve_layer
from usad_workbench.core.models.encoder import frame_mask


class UsadEncoder(nn.Module):
    """Samples and their mask to frames and theirs; frozen."""

    def __init__(self, student: str = "", layer: int = -1) -> None:
        """See ``open_student`` for ``student``; a negative layer counts from the end."""
        super().__init__()
        self.student = open_student(student).student
        self.layer = resolve_layer(layer, self.student)
        self.output_dim = self.student.config.dim

    @torch.no_grad()
    def forward(
        self, audio: Tensor, audio_attention_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Frames of one layer and which of them are audio.

        Args:
            audio: 16 kHz, shape [clip, sample] or [sample].
            audio_attention_mask: 1 for samples, 0 for the padding behind them; all samples
                where none.

        Returns:
            Frames [clip, frame, ``output_dim``], zero behind the end of a clip, and a mask
            [clip, frame] of whole numbers.
        """
        batch = audio.unsqueeze(0) if audio.ndim == 1 else audio
        lengths = audio_attention_mask
        if lengths is not None:
            lengths = lengths.reshape(batch.shape).long().sum(1)
        (frames,), n_valid = frames_of(self.student.eval(), batch.float(), (self.layer,), lengths)
        is_valid = frame_mask(n_valid, frames.shape[1])
        return frames.masked_fill(~is_valid.unsqueeze(-1), 0.0), is_valid.long()
