"""The student as a model of transformers: ``AutoModel.from_pretrained(FOLDER)``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils.generic import ModelOutput

from usad_workbench.core.audio.reading import read_audio
from usad_workbench.core.errors import ShapeError
from usad_workbench.core.interop.configuration_usad import UsadConfig
from usad_workbench.core.models.blocks import RelativeAttention
from usad_workbench.core.models.frontend import LogMel
from usad_workbench.core.models.student import Student


@dataclass
class UsadOutput(ModelOutput):
    """Names as in the published models; frames behind ``n_valid`` mean nothing."""

    x: Tensor | None = None
    """The final output, or layer ``target_layer``, shape [clip, frame, dim]."""
    mel: Tensor | None = None
    """Normalised log-mel bands, shape [clip, mel frame, 128]."""
    hidden_states: tuple[Tensor, ...] | None = None
    """What leaves each block, without what enters the first: L tensors like ``x``."""
    ffn: tuple[Tensor, ...] | None = None
    """The feed-forward output of each block before the residual."""
    stem: Tensor | None = None
    """What enters the first block."""
    n_valid: Tensor | None = None
    """Valid frames per clip, shape [clip]."""

    @property
    def last_hidden_state(self) -> Tensor | None:
        """``x`` under the name that transformers gives it."""
        return self.x


class UsadModel(PreTrainedModel):  # type: ignore[no-untyped-call]
    """Waveform in, frames of every layer out."""

    config_class = UsadConfig
    base_model_prefix = "usad"
    main_input_name = "input_values"

    def __init__(self, config: UsadConfig) -> None:
        super().__init__(config)
        self.student = Student(config.student_config())
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(
        self,
        input_values: Tensor,
        attention_mask: Tensor | None = None,
        lengths: Tensor | None = None,
        target_layer: int | None = None,
        return_dict: bool | None = None,
    ) -> UsadOutput | tuple[Tensor, ...]:
        """Frames of every layer.

        Args:
            input_values: 16 kHz audio in [-1, 1], shape [clip, sample].
            attention_mask: 1 for samples, 0 for the padding behind them, same shape.
            lengths: Valid samples per clip, shape [clip], in place of the mask.
            target_layer: The last layer that is computed; ``x`` is then that layer.
            return_dict: False for a plain tuple.

        Raises:
            ShapeError: another shape, padding before the samples, or less than 25 ms.
            UnknownNameError: a layer that does not exist.
        """
        if input_values.ndim != 2 or (attention_mask is not None and lengths is not None):
            raise ShapeError(
                f"Found input_values of shape {tuple(input_values.shape)} and "
                f"{'both' if lengths is not None else 'no'} mask and lengths, expected "
                "[clip, sample] and at most one of the two. Give mono audio, one row a clip."
            )
        if attention_mask is not None:
            lengths = _lengths(attention_mask)
        output = self.student(input_values, lengths, target_layer=target_layer)
        named = UsadOutput(
            x=output.x,
            mel=output.mel,
            hidden_states=output.hidden_states,
            ffn=output.ffn,
            stem=output.stem,
            n_valid=output.n_valid,
        )
        as_dict = self.config.return_dict if return_dict is None else return_dict
        return named if as_dict else named.to_tuple()

    @staticmethod
    def load_audio(path: str | Path) -> Tensor:
        """A file as ``forward`` takes it: mono, 16 kHz, shape [1, sample]. Needs soundfile.

        Raises:
            AudioError: not audio, empty, silent or too short.
        """
        return torch.from_numpy(read_audio(path, sample_rate_hz=16_000).samples).unsqueeze(0)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        # Called for what a folder does not hold: nothing of ours but the front end's
        # constants, which from_pretrained leaves without values.
        if isinstance(module, LogMel):
            for name, value in LogMel(module.config).named_buffers():
                setattr(module, name, value.to(getattr(module, name).device))
        elif isinstance(module, RelativeAttention):
            nn.init.zeros_(module.content_bias)
            nn.init.zeros_(module.position_bias)
        elif isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d)):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _lengths(attention_mask: Tensor) -> Tensor:
    mask = attention_mask.long()
    if bool((mask.diff(dim=-1) > 0).any()):
        raise ShapeError(
            "The attention mask has padding before samples, expected it behind them. Use "
            "padding_side='right'."
        )
    return mask.sum(-1)
