"""What the encoders of this folder share: a frozen network and its front end."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Self, TypeVar

import torch
from torch import Tensor, nn

from usad_workbench.core.encoders.weights import load_weights
from usad_workbench.core.errors import WeightsError
from usad_workbench.core.models.encoder import Encoder, LayerFeatures, TargetKind
from usad_workbench.core.models.spec import EncoderSpec

Net = TypeVar("Net", bound=nn.Module)


_PRODUCTS = (nn.Linear, nn.Conv1d, nn.Conv2d)
"""Modules whose weights bfloat16 halves: all that costs time in a network."""


class FrozenEncoder(Encoder):
    """An encoder around one module that never trains.

    In bfloat16 its products are (weights and what they are applied to); norms, softmax and front
    ends keep what they need, as torch's autocast decides.
    """

    def __init__(self, spec: EncoderSpec, net: nn.Module, weights_sha256: str) -> None:
        self.spec = spec
        self.weights_sha256 = weights_sha256
        self.net = net.eval().requires_grad_(False)

    def _to_bfloat16(self) -> None:
        products = [module for module in self.net.modules() if isinstance(module, _PRODUCTS)]
        if not products:
            super()._to_bfloat16()
        for module in products:
            module.to(torch.bfloat16)

    def _computing(self) -> AbstractContextManager[Any]:
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def to(self, device: str | torch.device) -> Self:
        """Moves the weights to a device and returns itself."""
        self.device = torch.device(device)
        self.net.to(self.device)
        return self

    def _layer_features(
        self,
        frames: dict[int, Tensor],
        n_valid: dict[int, Tensor],
        native: Tensor | None = None,
        kind: TargetKind = "block",
    ) -> LayerFeatures:
        """Frames by layer as the contract wants them, in the order of ``frames``."""
        layers = tuple(frames)
        return LayerFeatures(
            layers=layers,
            frames=tuple(frames[layer] for layer in layers),
            n_valid=tuple(n_valid[layer] for layer in layers),
            frame_rates_hz=tuple(self.frame_rate_hz(layer, kind) for layer in layers),
            native=native,
        )

    def _whole(
        self, frames: dict[int, Tensor], layers: tuple[int, ...], native: Tensor | None = None
    ) -> LayerFeatures:
        """The asked layers of clips of equal length, where every frame is valid."""
        asked = {layer: frames[layer] for layer in layers}
        return self._layer_features(asked, {i: all_valid(f) for i, f in asked.items()}, native)


def all_valid(frames: Tensor) -> Tensor:
    """The number of frames of each clip where none is padding: [clip, frame, dim] to [clip]."""
    return torch.full((len(frames),), frames.shape[1], device=frames.device)


def build_pretrained(name: str, build: Callable[[], Net]) -> tuple[Net, str]:
    """A network with the fetched weights of an encoder, and the hash of these weights.

    The random initial values that ``build`` draws leave torch's generator as it was:
    loading a teacher must not change what a seeded training run draws next.

    Raises:
        WeightsError: the weights are missing, damaged or do not fit the network.
    """
    weights, sha256 = load_weights(name)
    with torch.random.fork_rng(devices=[]):
        net = build()
    try:
        net.load_state_dict(weights)
    except RuntimeError as error:
        raise WeightsError(
            f"The weights of {name} do not fit its network: {error}. "
            f"Run `usad encoders get {name}` to convert them again."
        ) from error
    return net, sha256
