"""The contract that teacher, student, control and baseline all meet.

Layers, once and for all: layer 0 is what enters the first block, layer i is what
leaves block i, so an encoder of depth L has layers 0..L; negative numbers count from
the end. Encoders without a stack say in ``EncoderSpec.layer_names`` what theirs are.

An implementation writes ``_forward`` for clips of one batch; ``Encoder`` does the
rest: resampling, batching, pooling, arguments. Encoders whose front end or padding
would leak between clips of different lengths declare ``pads = False`` and are only
ever handed clips of equal length, so that a clip alone always equals the same clip in
a batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from usad_workbench.core.audio.reading import AudioSource, check_samples, read_audio, resample
from usad_workbench.core.clips import Clip, ClipBatch
from usad_workbench.core.errors import (
    ConfigError,
    EncoderError,
    ShapeError,
    UnknownNameError,
    UsadError,
)
from usad_workbench.core.models.batching import BatchPlan, plan_batches
from usad_workbench.core.models.out_of_memory import out_of_memory_is_one_error
from usad_workbench.core.models.spec import EncoderSpec, Precision, Role

__all__ = [
    "BatchPlan",
    "Encoder",
    "EncoderSpec",
    "FloatArray",
    "LayerFeatures",
    "Pooling",
    "Precision",
    "Role",
    "TargetKind",
    "frame_mask",
    "masked_mean",
    "plan_batches",
    "resolve_layers",
]

Pooling = Literal["mean", "native"]
TargetKind = Literal["block", "ffn", "output"]
"""``block``: what leaves the block. ``ffn``: the feed-forward output before the residual.
``output``: as ``block``, the last layer behind the encoder's final norm, if it has one."""

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LayerFeatures:
    """Frames of the asked layers of one batch.

    ``frames[i]`` has shape [clip, frame, dim] and belongs to layer ``layers[i]``;
    ``n_valid[i]``, shape [clip], counts its valid frames; what lies behind is padding.
    """

    layers: tuple[int, ...]
    frames: tuple[Tensor, ...]
    n_valid: tuple[Tensor, ...]
    frame_rates_hz: tuple[float, ...]
    native: Tensor | None = None
    """The encoder's own utterance-level output, shape [clip, native_dim]."""

    def of(self, layer: int) -> Tensor:
        """Frames of one layer, shape [clip, frame, dim]."""
        return self.frames[self.layers.index(layer)]

    def pooled(self, pooling: Pooling = "mean") -> tuple[Tensor, ...]:
        """One vector per clip and layer, each of shape [clip, dim].

        ``mean`` averages the valid frames. ``native`` is one entry: the encoder's own.

        Raises:
            ConfigError: ``native`` of an encoder that has no such output.
        """
        if pooling == "mean":
            # In float32: a sum of a thousand frames has no digit left in half precision.
            # Layers mostly share their valid frames, so that one mask does for all of them.
            masks: dict[tuple[int, int], Tensor | None] = {}
            means = []
            for frames, n in zip(self.frames, self.n_valid, strict=True):
                key = (id(n), frames.shape[1])
                if key not in masks:
                    is_full = bool((n == frames.shape[1]).all())
                    masks[key] = None if is_full else frame_mask(n, frames.shape[1])
                means.append(_mean_where(frames.float(), masks[key], n))
            return tuple(means)
        if self.native is None:
            raise ConfigError(
                "Pooling 'native' was asked of an encoder without an utterance-level output. "
                "Use pooling 'mean'."
            )
        return (self.native,)


def masked_mean(frames: Tensor, n_valid: Tensor) -> Tensor:
    """Mean over the valid frames: [clip, frame, dim] and [clip] to [clip, dim].

    >>> masked_mean(torch.tensor([[[1.0], [3.0], [99.0]]]), torch.tensor([2])).tolist()
    [[2.0]]
    """
    return _mean_where(frames, frame_mask(n_valid, frames.shape[1]), n_valid)


