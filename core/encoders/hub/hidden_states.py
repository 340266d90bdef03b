"""Models that are known by what they return, not by their modules: hub code, mostly."""

from __future__ import annotations

import inspect
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from usad_workbench.core.encoders.hub.transformers_encoder import (
    Frames,
    Samples,
    TransformersEncoder,
)
from usad_workbench.core.errors import ConfigError
from usad_workbench.core.models.encoder import TargetKind

_PROBE_S = 2.0
"""Of noise, from which widths and rates are read; long enough for whole frames at 5 Hz."""


class HiddenStatesEncoder(TransformersEncoder):
    """A model of an unlisted type, read through its own ``hidden_states``.

    Widths and frame rates are those of clips of noise. Batches hold equal lengths.
    """

    ffn = ""

    def find_hops(self) -> tuple[int, ...]:
        """Samples from frame to frame, by layer.

        Raises:
            ConfigError: no hidden states, or none that grow with the clip.
        """
        n_short = round(_PROBE_S * self.sample_rate_hz)
        self._counts: dict[int, list[int]] = {}
        short, long = (self._probe(n * n_short) for n in (1, 2))
        self._dims = tuple(hidden.shape[-1] for hidden in short)
        if any(hidden.ndim != 3 for hidden in short) or any(
            b.shape[1] <= a.shape[1] for a, b in zip(short, long, strict=True)
        ):
            raise ConfigError(
                f"{type(self.net).__name__} gives hidden states of shapes "
                f"{[tuple(hidden.shape) for hidden in short]} for {_PROBE_S} s of audio, expected "
                "[clip, frame, dim] with more frames for longer clips. It needs an adapter of "
                "its own: see Plugins in docs/encoders.md."
            )
        return tuple(self._hop_of(layer, n_short) for layer in range(len(short)))

    def _hop_of(self, layer: int, n_short: int) -> int:
        """Samples between frames of a layer, from clips of one length and of twice that.

        The first length that has a frame more is searched from both, as a count alone leaves a
        hop of 735 samples at 727 to 744.
        """
        first, second = (self._n_frames_of(n * n_short)[layer] for n in (1, 2))
        n_more = second - first
        stride = math.prod(getattr(self.config, "conv_stride", ()) or (0,))
        if stride and abs(n_short / stride - n_more) < 1:
            return stride
        at_most = 2 * n_short // n_more
        start = self._first_length(layer, n_short, first, at_most)
        end = self._first_length(layer, 2 * n_short, second, at_most)
        return round((end - start) / n_more)

    def _first_length(self, layer: int, n_samples: int, n_frames: int, at_most: int) -> int:
        """The shortest clip with more than so many frames, by bisection above ``n_samples``."""
        low, high = n_samples, n_samples + at_most
        while high - low > 1:
            middle = (low + high) // 2
            if self._n_frames_of(middle)[layer] > n_frames:
                high = middle
            else:
                low = middle
        return high

    def _n_frames_of(self, n_samples: int) -> list[int]:
        """Of each layer; layers of one hop ask for the same lengths."""
        if n_samples not in self._counts:
            self._counts[n_samples] = [hidden.shape[1] for hidden in self._probe(n_samples)]
        return self._counts[n_samples]

    def dims(self) -> tuple[int, ...]:
        """Width of each layer."""
        return self._dims

    def inputs(self, clips: list[Samples]) -> dict[str, Tensor]:
        """What the model's own feature extractor makes."""
        made = self.extractor(
            clips, sampling_rate=self.sample_rate_hz, padding=True, return_tensors="pt"
        )
        return dict(made)

    def min_samples(self) -> int:
        """A tenth of a second: what it really needs is not known."""
        return self.sample_rate_hz // 10

    def _run(self, clips: list[Samples], layers: tuple[int, ...], kind: TargetKind) -> Frames:
        result = self._result(clips)
        frames = dict(enumerate(self._hidden_states(result)))
        if kind == "output" and self.spec.n_layers in layers:
            frames[self.spec.n_layers] = self.output(result)
        return frames

    def _result(self, clips: list[Samples]) -> Any:
        taken = inspect.signature(self.net.forward).parameters
        is_open = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in taken.values())
        if "output_hidden_states" not in taken and not is_open:
            raise ConfigError(
                f"{type(self.net).__name__} gives no hidden states: its forward takes "
                f"{', '.join(taken)}. Expected a model that takes output_hidden_states. Write an "
                "adapter (see Plugins in docs/encoders.md), or import vectors made elsewhere."
            )
        return self.net(**self._on_device(self.inputs(clips)), output_hidden_states=True)

    def _hidden_states(self, result: Any) -> tuple[Tensor, ...]:
        found = getattr(result, "hidden_states", None)
        if found is None:
            raise ConfigError(
                f"{type(self.net).__name__} gives no hidden states: its output has "
                f"{', '.join(result.keys()) if hasattr(result, 'keys') else type(result).__name__}. "
                "Expected `hidden_states`, one tensor for each layer. Write an adapter (see "
                "Plugins in docs/encoders.md), or import vectors made elsewhere."
            )
        return tuple(found)

    def output(self, result: Any) -> Tensor:
        """The last of the hidden states: what else a model returns may have another rate."""
        return self._hidden_states(result)[-1]

    @torch.no_grad()
    def _probe(self, n_samples: int) -> tuple[Tensor, ...]:
        noise = np.random.default_rng(0).normal(scale=0.1, size=n_samples).astype(np.float32)
        return self._hidden_states(self._result([noise]))


