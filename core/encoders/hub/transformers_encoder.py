"""Audio models of transformers as encoders: front end, blocks, windows.

The front end is the model's own feature extractor. Layers are read by hooks on the blocks
themselves, because ``hidden_states`` means something else in each class (behind the final
norm in Whisper, pooled in Audio Flamingo 3, before the norm in WavLM Large): layer 0 is
what enters the first block, layer i what leaves block i. A clip longer than ``window_samples``
goes through overlapping windows, each of which is a clip of its own to the model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from usad_workbench.core.encoders.networks.frozen import FrozenEncoder
from usad_workbench.core.encoders.networks.windows import plan_windows, stitch
from usad_workbench.core.encoders.quiet import without_meant_warnings
from usad_workbench.core.errors import ConfigError
from usad_workbench.core.models.encoder import LayerFeatures, TargetKind
from usad_workbench.core.models.out_of_memory import halve_until_it_fits
from usad_workbench.core.models.spec import EncoderSpec, Role

_OVERLAP = 6
"""One of so many parts of a window: 5 s of 30 s, as in our own Whisper."""

Samples = npt.NDArray[np.float32]
Frames = dict[int, Tensor]
"""By layer, [clip, frame, dim]; the model's own vector of a whole clip under ``NATIVE``."""
NATIVE = -1


