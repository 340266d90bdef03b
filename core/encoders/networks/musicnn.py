"""MusiCNN: music tagging, supervised on the 50 top tags of MagnaTagATune.

Pons and Serra, "musicnn: pre-trained convolutional neural networks for music audio
tagging", 2019 (arXiv:1909.06654).

Layers: 0 is the log-mel (96 bands), 1 the front end (408 timbral and 153 temporal
features side by side; parallel branches, not a stack), 2 to 4 the mid end's three
convolutions. ``native`` is the 200-d penultimate layer, which was trained on patches of
3 s and is computed on such patches and averaged over them.

Choices:
* The published front end computes 1e4 times the mel in half precision, which overflows
  to infinity where the mel exceeds 6.5: any loud long tone. Here it stays in single
  precision; only what half precision cannot hold at all is clipped (6e4).
* Edges are reflected, as librosa did when the network was trained (2019).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from usad_workbench.core.encoders.formats import read_tf_checkpoint
from usad_workbench.core.encoders.networks.frozen import FrozenEncoder, build_pretrained
from usad_workbench.core.encoders.networks.mel import MelConfig, MelSpectrogram
from usad_workbench.core.models.encoder import LayerFeatures, TargetKind
from usad_workbench.core.models.spec import EncoderSpec

_MEL = MelConfig(sample_rate_hz=16_000, n_fft=512, hop=256, n_mels=96)
_MEL_CEILING = 6e4
_PATCH_FRAMES = 187
"""Frames in the 3 s patches of training."""
_BN_EPS = 1e-3
"""TensorFlow's default."""
_TIMBRAL = ((204, 7, 38), (204, 7, 67))
"""Filters, frames and bands: 0.4 and 0.7 of the bands."""
_TEMPORAL = ((51, 128), (51, 64), (51, 32))
"""Filters and frames of the branches that look along time in one band."""
_FRONT_DIM = 561
_MID_DIM = 64
_CHUNK_FRAMES = 2048
"""Frames at once (33 s): the widest convolution needs 50 kB for each."""
_N_MID = 3

# fmt: off
MTT_TAGS = (
    "guitar", "classical", "slow", "techno", "strings", "drums", "electronic", "rock", "fast",
    "piano", "ambient", "beat", "violin", "vocal", "synth", "female", "indian", "opera", "male",
    "singing", "vocals", "no vocals", "harpsichord", "loud", "quiet", "flute", "woman",
    "male vocal", "no vocal", "pop", "soft", "sitar", "solo", "man", "classic", "choir", "voice",
    "new age", "dance", "male voice", "female vocal", "beats", "harp", "cello", "no voice",
    "weird", "country", "metal", "female voice", "choral",
)
# fmt: on
"""The tags of the output layer, in its order (musicnn 0.1.0)."""