class PublishedStudent(TransformersEncoder):
    """USAD and USAD 2.0 as published: waveform in, ``x, mel, hidden_states, ffn`` out.

    ``hidden_states`` and ``ffn`` have one entry for each block. What enters the first block
    is not among them, so layer 0 is the log-mel, unless the model also returns ``stem``, as
    folders of ``usad export`` do. Batches hold equal lengths.
    """

    role = "student"

    @classmethod
    def load_extractor(cls, folder: Path, trust_remote_code: bool) -> None:
        """None: the model takes samples."""

    def find_sample_rate_hz(self) -> int:
        """16 kHz (model cards of MIT-SLS/USAD-*)."""
        return 16_000

    def find_hops(self) -> tuple[int, ...]:
        """Samples from frame to frame, by layer; mel frames come every 10 ms.

        Raises:
            ConfigError: another output than the published one.
        """
        noise = np.random.default_rng(0).normal(scale=0.1, size=64_000).astype(np.float32)
        with torch.no_grad():
            result = self.net(torch.from_numpy(noise)[None])
        missing = [key for key in ("x", "mel", "hidden_states", "ffn") if key not in result]
        if missing:
            raise ConfigError(
                f"{type(self.net).__name__} returns no {', '.join(missing)}, expected x, mel, "
                "hidden_states and ffn as the published students do. Look at its model card."
            )
        n_mel, blocks = result["mel"].shape[1], result["hidden_states"]
        self.has_stem = result.get("stem") is not None
        hop = 160 * round(n_mel / blocks[0].shape[1])
        entry = result["stem"] if self.has_stem else result["mel"]
        self._dims = (entry.shape[-1], *(block.shape[-1] for block in blocks))
        return (hop if self.has_stem else 160, *(hop for _ in blocks))

    def dims(self) -> tuple[int, ...]:
        """Width of each layer."""
        return self._dims

    def layer_names(self) -> tuple[str, ...]:
        """Named where layer 0 is not what enters the first block."""
        names = ("log-mel", *(f"block {i}" for i in range(1, len(self.hops))))
        return () if self.has_stem else names

    def min_samples(self) -> int:
        """A tenth of a second: 8 mel frames, what two unpadded convolutions of stride 2 need."""
        return 1_600

    def _run(self, clips: list[Samples], layers: tuple[int, ...], kind: TargetKind) -> Frames:
        dtype = next(self.net.parameters()).dtype
        result = self.net(torch.from_numpy(np.stack(clips)).to(self.device, dtype))
        made = result["ffn"] if kind == "ffn" else result["hidden_states"]
        frames = dict(enumerate(made, start=1))
        frames[0] = result["stem"] if self.has_stem else result["mel"]
        if kind == "output":
            frames[self.spec.n_layers] = result["x"]
        return frames