class TransformersEncoder(FrozenEncoder):
    """What all of them share. Subclasses say what their model type does differently."""

    model = ""
    """``module:class`` where it is part of a larger model or our own; else AutoModel's choice."""
    part = ""
    """Where the part's configuration lies in that of the larger model, if it has its own."""
    prefixes: tuple[str, ...] = ()
    """Beginnings of the part's tensors' names in checkpoints."""
    role: Role = "control"
    """Where the user names a folder: who taught whom is for the user to say."""
    blocks = "encoder.layers"
    """Path of the blocks in the network."""
    ffn = "feed_forward"
    """Path, in a block, of what makes the feed-forward output; empty where there is none."""
    unused: tuple[str, ...] = ()
    """Beginnings of the names of parameters that no layer depends on."""
    fills_window = False
    """Whether a clip, alone or not, is filled up to the window before the network sees it."""

    def __init__(
        self, net: nn.Module, extractor: Any, weights_sha256: str, **described: Any
    ) -> None:
        """``known`` is what a network does not say of itself: name, role, licence and so on."""
        self.net, self.extractor = net, extractor
        self.config: Any = net.config
        self.sample_rate_hz = self.find_sample_rate_hz()
        self.pads = self.can_pad()
        self.check_front_end()
        self.hops = self.find_hops()
        """Samples from frame to frame, by layer."""
        self._grid = self._find_grid()
        super().__init__(self._describe(described), net, weights_sha256)

    def _find_grid(self) -> int:
        """Samples that are whole frames in every layer, where windows may begin."""
        grid, step = math.lcm(*self.hops, self.output_hop()), self.window_samples()
        if grid > step - step // _OVERLAP:
            raise ConfigError(
                f"The layers of {type(self.net).__name__} have frames of {sorted(set(self.hops))} "
                f"samples, which meet every {grid} samples, expected at most "
                f"{step - step // _OVERLAP}: a long clip could not be cut into windows. It needs "
                "an adapter of its own: see Plugins in docs/encoders.md."
            )
        return grid

    def _describe(self, described: dict[str, Any]) -> EncoderSpec:
        rate = self.sample_rate_hz
        used = [p for name, p in self.net.named_parameters() if self.is_used(name)]
        return EncoderSpec(
            n_layers=len(self.hops) - 1,
            dims=self.dims(),
            frame_rates_hz=tuple(rate / hop for hop in self.hops),
            sample_rate_hz=rate,
            n_params=sum(p.numel() for p in used),
            native_dim=self.native_dim(),
            pads=self.pads,
            has_ffn=bool(self.ffn),
            min_duration_s=self.min_samples() / rate,
            layer_names=self.layer_names(),
            **{"role": self.role, **described},
        )

    @classmethod
    def read_config(cls, folder: Path, trust_remote_code: bool) -> Any:
        """What ``model`` is called with."""
        from transformers import AutoConfig

        config = AutoConfig.from_pretrained(
            folder, trust_remote_code=trust_remote_code, local_files_only=True
        )
        return getattr(config, cls.part, config) if cls.part else config

    @classmethod
    def load_extractor(cls, folder: Path, trust_remote_code: bool) -> Any:
        """The model's own feature extractor."""
        from transformers import AutoFeatureExtractor

        load: Any = AutoFeatureExtractor.from_pretrained
        with without_meant_warnings():
            return load(folder, trust_remote_code=trust_remote_code, local_files_only=True)

    def find_sample_rate_hz(self) -> int:
        """What the front end takes."""
        return int(self.extractor.sampling_rate)

    def check_front_end(self) -> None:
        """Compares what the front end makes with what the network takes.

        Raises:
            ConfigError: they are not of one model.
        """

    def expect(self, what: str, made: int, taken: int) -> None:
        """Refuses a front end that makes another number of something than the network takes.

        Raises:
            ConfigError: the two differ.
        """
        if made != taken:
            raise ConfigError(
                f"The front end makes {made} {what}, {type(self.net).__name__} takes {taken}. "
                "Expected preprocessor_config.json of the same model."
            )

    def find_hops(self) -> tuple[int, ...]:
        """Samples from frame to frame, by layer."""
        raise NotImplementedError

    def dims(self) -> tuple[int, ...]:
        """Width of each layer."""
        return (int(self.config.hidden_size),) * (self.n_blocks + 1)

    def layer_names(self) -> tuple[str, ...]:
        """What each layer is, where it is no residual stream."""
        return ()

    @property
    def n_blocks(self) -> int:
        """Depth."""
        return sum(1 for _ in self.net.get_submodule(self.blocks).children())

    def is_used(self, name: str) -> bool:
        """Whether a layer depends on this parameter."""
        return not name.startswith(self.unused)

    def can_pad(self) -> bool:
        """Whether a clip in a padded batch has the frames that it has alone."""
        return self.fills_window

    def min_samples(self) -> int:
        """What gives one frame in every layer."""
        return 1

    def window_samples(self) -> int:
        """The longest that is run at once: 30 s, the longest clip of the papers."""
        return 30 * self.sample_rate_hz

    def samples_run(self, n_samples: int) -> int:
        """How much of a batch a clip of so many samples takes."""
        return max(n_samples, self.window_samples()) if self.fills_window else n_samples

    def inputs(self, clips: list[Samples]) -> dict[str, Tensor]:
        """What the network is called with."""
        raise NotImplementedError

    def arrange(self, hidden: Tensor, layer: int) -> Tensor:
        """A block's output as [clip, frame, dim]."""
        return hidden

    def output(self, result: Any) -> Tensor:
        """The network's own output as [clip, frame, dim]."""
        frames: Tensor = result.last_hidden_state
        return frames

    def native_dim(self) -> int | None:
        """Width of the network's own vector of a whole clip, if it makes one."""
        return None

    def native(self, result: Any) -> Tensor | None:
        """The network's own vector of each whole clip, [clip, dim], if it makes one."""
        return None

    def n_frames(self, n_samples: int, hop: int) -> int | None:
        """Valid frames of a clip in a layer with this hop; none for all that come out."""
        return None

    def output_hop(self) -> int:
        """Samples from frame to frame of the network's own output."""
        return self.hops[-1]

    def frame_rate_hz(self, layer: int, kind: TargetKind = "block") -> float:
        """Frames per second of a layer; the model's own output may have another rate."""
        return self.sample_rate_hz / self._hop(layer, kind)

    def _forward(
        self, samples: Tensor, n_valid: Tensor, layers: tuple[int, ...], kind: TargetKind
    ) -> LayerFeatures:
        rows = samples.cpu().numpy()
        clips = [row[:n] for row, n in zip(rows, n_valid.tolist(), strict=True)]
        window = self.window_samples()
        hops = {layer: self._hop(layer, kind) for layer in layers}
        plans = [plan_windows(len(clip), window, window // _OVERLAP, self._grid) for clip in clips]
        pieces = [
            clip[w.start : w.stop] for clip, plan in zip(clips, plans, strict=True) for w in plan
        ]
        found = iter(self._pieces(pieces, layers, kind))
        per_clip, native = [], []
        for plan in plans:
            parts = [next(found) for _ in plan]
            if NATIVE in parts[0]:
                native.append(torch.cat([p[NATIVE] for p in parts]).mean(0))
            per_clip.append({i: stitch(plan, [p[i] for p in parts], hops[i]) for i in layers})
        return self._layer_features(
            {i: pad_sequence([c[i] for c in per_clip], batch_first=True) for i in layers},
            {i: torch.tensor([len(c[i]) for c in per_clip], device=self.device) for i in layers},
            torch.stack(native) if native else None,
            kind,
        )

    def _pieces(
        self, pieces: Sequence[Samples], layers: tuple[int, ...], kind: TargetKind
    ) -> list[Frames]:
        """Valid frames of each piece by layer, [frame, dim]."""
        lengths = [len(piece) for piece in pieces]

        def run(rows: list[int]) -> list[Frames]:
            frames = self._run([pieces[row] for row in rows], layers, kind)
            n = [
                {i: self.n_frames(lengths[row], self._hop(i, kind)) for i in layers} | {NATIVE: 1}
                for row in rows
            ]
            # Copies, so that the frames of padding are given back.
            return [
                {i: frames[i][at, :count].clone() for i, count in n[at].items() if i in frames}
                for at in range(len(rows))
            ]

        found: list[Frames] = [{}] * len(pieces)
        for rows, made in halve_until_it_fits(run, self.batches(lengths), lengths, self.device):
            for row, frames in zip(rows, made, strict=True):
                found[row] = frames
        return found

    def _run(self, clips: list[Samples], layers: tuple[int, ...], kind: TargetKind) -> Frames:
        with self._listening(layers, kind) as seen, without_meant_warnings():
            result = self.net(**self._on_device(self.inputs(clips)))
        frames = {layer: self.arrange(hidden, layer) for layer, hidden in seen.items()}
        if kind == "output" and self.spec.n_layers in layers:
            self._refuse_adapter()
            frames[self.spec.n_layers] = self.output(result)
        native = self.native(result)
        return frames if native is None else {**frames, NATIVE: native.unsqueeze(1)}

    def _refuse_adapter(self) -> None:
        if getattr(self.config, "add_adapter", False):
            raise ConfigError(
                f"The output of {self.spec.name} comes from its adapter, at another rate than its "
                "blocks. Take 'block', or a model without add_adapter."
            )

    def _on_device(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        dtype = next(self.net.parameters()).dtype
        return {
            name: value.to(self.device, dtype if value.is_floating_point() else value.dtype)
            for name, value in inputs.items()
        }

    @contextmanager
    def _listening(self, layers: tuple[int, ...], kind: TargetKind) -> Iterator[Frames]:
        """What the blocks of these layers make while this is open."""
        seen: Frames = {}
        blocks = self.net.get_submodule(self.blocks)

        def entered(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            seen[0] = args[0] if args else kwargs["hidden_states"]

        def left(layer: int) -> Any:
            def hook(module: nn.Module, args: Any, result: Any) -> None:
                seen[layer] = result[0] if isinstance(result, tuple) else result

            return hook

        handles = []
        for layer in layers:
            block = blocks.get_submodule(str(max(layer - 1, 0)))
            if layer == 0:
                handles.append(block.register_forward_pre_hook(entered, with_kwargs=True))
            else:
                source = block.get_submodule(self.ffn) if kind == "ffn" else block
                handles.append(source.register_forward_hook(left(layer)))
        try:
            yield seen
        finally:
            for handle in handles:
                handle.remove()

    def _hop(self, layer: int, kind: TargetKind) -> int:
        is_output = kind == "output" and layer == self.spec.n_layers
        return self.output_hop() if is_output else self.hops[layer]
