"""MuQ: music, self-supervised (Zhu et al. 2025, arXiv:2501.01108).

Log-mel bands of 24 kHz audio, two residual convolutions that stride over time and frequency,
and a conformer of transformers. Layer 0 is what the convolutions give, layer i leaves
block i; the conformer's last norm belongs to no layer (targets of kind ``output`` apply it),
which is the one way in which MuQ's own 13 hidden states differ: its last is normed.
The feed-forward output is that of the second of a block's two. Clips of a batch have equal
length: convolutions of the blocks would carry padding into the frames beside it.

Source: arXiv:2501.01108, the checkpoints' ``config.json`` and the names in them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from usad_workbench.core.encoders.hub.transformers_encoder import Samples, TransformersEncoder
from usad_workbench.core.encoders.lazy import import_object
from usad_workbench.core.encoders.networks.mel import MelConfig, MelSpectrogram
from usad_workbench.core.errors import WeightsError

_MEL = MelConfig(sample_rate_hz=24_000, n_fft=2048, hop=240, n_mels=128, scale="htk", norm="peak")
_CONFORMER = (
    "transformers.models.wav2vec2_conformer.modeling_wav2vec2_conformer:Wav2Vec2ConformerEncoder"
)
_MIN_POWER = 1e-10
_STRIDE = 4
"""Mel frames and mel bands in one of the conformer's frames and of its bands."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MuqConfig:
    """The architecture; the defaults are those of MuQ-large-msd-iter."""

    dim: int = 1024
    n_layers: int = 12
    n_heads: int = 16
    ffn_dim: int = 4096
    conv_dim: int = 512
    kernel: int = 31
    """Frames that a block's convolution sees."""
    mean_db: float = 6.768444971712967
    std_db: float = 18.417922652295623
    """Of the authors' training data."""


class _Residual(nn.Module):
    """Two convolutions beside one, which all halve time and frequency together."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride=2, padding=1)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.conv3 = nn.Conv2d(n_in, n_out, 3, stride=2, padding=1)
        self.bn3 = nn.BatchNorm2d(n_out)

    def forward(self, x: Tensor) -> Tensor:
        """[clip, channel, mel, frame], halved in mel and frame."""
        deep = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(deep + self.bn3(self.conv3(x)))


class _Stem(nn.Module):
    """Log-mel [clip, mel, frame] to what enters the first block, [clip, frame, dim]."""

    def __init__(self, config: MuqConfig) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            _Residual(1, config.conv_dim), _Residual(config.conv_dim, config.conv_dim)
        )
        self.linear = nn.Linear(config.conv_dim * _MEL.n_mels // _STRIDE, config.dim)

    def forward(self, log_mel: Tensor) -> Tensor:
        x = self.conv(log_mel.unsqueeze(1))
        embedded: Tensor = self.linear(x.permute(0, 3, 1, 2).flatten(2))
        return embedded


class MuqNet(nn.Module):
    """Samples to the conformer's frames; parameters are named as published."""

    def __init__(self, muq: MuqConfig) -> None:
        super().__init__()
        self.muq = muq
        self.config = import_object("transformers:Wav2Vec2ConformerConfig")(
            hidden_size=muq.dim,
            num_hidden_layers=muq.n_layers,
            num_attention_heads=muq.n_heads,
            intermediate_size=muq.ffn_dim,
            hidden_act="swish",
            position_embeddings_type="rotary",
            rotary_embedding_base=10_000,
            conv_depthwise_kernel_size=muq.kernel,
            num_conv_pos_embeddings=1,
            num_conv_pos_embedding_groups=1,
            attn_implementation="sdpa",
        )
        self.mel = MelSpectrogram(_MEL)
        self.conv = _Stem(muq)
        self.conformer = import_object(_CONFORMER)(self.config)
        del self.conformer.pos_conv_embed  # built, stored and never used

    def log_mel(self, samples: Tensor) -> Tensor:
        """[clip, sample] to standardised decibels [clip, mel, frame]; the last frame is dropped."""
        power = self.mel(samples)[:, :-1].transpose(1, 2)
        db: Tensor = 10.0 * power.clamp(min=_MIN_POWER).log10()
        return (db - self.muq.mean_db) / self.muq.std_db

    def forward(self, samples: Tensor) -> Any:
        """The conformer's output with ``last_hidden_state`` [clip, frame, dim]."""
        return self.conformer(self.conv(self.log_mel(samples)))