def _mean_where(frames: Tensor, mask: Tensor | None, n_valid: Tensor) -> Tensor:
    """``masked_mean`` with its mask, [clip, frame]; none where all frames are valid."""
    valid = frames if mask is None else frames.masked_fill(~mask.unsqueeze(-1), 0.0)
    return valid.sum(1) / n_valid.to(frames).unsqueeze(-1)


def frame_mask(n_valid: Tensor, n_frames: int) -> Tensor:
    """True where a frame is valid, shape [clip, frame].

    >>> frame_mask(torch.tensor([1, 2]), 3).tolist()
    [[True, False, False], [True, True, False]]
    """
    return torch.arange(n_frames, device=n_valid.device) < n_valid.unsqueeze(-1)


def resolve_layers(layers: int | Sequence[int] | None, n_layers: int) -> tuple[int, ...]:
    """Layer numbers from what a user wrote: none means all, negative counts from the end.

    Raises:
        UnknownNameError: a layer that does not exist, or one named twice.

    >>> resolve_layers(None, 2), resolve_layers([0, -1], 12), resolve_layers(3, 4)
    ((0, 1, 2), (0, 12), (3,))
    """
    if layers is None:
        return tuple(range(n_layers + 1))
    asked = (layers,) if isinstance(layers, int) else tuple(layers)
    resolved = tuple(layer + n_layers + 1 if layer < 0 else layer for layer in asked)
    wrong = [a for a, r in zip(asked, resolved, strict=True) if not 0 <= r <= n_layers]
    if wrong or len(set(resolved)) != len(resolved) or not resolved:
        raise UnknownNameError(
            f"Found layers {list(asked)}, expected different numbers from 0 to {n_layers} "
            f"or from -{n_layers + 1} to -1. Layer 0 enters the first block."
        )
    return resolved


