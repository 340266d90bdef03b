"""The student: one transformer that several audio teachers are distilled into.

Architecture of USAD and USAD 2.0 (arXiv 2506.18843, arXiv 2606.06444): Kaldi log-mel
bands, a convolutional stem, a convolutional positional encoding, blocks with relative
attention. ``count_parameters`` (module ``sizes``) reproduces the published totals; what
the papers leave open is said where it is decided.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from usad_workbench.core.models.blocks import Block, distance_table
from usad_workbench.core.models.encoder import (
    Encoder,
    EncoderSpec,
    LayerFeatures,
    Role,
    TargetKind,
    frame_mask,
    resolve_layers,
)
from usad_workbench.core.models.frontend import LogMel
from usad_workbench.core.models.sizes import (
    SIZES,
    StudentConfig,
    count_parameters,
    published_sizes,
)
from usad_workbench.core.models.stem import ConvPosition, ConvStem

__all__ = [
    "Student",
    "StudentConfig",
    "StudentEncoder",
    "StudentOutput",
    "build_student",
    "build_untrained_student",
    "hash_weights",
    "published_sizes",
]

CITATION = "USAD 2.0 (arXiv 2606.06444); USAD (arXiv 2506.18843)"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StudentOutput:
    """What a student says about a batch; names as in the published models.

    Frames behind ``n_valid`` are padding and mean nothing.
    """

    x: Tensor
    """The final output, shape [clip, frame, dim]."""
    mel: Tensor
    """Normalised log-mel bands, shape [clip, mel frame, 128]."""
    stem: Tensor
    """What enters the first block (layer 0), shape [clip, frame, dim]."""
    hidden_states: tuple[Tensor, ...]
    """What leaves each block (layers 1 to L), L tensors [clip, frame, dim]."""
    ffn: tuple[Tensor, ...]
    """The feed-forward output of each block before the residual, L tensors."""
    n_valid: Tensor
    """Valid frames per clip, shape [clip]."""

    def layer(self, layer: int) -> Tensor:
        """Layer 0 (enters the first block) to L (leaves the last)."""
        return self.hidden_states[layer - 1] if layer else self.stem


class Student(nn.Module):
    """Waveform in, frames of every layer out."""

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        self.config = config
        self.log_mel = LogMel()
        self.stem = ConvStem(config)
        self.position = ConvPosition(config)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.final_norm = nn.LayerNorm(config.dim) if config.final_norm else nn.Identity()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Xavier-uniform matrices, zero biases, as in the conformer that it comes from."""
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d)):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def checkpoint_activations(self, enabled: bool = True) -> None:
        """Whether training keeps only what enters each block and computes the rest again.

        Memory of activations then grows with one block instead of all of them, for about
        a third more operations (Chen et al., arXiv 1604.06174). Same gradients.
        """
        for block in self.blocks:
            if isinstance(block, Block):
                block.checkpoints_activations = enabled

    def forward(
        self, samples: Tensor, n_valid: Tensor | None = None, target_layer: int | None = None
    ) -> StudentOutput:
        """Frames of every layer.

        Args:
            samples: 16 kHz audio in [-1, 1], shape [clip, sample].
            n_valid: Valid samples per clip, shape [clip]; all where none.
            target_layer: The last layer that is computed, 0 to L or negative from the end;
                ``hidden_states`` and ``ffn`` end there. All where none. What the published
                argument of this name does to ``x`` is not known; here ``x`` is that layer.

        Raises:
            ShapeError: a clip shorter than 400 samples (of values that lie on the CPU).
            UnknownNameError: a layer that does not exist.
        """
        n_layers = self.config.n_layers
        depth = n_layers if target_layer is None else resolve_layers(target_layer, n_layers)[0]
        mel, n_mel = self.log_mel(samples, n_valid)
        if mel.shape[1] <= self.config.max_mel_frames:
            stem, states, ffn, n_frames = self.part(mel, n_mel, depth)
        else:
            stem, states, ffn, n_frames = self._parts(mel, n_mel, depth)
        last = states[-1] if states else stem
        return StudentOutput(
            x=self.final_norm(last) if depth == n_layers else last,
            mel=mel,
            stem=stem,
            hidden_states=tuple(states),
            ffn=tuple(ffn),
            n_valid=n_frames,
        )

    def _parts(
        self, mel: Tensor, n_mel: Tensor | None, depth: int
    ) -> tuple[Tensor, list[Tensor], list[Tensor], Tensor]:
        # The size is a multiple of the stride, so only the last part has frames left over.
        size = self.config.max_mel_frames
        stems, states, ffns, n_frames = zip(
            *(
                self.part(
                    mel[:, start : start + size],
                    None if n_mel is None else (n_mel - start).clamp(0, size),
                    depth,
                )
                for start in range(0, mel.shape[1], size)
            ),
            strict=True,
        )
        return (
            torch.cat(stems, dim=1),
            [torch.cat(layer, dim=1) for layer in zip(*states, strict=True)],
            [torch.cat(layer, dim=1) for layer in zip(*ffns, strict=True)],
            torch.stack(n_frames).sum(0),
        )

    def part(
        self, mel: Tensor, n_mel: Tensor | None, depth: int
    ) -> tuple[Tensor, list[Tensor], list[Tensor], Tensor]:
        """What ``forward`` does with at most ``max_mel_frames`` of the bands.

        Args:
            mel: Shape [clip, mel frame, mel].
            n_mel: Valid mel frames per clip, shape [clip], 0 allowed; all where none.
            depth: The last layer that is computed.

        Returns:
            Layer 0, layers 1 to ``depth``, their feed-forward outputs, valid frames per clip.
        """
        frames, n_valid = self.stem(mel.to(self.stem.conv1.weight.dtype), n_mel)
        frames = stem = self.position(frames, n_valid)
        n_frames = frames.shape[1]
        is_valid = None
        if n_valid is not None:
            # At least one key, or a clip that has ended before this part would give NaN.
            is_valid = frame_mask(n_valid.clamp(min=1), n_frames)
        distances = distance_table(n_frames, self.config.dim, frames.device)
        states, ffn = [], []
        for block in self.blocks[:depth]:
            frames, ffn_output = block(frames, is_valid, distances)
            states.append(frames)
            ffn.append(ffn_output)
        if n_valid is None:
            n_valid = torch.full((len(mel),), n_frames, device=mel.device)
        return stem, states, ffn, n_valid


