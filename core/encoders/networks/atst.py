"""ATST-Frame base: general audio, self-supervised (Li, Shao and Li 2024, arXiv:2306.04186).

A vision transformer whose patches span all 64 mel bands and 40 ms, so a frame is a patch.
Layer 0 is the patch with its position added, layer i leaves block i; the final norm belongs
to no layer (targets of kind ``output`` apply it). What it was trained on lasts 10 s, and
there are positions for as much: the frames of a longer clip go through the blocks in chunks
of 10 s that know nothing of each other, as in the authors' extractor. Theirs cuts the mel
every 1001 frames, which moves each further chunk by 10 ms and gives 749 frames for 30 s; here
chunks hold whole frames, so that frame i lies at 40 ms × i throughout.

Source: arXiv:2306.04186 and the checkpoint of Audio-WestlakeU/audiossl.
"""

from __future__ import annotations

import re
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from usad_workbench.core.encoders.networks.frozen import FrozenEncoder, build_pretrained
from usad_workbench.core.encoders.networks.mel import MelConfig, MelSpectrogram
from usad_workbench.core.encoders.quiet import without_meant_warnings
from usad_workbench.core.errors import WeightsError
from usad_workbench.core.models.encoder import LayerFeatures, TargetKind, frame_mask
from usad_workbench.core.models.spec import EncoderSpec

_MEL = MelConfig(
    sample_rate_hz=16_000,
    n_fft=1024,
    hop=160,
    n_mels=64,
    scale="htk",
    norm="peak",
    low_hz=60.0,
    high_hz=7800.0,
)
_MIN_POWER = 1e-10
_TOP_DB = 80.0
"""What lies further below the loudest band of a clip is raised to there."""
_LOWEST_DB, _HIGHEST_DB = -79.6482, 50.6842
"""Of the authors' training data: mapped to -1 and 1."""
_PATCH = 4
"""Mel frames in a patch."""
_EPS = 1e-6
"""Of every layer norm."""
_TEACHER = "model.teacher.encoder."
"""Of the checkpoint's two networks the one that is published as the encoder."""
_FORBIDDEN = re.compile(r"GLOBAL ([\w.]+)")
"""What torch says of a class or function that a file names and that is not allowed."""
_UNUSED = ("mask_embed",)
"""Stands for masked frames in training only."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AtstConfig:
    """The architecture; the defaults are those of ATST-Frame base."""

    dim: int = 768
    n_layers: int = 12
    n_heads: int = 12
    chunk: int = 250
    """Frames that attend to each other, hence positions: 10 s."""


class _Patches(nn.Module):
    """Log-mel [clip, frame, mel] to patches [clip, patch, dim]."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.patch_embed = nn.Linear(_MEL.n_mels * _PATCH, dim)

    def forward(self, log_mel: Tensor) -> Tensor:
        n_clips, n_mel_frames, n_mels = log_mel.shape
        n_patches = n_mel_frames // _PATCH
        cut = log_mel[:, : n_patches * _PATCH].reshape(n_clips, n_patches, _PATCH, n_mels)
        embedded: Tensor = self.patch_embed(cut.transpose(2, 3).flatten(2))
        return embedded