class Branch(nn.Module):
    """Convolution, rectifier, batch norm; then the maximum over the bands that are left."""

    def __init__(self, n_filters: int, n_frames: int, n_bands: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, n_filters, (n_frames, n_bands))
        self.bn = nn.BatchNorm2d(n_filters, eps=_BN_EPS)
        # As TensorFlow pads: the odd frame goes behind.
        self.pad = (0, 0, (n_frames - 1) // 2, n_frames // 2)

    def forward(self, x: Tensor) -> Tensor:
        """[clip, 1, frame, band] to [clip, frame, filter], chunk by chunk with the same result."""
        n_frames, padded = x.shape[2], F.pad(x, self.pad)
        reach = self.conv.kernel_size[0] - 1
        chunks = [
            self.bn(F.relu(self.conv(padded[:, :, start : start + _CHUNK_FRAMES + reach])))
            for start in range(0, n_frames, _CHUNK_FRAMES)
        ]
        return torch.cat([chunk.amax(dim=3) for chunk in chunks], dim=2).transpose(1, 2)


class MusicnnNet(nn.Module):
    """Samples to the frames of each layer, and from these to tags."""

    def __init__(self) -> None:
        super().__init__()
        self.mel = MelSpectrogram(_MEL)
        self.input_bn = nn.BatchNorm2d(1, eps=_BN_EPS)
        branches = [*_TIMBRAL, *((filters, frames, 1) for filters, frames in _TEMPORAL)]
        self.front = nn.ModuleList(Branch(*shape) for shape in branches)
        # A branch whose filters span all features: nothing is left to take a maximum of.
        widths = (_FRONT_DIM, *([_MID_DIM] * (_N_MID - 1)))
        self.mid = nn.ModuleList(Branch(_MID_DIM, 7, width) for width in widths)
        n_pooled = 2 * (_FRONT_DIM + _N_MID * _MID_DIM)
        self.pooled_bn = nn.BatchNorm1d(n_pooled, eps=_BN_EPS)
        self.dense = nn.Linear(n_pooled, 200)
        self.dense_bn = nn.BatchNorm1d(200, eps=_BN_EPS)
        self.tags = nn.Linear(200, len(MTT_TAGS))

    def log_mel(self, samples: Tensor) -> Tensor:
        """[clip, sample] to [clip, frame, band]."""
        return torch.log10(self.mel(samples).clamp(max=_MEL_CEILING) * 1e4 + 1.0)

    def forward(self, samples: Tensor) -> dict[int, Tensor]:
        """Frames of every layer, each [clip, frame, dim]."""
        frames = {0: self.log_mel(samples)}
        x = self.input_bn(frames[0].unsqueeze(1))
        frames[1] = torch.cat([branch(x) for branch in self.front], dim=2)
        for i, mid in enumerate(self.mid, start=2):
            out = mid(frames[i - 1].unsqueeze(1))
            frames[i] = out if i == 2 else out + frames[i - 1]
        return frames

    def penultimate(self, frames: dict[int, Tensor]) -> Tensor:
        """All layers to one 200-d vector per patch, [clip, patch, 200]."""
        dense = torch.cat([frames[i] for i in range(1, 2 + _N_MID)], dim=2)
        return torch.stack([self._patch(patch) for patch in patches(dense)], dim=1)

    def _patch(self, frames: Tensor) -> Tensor:
        # Maximum and mean of each feature stand side by side, as TensorFlow flattens them.
        pooled = torch.stack([frames.amax(dim=1), frames.mean(dim=1)], dim=2).flatten(1)
        out: Tensor = self.dense_bn(F.relu(self.dense(self.pooled_bn(pooled))))
        return out


class MusicnnEncoder(FrozenEncoder):
    """MusiCNN as the contract wants it."""

    net: MusicnnNet

    def _forward(
        self, samples: Tensor, n_valid: Tensor, layers: tuple[int, ...], kind: TargetKind
    ) -> LayerFeatures:
        frames = self.net(samples)
        return self._whole(frames, layers, self.net.penultimate(frames).mean(dim=1))

    @torch.no_grad()
    def tag(self, samples: Tensor) -> Tensor:
        """Probability of each of ``MTT_TAGS``, mean over patches: [clip, sample] to [clip, tag]."""
        vectors = self.net.penultimate(self.net(samples))
        probabilities: Tensor = torch.sigmoid(self.net.tags(vectors)).mean(dim=1)
        return probabilities


def patches(frames: Tensor) -> list[Tensor]:
    """Frames cut into patches of 3 s; a rest below 3 s only where there is nothing else.

    >>> [patch.shape[1] for patch in patches(torch.zeros(1, 500, 8))]
    [187, 187]
    >>> [patch.shape[1] for patch in patches(torch.zeros(1, 100, 8))]
    [100]
    """
    whole = frames.shape[1] // _PATCH_FRAMES
    if whole == 0:
        return [frames]
    return list(torch.split(frames[:, : whole * _PATCH_FRAMES], _PATCH_FRAMES, dim=1))


def load(spec: EncoderSpec) -> MusicnnEncoder:
    """MusiCNN with its pretrained weights.

    Raises:
        WeightsError: the weights are missing or damaged.
    """
    net, sha256 = build_pretrained(spec.name, MusicnnNet)
    return MusicnnEncoder(spec, net, sha256)


def convert(members: dict[str, bytes]) -> dict[str, Tensor]:
    """The TensorFlow checkpoint without its optimiser's variables.

    TensorFlow numbers layers of a kind in the order in which they were built.
    """
    index, shard = (members[name] for name in sorted(members, reverse=True))
    variables = read_tf_checkpoint(index, shard)
    front = [f"front.{i}" for i in range(len(_TIMBRAL) + len(_TEMPORAL))]
    branches = [*front, *(f"mid.{i}" for i in range(_N_MID))]
    norms = ["input_bn", *(f"{branch}.bn" for branch in branches), "pooled_bn", "dense_bn"]
    names = {f"{branch}.conv": ("conv2d", i) for i, branch in enumerate(branches)}
    names |= {norm: ("batch_normalization", i) for i, norm in enumerate(norms)}
    names |= {"dense": ("dense", 0), "tags": ("dense", 1)}
    parts = {
        "kernel": "weight",
        "bias": "bias",
        "gamma": "weight",
        "beta": "bias",
        "moving_mean": "running_mean",
        "moving_variance": "running_var",
    }
    converted = {}
    for ours, (kind, number) in names.items():
        theirs = f"{kind}_{number}" if number else kind
        for part, parameter in parts.items():
            if f"{theirs}/{part}" in variables:
                tensor = torch.from_numpy(variables[f"{theirs}/{part}"].copy())
                if part == "kernel":  # channels last to channels first, or inputs last
                    tensor = tensor.permute(3, 2, 0, 1) if tensor.ndim == 4 else tensor.T
                converted[f"{ours}.{parameter}"] = tensor
        if kind == "batch_normalization":
            converted[f"{ours}.num_batches_tracked"] = torch.tensor(0)
    return converted