class Encoder(ABC):
    """Clips to frames per layer. Subclasses write ``spec``, ``weights_sha256``, ``_forward``."""

    spec: EncoderSpec
    weights_sha256: str
    """Of the weights in use; of the configuration where there are none."""
    device: torch.device = torch.device("cpu")
    precision: Precision = "float32"
    """In which ``features`` computes."""
    cpu_batch_s: float = 10.0
    """Of audio in a batch on a CPU, see ``BatchPlan``."""

    @abstractmethod
    def _forward(
        self, samples: Tensor, n_valid: Tensor, layers: tuple[int, ...], kind: TargetKind
    ) -> LayerFeatures:
        """Features of a batch [clip, sample] at the encoder's own rate, on its device.

        Without ``spec.pads`` all clips have the same length. Never called with ``ffn``
        unless ``spec.has_ffn``; then layer 0 is not asked for.
        """

    @abstractmethod
    def to(self, device: str | torch.device) -> Encoder:
        """Moves the weights to a device and returns itself."""

    def in_precision(self, precision: Precision) -> Self:
        """Brings the weights to a precision and returns itself.

        Raises:
            ConfigError: an encoder that computes in float32 only, or one whose weights have lost
                their digits already.
        """
        if precision == self.precision:
            return self
        if precision != "bfloat16":
            raise ConfigError(
                f"{self.spec.name} is in {self.precision}, {precision} was asked for. Load it "
                f"anew: load_encoder(..., precision={precision!r})."
            )
        self._to_bfloat16()
        self.precision = precision
        return self

    def _to_bfloat16(self) -> None:
        """Brings the weights to bfloat16, where the encoder can compute in it."""
        raise ConfigError(
            f"{self.spec.name} computes in float32 only. Leave out --precision, or embed with "
            "another encoder."
        )

    def _computing(self) -> AbstractContextManager[Any]:
        """In what ``_forward`` runs."""
        return nullcontext()

    def samples_run(self, n_samples: int) -> int:
        """How much of a batch a clip of so many samples takes."""
        return n_samples

    def batches(self, n_samples: Sequence[int]) -> Iterator[list[int]]:
        """Positions of clips with so many samples each, in batches for this encoder and device."""
        run = [self.samples_run(n) for n in n_samples]
        plan = BatchPlan.on(self.device, self.cpu_batch_s)
        return plan_batches(run, self.spec.sample_rate_hz, self.spec.pads, plan)

    def frame_rate_hz(self, layer: int, kind: TargetKind = "block") -> float:
        """Frames per second of a layer; the spec's, unless ``output`` has another rate."""
        return self.spec.frame_rates_hz[layer]

    @torch.no_grad()
    def features(
        self, batch: ClipBatch, layers: Sequence[int] | None = None, kind: TargetKind = "block"
    ) -> LayerFeatures:
        """Frames of the asked layers of a batch at the encoder's rate.

        Raises:
            ShapeError: another sample rate, or lengths that must not share a batch.
            ConfigError: ``ffn`` of an encoder without feed-forward blocks.
            EncoderError: the network, or code that came with it, fails on this audio.
            torch.OutOfMemoryError: so does the device's memory, a CPU's too.
        """
        if batch.sample_rate_hz != self.spec.sample_rate_hz:
            raise ShapeError(
                f"{self.spec.name} takes {self.spec.sample_rate_hz} Hz, the batch has "
                f"{batch.sample_rate_hz} Hz. Resample the clips, or call `encode()`."
            )
        if not self.spec.pads and len(set(batch.n_valid.tolist())) > 1:
            raise ShapeError(
                f"{self.spec.name} takes clips of equal length in a batch, found lengths "
                f"{sorted(set(batch.n_valid.tolist()))}. Batch them with `batches()`, or call `encode()` for each."
            )
        if kind == "ffn" and not self.spec.has_ffn:
            raise ConfigError(
                f"{self.spec.name} has no feed-forward blocks, so no 'ffn' targets. Use 'block'."
            )
        samples = torch.from_numpy(batch.samples).to(self.device)
        n_valid = torch.from_numpy(batch.n_valid).to(self.device)
        shortest = round(self.spec.min_duration_s * self.spec.sample_rate_hz)
        if samples.shape[1] < shortest:
            samples = torch.nn.functional.pad(samples, (0, shortest - samples.shape[1]))
        n_valid = n_valid.clamp(min=shortest)
        resolved = resolve_layers(layers, self.spec.n_layers)
        try:
            with out_of_memory_is_one_error(), self._computing():
                return self._forward(samples, n_valid, resolved, kind)
        except (UsadError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # code of others may raise anything
            duration_s = samples.shape[1] / self.spec.sample_rate_hz
            raise EncoderError(
                f"{self.spec.name} fails on {len(samples)} clip(s) of {duration_s:.2f} s: "
                f"{type(error).__name__}: {error}"
            ) from error

    def encode(
        self, audio: AudioSource | Clip, layers: int | Sequence[int] | None = None
    ) -> LayerFeatures:
        """Frames of one clip or file, per asked layer (all by default).

        Raises:
            AudioError: audio that cannot be read, or that an encoder can say nothing about.
            UnknownNameError: a layer that does not exist.
        """
        if isinstance(audio, Clip):
            clip = audio
            check_samples(clip.samples, clip.sample_rate_hz, clip.path or "The given clip")
        else:
            clip = read_audio(audio)
        batch = ClipBatch.from_clips([resample(clip, self.spec.sample_rate_hz)])
        return self.features(batch, resolve_layers(layers, self.spec.n_layers))

    def embed(
        self,
        audio: AudioSource | Clip,
        layers: int | Sequence[int] | None = None,
        pooling: Pooling = "mean",
    ) -> list[FloatArray]:
        """Pooled vectors of one clip or file: one array [dim] per asked layer."""
        pooled = self.encode(audio, layers).pooled(pooling)
        return [vector[0].float().cpu().numpy() for vector in pooled]
