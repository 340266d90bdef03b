"""The student as an upstream of s3prl, in the form of its ``upstream/example/expert.py``.

``s3prl_hubconf`` beside this file holds the entry functions that its hub collects.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from usad_workbench.core.interop.source import frames_of, open_student


class UpstreamExpert(nn.Module):
    """Clips to all layers. Trainable: an upstream may be fine-tuned."""

    def __init__(self, ckpt: str | None = None, model_config: str | None = None, **_: Any) -> None:
        """See ``open_student`` for ``ckpt``; a student's folder says its configuration itself."""
        super().__init__()
        self.name = "usad"
        self.student = open_student(ckpt or "").student.requires_grad_(True)

    def get_downsample_rates(self, key: str) -> int:
        """Samples per frame, for every key: 320 (50 Hz) or 640 (25 Hz)."""
        return self.student.log_mel.config.hop * self.student.config.time_stride

    def forward(self, wavs: list[Tensor]) -> dict[str, list[Tensor] | Tensor]:
        """Layers 0 to L of a batch of clips.

        Clips are padded with zeros to two frames, since s3prl takes a count of frames for
        a mistake where twice as many samples were given.

        Args:
            wavs: 16 kHz audio in [-1, 1], each of shape [sample].

        Returns:
            ``hidden_states``, L + 1 tensors [clip, frame, dim], and ``last_hidden_state``,
            the last of them.
        """
        shortest = self.student.log_mel.config.window + self.get_downsample_rates("")
        samples = pad_sequence([wav.float() for wav in wavs], batch_first=True)
        samples = nn.functional.pad(samples, (0, max(0, shortest - samples.shape[1])))
        n_valid = torch.tensor([len(wav) for wav in wavs], device=samples.device)
        layers = tuple(range(self.student.config.n_layers + 1))
        states, _ = frames_of(self.student, samples, layers, n_valid.clamp(min=shortest))
        return {"hidden_states": list(states), "last_hidden_state": states[-1]}