class StudentEncoder(Encoder):
    """A student with weights, as an encoder: frozen, in evaluation mode."""

    def __init__(
        self,
        student: Student,
        *,
        name: str,
        weights_sha256: str,
        licence: str = "Apache-2.0",
        citation: str = CITATION,
        role: Role = "student",
    ) -> None:
        config = student.config
        self.student = student.eval().requires_grad_(False)
        self.weights_sha256 = weights_sha256
        self.spec = EncoderSpec(
            name=name,
            role=role,
            domain=None,
            n_layers=config.n_layers,
            dims=(config.dim,) * (config.n_layers + 1),
            frame_rates_hz=(float(config.frame_rate_hz),) * (config.n_layers + 1),
            sample_rate_hz=student.log_mel.config.sample_rate_hz,
            n_params=count_parameters(config).up_to_last_layer,
            licence=licence,
            citation=citation,
            pads=True,
            has_ffn=True,
            min_duration_s=student.log_mel.config.window / student.log_mel.config.sample_rate_hz,
        )

    def _forward(
        self, samples: Tensor, n_valid: Tensor, layers: tuple[int, ...], kind: TargetKind
    ) -> LayerFeatures:
        # Without padding there is nothing to mask, which is quicker.
        is_full = bool((n_valid == samples.shape[1]).all())
        output = self.student(samples, None if is_full else n_valid, target_layer=max(layers))
        if kind == "ffn":
            frames = tuple(output.ffn[layer - 1] for layer in layers)
        else:
            # x is the last layer behind the final norm, where that layer was computed.
            last = self.spec.n_layers if kind == "output" else None
            frames = tuple(output.x if i == last else output.layer(i) for i in layers)
        return LayerFeatures(
            layers=layers,
            frames=frames,
            n_valid=(output.n_valid,) * len(layers),
            frame_rates_hz=(float(self.student.config.frame_rate_hz),) * len(layers),
        )

    def _to_bfloat16(self) -> None:
        # The bands stay float32: half precision has no room for a power spectrum.
        self.student.to(torch.bfloat16)

    def to(self, device: str | torch.device) -> StudentEncoder:
        """Moves the weights to a device and returns itself."""
        self.device = torch.device(device)
        self.student.to(self.device)
        return self


def build_student(config: StudentConfig, seed: int = 0) -> Student:
    """A student with random weights that follow from the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Student(config)


def build_untrained_student(seed: int = 0) -> StudentEncoder:
    """The shipped student's architecture with random weights: what training adds to."""
    student = build_student(SIZES["demo"], seed)
    return StudentEncoder(
        student,
        name="untrained-student",
        weights_sha256=hash_weights(student),
        role="baseline",
    )


def hash_weights(module: nn.Module) -> str:
    """Hex sha256 of the names, shapes and values of a module's state."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