class MuqEncoder(TransformersEncoder):
    """MuQ as the contract wants it. A clip above 30 s, as in training, goes through windows."""

    model = "usad_workbench.core.encoders.hub.muq:MuqNet"
    prefixes = ("model.", "")
    blocks = "conformer.layers"
    ffn = "ffn2"
    unused = ("conformer.layer_norm.",)

    @classmethod
    def read_config(cls, folder: Path, trust_remote_code: bool) -> MuqConfig:
        """What ``config.json`` says."""
        return muq_config(json.loads((folder / "config.json").read_text(encoding="utf-8")))

    @classmethod
    def load_extractor(cls, folder: Path, trust_remote_code: bool) -> Any:
        """None: the network takes samples."""
        return None

    def find_sample_rate_hz(self) -> int:
        """24 kHz."""
        return _MEL.sample_rate_hz

    def find_hops(self) -> tuple[int, ...]:
        """Samples from frame to frame, by layer: 25 Hz."""
        return (_STRIDE * _MEL.hop,) * len(self.dims())

    def min_samples(self) -> int:
        """More than half a mel window, which is mirrored at the edges."""
        return _MEL.n_fft // 2 + 1

    def inputs(self, clips: list[Samples]) -> dict[str, Tensor]:
        """The samples themselves."""
        return {"samples": torch.from_numpy(np.stack(clips))}

    def to(self, device: str | torch.device) -> Self:
        """Moves the weights to a device and returns itself."""
        positions: Any = self.net.get_submodule("conformer.embed_positions")
        positions.cached_sequence_length = None  # those of the other device
        return super().to(device)


def is_muq(description: dict[str, Any]) -> bool:
    """Whether a ``config.json`` is MuQ's; it names no ``model_type``."""
    return "w2v2_config" in description and "model_type" not in description


def muq_config(description: dict[str, Any]) -> MuqConfig:
    """The architecture that a ``config.json`` describes.

    What it does not say has the values of MuQ-large-msd-iter.

    Raises:
        WeightsError: another architecture.

    >>> muq_config({"encoder_dim": 512, "w2v2_config": {"num_attention_heads": 8}}).n_heads
    8
    """
    conformer = description.get("w2v2_config") or {}
    stat = description.get("stat") or {}
    default = MuqConfig()
    fixed = {
        "position_embeddings_type": (conformer, "rotary"),
        "hidden_act": (conformer, "swish"),
        "rotary_embedding_base": (conformer, 10_000),
        "n_mels": (description, _MEL.n_mels),
        "hop_length": (description, _MEL.hop),
        "label_rate": (description, _MEL.sample_rate_hz // (_STRIDE * _MEL.hop)),
    }
    for key, (where, expected) in fixed.items():
        if where.get(key, expected) != expected:
            raise WeightsError(
                f"This MuQ has {key} = {where[key]!r}, {expected!r} was expected. It is another "
                "architecture than MuQ-large-msd-iter's and cannot be run."
            )
    return MuqConfig(
        dim=description.get("encoder_dim", default.dim),
        n_layers=description.get("encoder_depth", default.n_layers),
        n_heads=conformer.get("num_attention_heads", default.n_heads),
        ffn_dim=conformer.get("intermediate_size", default.ffn_dim),
        conv_dim=description.get("conv_dim", default.conv_dim),
        kernel=conformer.get("conv_depthwise_kernel_size", default.kernel),
        mean_db=stat.get("melspec_2048_mean", default.mean_db),
        std_db=stat.get("melspec_2048_std", default.std_db),
    )
