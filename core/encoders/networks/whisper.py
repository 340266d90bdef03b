"""Whisper encoders: speech recognition, supervised (Radford et al. 2022, arXiv:2212.04356).

Layer 0 is the convolutional stem with positions added, layer i leaves transformer block
i; the final layer norm belongs to no layer (``final_output`` and targets of kind
``output`` apply it).

Choices:
* A clip is run at its own length, not padded to 30 s as in training: 30 s of frames for
  a two-second clip cost 15 times as much and most of a mean over frames would be
  silence. ``pad_to_window`` restores the padding.
* The log-mel floor is 8 decades below the maximum of the whole clip, as in training,
  so features shift a little with the crop.
* A clip above 30 s goes through windows of 30 s that overlap by 5 s; the frames of two
  neighbours meet in the middle of the overlap. Positions start anew in each window.

The weights come as CTranslate2 models in half precision and are run in single.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from usad_workbench.core.encoders.formats import read_ctranslate2
from usad_workbench.core.encoders.networks.frozen import FrozenEncoder, build_pretrained
from usad_workbench.core.encoders.networks.mel import MelConfig, MelSpectrogram
from usad_workbench.core.encoders.networks.windows import plan_windows, stitch
from usad_workbench.core.models.encoder import LayerFeatures, TargetKind
from usad_workbench.core.models.spec import EncoderSpec

_MEL = MelConfig(sample_rate_hz=16_000, n_fft=400, hop=160, n_mels=80)
_WINDOW = 3000
"""Mel frames in 30 s: the positions that exist, before the stride of 2."""
_OVERLAP = 500
_STRIDE = 2
_HEAD_DIM = 64
"""Of every published Whisper size."""


@dataclass(frozen=True)
class _Block:
    """What one transformer block makes."""

    ffn: Tensor
    """The feed-forward output before it is added."""
    out: Tensor


class WhisperBlock(nn.Module):
    """Pre-norm self-attention and feed-forward."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.n_heads = dim // _HEAD_DIM
        self.attention_norm = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.attention_out = nn.Linear(dim, dim)
        self.ffn_norm = nn.LayerNorm(dim)
        self.ffn_in = nn.Linear(dim, 4 * dim)
        self.ffn_out = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> _Block:
        """[clip, frame, dim] to the block's output and its feed-forward part."""
        n_clips, n_frames, _ = x.shape
        qkv = self.qkv(self.attention_norm(x)).view(n_clips, n_frames, 3, self.n_heads, _HEAD_DIM)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value)
        x = x + self.attention_out(attended.transpose(1, 2).flatten(2))
        ffn = self.ffn_out(F.gelu(self.ffn_in(self.ffn_norm(x))))
        return _Block(ffn=ffn, out=x + ffn)


