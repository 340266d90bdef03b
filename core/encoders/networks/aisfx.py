"""aiSFX: a convolutional network for sound effects, supervised on category labels.

"Representation Learning for the Automatic Indexing of Sound Effects Libraries",
A.B. Ma and A. Lerch, ISMIR 2022 (model X-Sequential-CE). Model: CC BY 4.0.

Layer 0 is the log-mel that enters block 1 (96 bands), layer i leaves convolution block
i, averaged over frequency: [clip, frame, channel]. Blocks 1 to 3 halve time, so frame
rates differ. ``native`` is the 512-d embedding: the maximum over time of layer 4, taken
as in training over 100 mel frames (2.3 s) with half overlap and averaged over these.

The network was trained on Essentia's mel bands; these here have the same formula (HTK
scale, filters that sum to 1) with librosa's edges, the package's own second choice. A
clip is scaled to peak 1 first. Audio that was recorded at less than 44.1 kHz has empty
upper bands, which this network notices: bring clips that are to be compared to one rate
before, or their bandwidth becomes a label.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from usad_workbench.core.encoders.formats import read_torch_pickle
from usad_workbench.core.encoders.networks.frozen import FrozenEncoder, build_pretrained
from usad_workbench.core.encoders.networks.mel import MelConfig, MelSpectrogram
from usad_workbench.core.models.encoder import LayerFeatures, TargetKind
from usad_workbench.core.models.spec import EncoderSpec

_MEL = MelConfig(
    sample_rate_hz=44_100,
    n_fft=2048,
    hop=1024,
    n_mels=96,
    scale="htk",
    norm="sum",
    edge="constant",
)
_MEL_MAX = 9.457798957824707
"""The largest log-mel of the training data, by which inputs are divided (aisfx 0.1.2)."""
_POOLS = (2, 2, 2, 1)
_CHUNK_FRAMES = 4096
"""Mel frames at once (95 s): the first block needs 25 kB for each, several times over."""
_REACH_FRAMES = 32
"""Mel frames on either side that a frame of layer 4 depends on: 30, to a multiple of 8."""
_BLOCK_FRAMES = 100 // 8
"""Frames of layer 4 in the 100 mel frames that one embedding was trained on."""


class ConvBlock(nn.Module):
    """Two convolutions, then maxima over ``pool`` frames and bands."""

    def __init__(self, n_in: int, n_out: int, pool: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        """[clip, channel, frame, band] to fewer frames and bands of more channels."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return F.max_pool2d(x, self.pool)


class AisfxNet(nn.Module):
    """Samples to the frames of each layer."""

    def __init__(self) -> None:
        super().__init__()
        self.mel = MelSpectrogram(_MEL)
        channels = (1, 64, 128, 256, 512)
        self.blocks = nn.ModuleList(
            ConvBlock(n_in, n_out, pool)
            for n_in, n_out, pool in zip(channels, channels[1:], _POOLS, strict=False)
        )

    def log_mel(self, samples: Tensor) -> Tensor:
        """[clip, sample] to [clip, frame, band], 0 for silence and about 1 for the loudest."""
        peak = samples.abs().amax(dim=1, keepdim=True)
        power = self.mel(samples / torch.where(peak == 0, 1.0, peak))
        return torch.log10(power * 1e4 + 1.0) / _MEL_MAX

    def forward(self, samples: Tensor) -> dict[int, Tensor]:
        """Frames of every layer, each [clip, frame, dim], chunk by chunk with the same result."""
        mel = self.log_mel(samples)
        n_mel = mel.shape[1]
        chunks = []
        for start in range(0, n_mel, _CHUNK_FRAMES):
            end = min(start + _CHUNK_FRAMES, n_mel)
            before = min(start, _REACH_FRAMES)
            around = mel[:, start - before : end + _REACH_FRAMES]
            chunks.append(self._blocks(around, before, end - start))
        layers = [torch.cat(parts, dim=1) for parts in zip(*chunks, strict=True)]
        return dict(enumerate([mel, *layers]))

    def _blocks(self, mel: Tensor, skip: int, n_mel: int) -> list[Tensor]:
        """Layers 1 to 4 of ``n_mel`` mel frames behind the first ``skip``."""
        layers = []
        x, stride = mel.unsqueeze(1), 1
        for block, pool in zip(self.blocks, _POOLS, strict=True):
            x = block(x)
            stride *= pool
            kept = x[:, :, skip // stride : (skip + n_mel) // stride]
            layers.append(kept.mean(dim=3).transpose(1, 2))
        return layers


class AisfxEncoder(FrozenEncoder):
    """aiSFX as the contract wants it."""

    net: AisfxNet

    def _forward(
        self, samples: Tensor, n_valid: Tensor, layers: tuple[int, ...], kind: TargetKind
    ) -> LayerFeatures:
        frames = self.net(samples)
        return self._whole(frames, layers, block_maxima(frames[len(_POOLS)], _BLOCK_FRAMES))


def block_maxima(frames: Tensor, n_block: int) -> Tensor:
    """Maxima over blocks with half overlap, averaged: [clip, frame, dim] to [clip, dim].

    Fewer frames than a block are one block; a rest shorter than half a block is left
    out, as in training.

    >>> block_maxima(torch.tensor([[[1.0], [5.0], [2.0], [3.0]]]), 2).tolist()
    [[4.333333492279053]]
    """
    n_block = min(n_block, frames.shape[1])
    blocks = frames.unfold(1, n_block, max(n_block // 2, 1))
    return blocks.amax(dim=-1).mean(dim=1)


def load(spec: EncoderSpec) -> AisfxEncoder:
    """aiSFX with its pretrained weights.

    Raises:
        WeightsError: the weights are missing or damaged.
    """
    net, sha256 = build_pretrained(spec.name, AisfxNet)
    return AisfxEncoder(spec, net, sha256)


def convert(members: dict[str, bytes]) -> dict[str, Tensor]:
    """The convolution blocks of the checkpoint, without the category heads."""
    (checkpoint,) = members.values()
    state, _ = read_torch_pickle(checkpoint)
    prefix = "embedding_net.conv_block"
    converted = {}
    for name, tensor in state.items():
        if name.startswith(prefix):
            number, rest = name.removeprefix(prefix).split(".", 1)
            converted[f"blocks.{int(number) - 1}.{rest}"] = tensor
    return converted