class _Attention(nn.Module):
    """Self-attention over the valid frames."""

    def __init__(self, dim: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        qkv = self.qkv(x).unflatten(2, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = qkv
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        projected: Tensor = self.proj(attended.transpose(1, 2).flatten(2))
        return projected


class _FeedForward(nn.Module):
    """Two linear layers."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class _Block(nn.Module):
    """Pre-norm self-attention and feed-forward."""

    def __init__(self, dim: int, n_heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=_EPS)
        self.attn = _Attention(dim, n_heads)
        self.norm2 = nn.LayerNorm(dim, eps=_EPS)
        self.mlp = _FeedForward(dim)

    def forward(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """The block's output, and its feed-forward part before it is added."""
        x = x + self.attn(self.norm1(x), mask)
        ffn = self.mlp(self.norm2(x))
        return x + ffn, ffn


class AtstNet(nn.Module):
    """Log-mel to the residual stream after each block; parameters are named as published."""

    def __init__(self, config: AtstConfig) -> None:
        super().__init__()
        self.config = config
        self.mel = MelSpectrogram(_MEL)
        self.patch_embed = _Patches(config.dim)
        # The first position is a class token's, which frames do not have.
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + config.chunk, config.dim))
        self.blocks = nn.ModuleList(
            _Block(config.dim, config.n_heads) for _ in range(config.n_layers)
        )
        self.norm_frame = nn.LayerNorm(config.dim, eps=_EPS)

    def log_mel(self, samples: Tensor, n_valid: Tensor) -> Tensor:
        """[clip, sample] to decibels mapped to -1 to 1, [clip, frame, mel]."""
        power = self.mel(samples, n_valid)
        db = 10.0 * power.clamp(min=_MIN_POWER).log10()
        valid = frame_mask(self.mel.n_frames(n_valid), db.shape[1]).unsqueeze(2)
        loudest = db.masked_fill(~valid, -torch.inf).amax(dim=(1, 2), keepdim=True)
        db = torch.maximum(db, loudest - _TOP_DB)
        return (db - _LOWEST_DB) / (_HIGHEST_DB - _LOWEST_DB) * 2.0 - 1.0

    def n_frames(self, n_valid: Tensor) -> Tensor:
        """Whole patches in clips of so many samples."""
        return self.mel.n_frames(n_valid) // _PATCH

    def forward(
        self, log_mel: Tensor, n_valid: Tensor, depth: int
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Layers 0 to ``depth``, and the feed-forward output of 1 to ``depth``.

        Args:
            log_mel: [clip, mel frame, mel].
            n_valid: Valid frames (not mel frames) of each clip.
            depth: The last block that is needed.
        """
        patches = self.patch_embed(log_mel)
        chunks = _Chunks(n_valid, patches.shape[1], self.config.chunk)
        x = chunks.cut(patches)
        outs, ffns = [x + self.pos_embed[:, 1 : 1 + x.shape[1]]], []
        for block in list(self.blocks)[:depth]:
            out, ffn = block(outs[-1], chunks.mask)
            outs.append(out)
            ffns.append(ffn)
        return [chunks.join(x) for x in outs], [chunks.join(x) for x in ffns]


class _Chunks:
    """A batch cut in time: [clip, frame, dim] to [chunk, frame, dim] and back."""

    def __init__(self, n_valid: Tensor, n_frames: int, size: int) -> None:
        self.n_clips, self.n_frames = len(n_valid), n_frames
        self.n_chunks = max(-(-n_frames // size), 1)
        self.size = min(size, n_frames)
        starts = size * torch.arange(self.n_chunks, device=n_valid.device)
        n_each = (n_valid.unsqueeze(1) - starts).clamp(0, size).flatten()
        self.used = n_each > 0
        valid = frame_mask(n_each[self.used], self.size)
        self.mask = None if bool(valid.all()) else valid[:, None, None, :]
        """True where a chunk's frame may be attended to; none if all may."""

    def cut(self, x: Tensor) -> Tensor:
        """The chunks that hold valid frames."""
        x = F.pad(x, (0, 0, 0, self.n_chunks * self.size - self.n_frames))
        return x.reshape(-1, self.size, x.shape[2])[self.used]

    def join(self, chunks: Tensor) -> Tensor:
        """Clips from their chunks; zeros where no chunk was used."""
        x = chunks.new_zeros(len(self.used), *chunks.shape[1:])
        x[self.used] = chunks
        whole = x.reshape(self.n_clips, self.n_chunks * self.size, x.shape[2])
        return whole[:, : self.n_frames]


class AtstEncoder(FrozenEncoder):
    """ATST-Frame as the contract wants it; frames behind a clip's end are masked."""

    net: AtstNet

    def _forward(
        self, samples: Tensor, n_valid: Tensor, layers: tuple[int, ...], kind: TargetKind
    ) -> LayerFeatures:
        log_mel = self.net.log_mel(samples, n_valid)
        n_frames = self.net.n_frames(n_valid)
        outs, ffns = self.net(log_mel, n_frames, max(layers))
        frames = {i: ffns[i - 1] if kind == "ffn" else outs[i] for i in layers}
        if kind == "output" and self.spec.n_layers in frames:
            frames[self.spec.n_layers] = self.net.norm_frame(frames[self.spec.n_layers])
        return self._layer_features(frames, dict.fromkeys(layers, n_frames), kind=kind)


def load(spec: EncoderSpec) -> AtstEncoder:
    """ATST-Frame base with its pretrained weights.

    Raises:
        WeightsError: the weights are missing or damaged.
    """
    net, sha256 = build_pretrained(spec.name, lambda: AtstNet(AtstConfig()))
    return AtstEncoder(spec, net, sha256)


def convert(path: Path) -> dict[str, Tensor]:
    """The encoder of the teacher in the authors' Lightning checkpoint, names as published.

    Nothing that the file names is executed: beside tensors it may hold plain values and the
    two classes of settings that Lightning writes.

    Raises:
        WeightsError: no such checkpoint, one that holds more than that, or another network.
    """
    checkpoint = _read_lightning(path)
    state = checkpoint.get("state_dict", checkpoint) if isinstance(checkpoint, dict) else {}
    state = state if isinstance(state, dict) else {}
    found = {
        str(name).removeprefix(_TEACHER): tensor
        for name, tensor in state.items()
        if str(name).startswith(_TEACHER) and isinstance(tensor, Tensor)
    }
    if not found:
        tops = sorted({str(name).split(".")[0] for name in state})
        raise WeightsError(
            f"{path} holds no tensor named {_TEACHER}…; its names begin with "
            f"{', '.join(tops[:5]) or 'nothing'}. Expected the authors' atstframe_base.ckpt."
        )
    weights = {name: tensor.float() for name, tensor in found.items() if name not in _UNUSED}
    _check_network(path, weights)
    return weights


def _check_network(path: Path, weights: dict[str, Tensor]) -> None:
    with torch.device("meta"):
        net = AtstNet(AtstConfig())
    expected = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    for name in [*expected, *found]:
        if found.get(name) != expected.get(name):
            raise WeightsError(
                f"{path} is another network than ATST-Frame base: its {name} has shape "
                f"{found.get(name, 'none')}, expected {expected.get(name, 'none')}. "
                "Download the authors' atstframe_base.ckpt."
            )


def _read_lightning(path: Path) -> object:
    settings: list[Any] = [
        Namespace,
        (dict, "pytorch_lightning.utilities.parsing.AttributeDict"),
        (dict, "lightning.pytorch.utilities.parsing.AttributeDict"),
        (dict, "lightning_fabric.utilities.data.AttributeDict"),
    ]
    try:
        with torch.serialization.safe_globals(settings), without_meant_warnings():
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what is no checkpoint may be read as any pickle
        named = _FORBIDDEN.search(str(error))
        if named is None:
            raise WeightsError(
                f"{path} is no checkpoint of torch, or damaged ({type(error).__name__}). Download "
                "it again."
            ) from error
        raise WeightsError(
            f"{path} holds more than tensors and plain settings ({named[1]}), and was not read. "
            "If you trust it, write its tensors to a file of their own: "
            'torch.save({"state_dict": checkpoint["state_dict"]}, NEW_FILE).'
        ) from error