class WhisperNet(nn.Module):
    """Log-mel [clip, mel, frame] to the residual stream after each block."""

    positions: Tensor

    def __init__(self, dim: int, n_layers: int) -> None:
        super().__init__()
        self.mel = MelSpectrogram(_MEL)
        self.conv1 = nn.Conv1d(_MEL.n_mels, dim, 3, padding=1)
        self.conv2 = nn.Conv1d(dim, dim, 3, stride=_STRIDE, padding=1)
        # Fixed sinusoids, so a buffer; stored in the file all the same.
        self.register_buffer("positions", torch.empty(_WINDOW // _STRIDE, dim))
        self.blocks = nn.ModuleList(WhisperBlock(dim) for _ in range(n_layers))
        self.final_norm = nn.LayerNorm(dim)

    def log_mel(self, samples: Tensor) -> Tensor:
        """[clip, sample] to normalised log-mel [clip, mel, frame], one frame per 10 ms."""
        power = self.mel(samples)[:, :-1].transpose(1, 2)
        log = power.clamp(min=1e-10).log10()
        log = torch.maximum(log, log.amax(dim=(1, 2), keepdim=True) - 8.0)
        return (log + 4.0) / 4.0

    def stem(self, log_mel: Tensor) -> Tensor:
        """At most 30 s of log-mel to layer 0, [clip, frame, dim]."""
        x = F.gelu(self.conv2(F.gelu(self.conv1(log_mel)))).transpose(1, 2)
        return x + self.positions[: x.shape[1]]

    def forward(self, log_mel: Tensor, depth: int) -> tuple[list[Tensor], list[Tensor]]:
        """Layers 0 to ``depth`` of at most 30 s, and the feed-forward output of 1 to ``depth``."""
        outs, ffns = [self.stem(log_mel)], []
        for block in list(self.blocks)[:depth]:
            result: _Block = block(outs[-1])
            outs.append(result.out)
            ffns.append(result.ffn)
        return outs, ffns


class WhisperEncoder(FrozenEncoder):
    """A Whisper encoder as the contract wants it."""

    net: WhisperNet

    def __init__(
        self,
        spec: EncoderSpec,
        net: WhisperNet,
        weights_sha256: str,
        *,
        pad_to_window: bool = False,
    ) -> None:
        super().__init__(spec, net, weights_sha256)
        self.pad_to_window = pad_to_window

    def _forward(
        self, samples: Tensor, n_valid: Tensor, layers: tuple[int, ...], kind: TargetKind
    ) -> LayerFeatures:
        frames = self._frames(samples, layers, kind)
        n_frames = -(-(n_valid // _MEL.hop) // _STRIDE)
        return self._layer_features(frames, dict.fromkeys(layers, n_frames))

    @torch.no_grad()
    def final_output(self, samples: Tensor) -> Tensor:
        """What Whisper's decoder reads: the last layer normalised, [clip, frame, dim]."""
        last = self.spec.n_layers
        return self._frames(samples, (last,), "output")[last]

    def _frames(
        self, samples: Tensor, layers: tuple[int, ...], kind: TargetKind
    ) -> dict[int, Tensor]:
        window_samples = _WINDOW * _MEL.hop
        if self.pad_to_window and samples.shape[1] < window_samples:
            samples = F.pad(samples, (0, window_samples - samples.shape[1]))
        log_mel = self.net.log_mel(samples)
        pieces: dict[int, list[Tensor]] = {layer: [] for layer in layers}
        plan = plan_windows(log_mel.shape[2], _WINDOW, _OVERLAP, _STRIDE)
        for window in plan:
            outs, ffns = self.net(log_mel[:, :, window.start : window.stop], max(layers))
            for layer in layers:
                pieces[layer].append(ffns[layer - 1] if kind == "ffn" else outs[layer])
        frames = {layer: stitch(plan, parts, _STRIDE) for layer, parts in pieces.items()}
        last = self.spec.n_layers
        if kind == "output" and last in frames:
            frames[last] = self.net.final_norm(frames[last])
        return frames


def load(spec: EncoderSpec, *, pad_to_window: bool = False) -> WhisperEncoder:
    """A Whisper encoder with its pretrained weights.

    Raises:
        WeightsError: the weights are missing or damaged.
    """
    net, sha256 = build_pretrained(spec.name, lambda: WhisperNet(spec.dims[0], spec.n_layers))
    return WhisperEncoder(spec, net, sha256, pad_to_window=pad_to_window)


def convert(members: dict[str, bytes]) -> dict[str, Tensor]:
    """The encoder half of a CTranslate2 model, whose file may come in several parts."""
    variables = read_ctranslate2(b"".join(members[name] for name in sorted(members)))
    n_layers = sum(
        name.endswith("self_attention/linear_0/weight")
        for name in variables
        if name.startswith("encoder/")
    )
    names = dict(_names(range(n_layers)))
    return {ours: torch.from_numpy(variables[theirs].copy()) for ours, theirs in names.items()}


def _names(layers: Sequence[int]) -> list[tuple[str, str]]:
    """Our name and CTranslate2's of every variable of the encoder."""
    modules = [("conv1", "encoder/conv1"), ("conv2", "encoder/conv2")]
    norms = [("final_norm", "encoder/layer_norm")]
    for i in layers:
        ours, theirs = f"blocks.{i}", f"encoder/layer_{i}"
        modules += [
            (f"{ours}.qkv", f"{theirs}/self_attention/linear_0"),
            (f"{ours}.attention_out", f"{theirs}/self_attention/linear_1"),
            (f"{ours}.ffn_in", f"{theirs}/ffn/linear_0"),
            (f"{ours}.ffn_out", f"{theirs}/ffn/linear_1"),
        ]
        norms += [
            (f"{ours}.attention_norm", f"{theirs}/self_attention/layer_norm"),
            (f"{ours}.ffn_norm", f"{theirs}/ffn/layer_norm"),
        ]
    names = [("positions", "encoder/position_encodings/encodings")]
    for ours, theirs in modules:
        names += [(f"{ours}.weight", f"{theirs}/weight"), (f"{ours}.bias", f"{theirs}/bias")]
    for ours, theirs in norms:
        names += [(f"{ours}.weight", f"{theirs}/gamma"), (f"{ours}.bias", f"{theirs}/beta")]
    return names
