"""Encoders written for a benchmark: ``hear:MODULE[:WEIGHTS]`` and ``xares:MODULE:CLASS``.

Both are Python modules that the user installed. They give the frames of one layer, so there
is a layer 0 and no other. Batches hold equal lengths: of these interfaces one has a mask.

* HEAR (hearbenchmark.com/hear-api.html): ``load_model(path)`` gives a module with
  ``sample_rate``, which goes to ``get_timestamp_embeddings(audio, model)`` (frames and their
  times in ms) and ``get_scene_embeddings`` (pooling ``native``).
* X-ARES (package ``xares``): a class with ``sampling_rate``, ``output_dim`` and
  ``hop_size_in_ms``, called with samples. XARES-LLM: a class with ``output_dim``, called with
  samples at 16 kHz and their mask, which gives frames and theirs.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
from typing import Any

import torch
from torch import Tensor, nn

from usad_workbench.core.encoders.foreign import foreign_code
from usad_workbench.core.encoders.networks.frozen import FrozenEncoder
from usad_workbench.core.errors import ConfigError
from usad_workbench.core.models.encoder import LayerFeatures, TargetKind
from usad_workbench.core.models.spec import EncoderSpec

HEAR_PREFIX, XARES_PREFIX = "hear:", "xares:"
_LLM_RATE_HZ = 16_000
"""XARES-LLM's data; its encoders do not say a rate."""


_OWN_CODE = "This is the module's own code: see what it needs, such as weights or arguments."


class HearEncoder(FrozenEncoder):
    """A module of the HEAR API."""

    def __init__(self, name: str, net: nn.Module, api: Any) -> None:
        self.api = api
        rate = int(_attribute(net, "sample_rate", name))
        frame_dim = int(_attribute(net, "timestamp_embedding_size", name))
        scene_dim = int(_attribute(net, "scene_embedding_size", name))
        with torch.no_grad():
            _, times_ms = api.get_timestamp_embeddings(torch.zeros(1, 2 * rate), net.eval())
        hop_ms = float(times_ms[0].diff().double().mean()) if times_ms.shape[1] > 1 else 0.0
        frame_rate_hz = 1000 / hop_ms if hop_ms > 0 else 0.0
        super().__init__(
            _spec(name, net, rate, frame_dim, frame_rate_hz, scene_dim), net, _sha256(net)
        )

    def _forward(
        self, samples: Tensor, n_valid: Tensor, layers: tuple[int, ...], kind: TargetKind
    ) -> LayerFeatures:
        frames, _ = self.api.get_timestamp_embeddings(samples, self.net)
        scenes = self.api.get_scene_embeddings(samples, self.net)
        return self._whole({0: frames}, layers, scenes)


class XaresEncoder(FrozenEncoder):
    """A class of the X-ARES or the XARES-LLM interface."""

    def __init__(self, name: str, net: nn.Module) -> None:
        self.net = net.eval()
        self.takes_mask = "audio_attention_mask" in inspect.signature(net.forward).parameters
        is_silent = self.takes_mask and not hasattr(net, "sampling_rate")
        rate = _LLM_RATE_HZ if is_silent else int(_attribute(net, "sampling_rate", name))
        dim = int(_attribute(net, "output_dim", name))
        if hasattr(net, "hop_size_in_ms") or not self.takes_mask:
            frame_rate_hz = 1000 / float(_attribute(net, "hop_size_in_ms", name))
        else:
            frame_rate_hz = self._frame_rate_hz(rate)
        super().__init__(_spec(name, net, rate, dim, frame_rate_hz, None), net, _sha256(net))

    @torch.no_grad()
    def _frame_rate_hz(self, rate: int) -> float:
        """From the frames of two lengths; the interface does not say it."""
        short, long = (self._frames(torch.zeros(1, n * rate))[0].shape[1] for n in (2, 12))
        return (long - short) / 10

    def _frames(self, samples: Tensor) -> tuple[Tensor, Tensor | None]:
        mask = {"audio_attention_mask": torch.ones_like(samples).long()} if self.takes_mask else {}
        result = self.net(samples, **mask)
        frames, valid = result if isinstance(result, tuple) else (result, None)
        return frames, valid

    def _forward(
        self, samples: Tensor, n_valid: Tensor, layers: tuple[int, ...], kind: TargetKind
    ) -> LayerFeatures:
        frames, valid = self._frames(samples)
        if valid is None:
            return self._whole({0: frames}, layers)
        return self._layer_features({0: frames}, {0: valid.long().sum(1)})


def load_hear(name: str, *, trust_remote_code: bool = False) -> HearEncoder:
    """The encoder that ``hear:MODULE[:WEIGHTS]`` names.

    Raises:
        ConfigError: no such module, or one that does not have the HEAR API.
    """
    module_name, _, weights = name.removeprefix(HEAR_PREFIX).partition(":")
    module = _import(module_name, name)
    for function in ("load_model", "get_timestamp_embeddings", "get_scene_embeddings"):
        if not callable(getattr(module, function, None)):
            raise ConfigError(
                f"{module_name} has no function {function}, expected the HEAR API "
                "(load_model, get_timestamp_embeddings, get_scene_embeddings)."
            )
    with torch.random.fork_rng(devices=[]), foreign_code(f"load_model of {name}", _OWN_CODE):
        net = module.load_model(weights) if weights else module.load_model()
        return HearEncoder(name, _checked(net, name), module)


def load_xares(name: str, *, trust_remote_code: bool = False) -> XaresEncoder:
    """The encoder that ``xares:MODULE:CLASS`` names.

    Raises:
        ConfigError: no such class, or one that has neither interface.
    """
    module_name, _, class_name = name.removeprefix(XARES_PREFIX).partition(":")
    made = getattr(_import(module_name, name), class_name or "-", None)
    if made is None:
        raise ConfigError(
            f"{name} names no class of {module_name}. Expected {XARES_PREFIX}MODULE:CLASS."
        )
    with torch.random.fork_rng(devices=[]), foreign_code(f"The class of {name}", _OWN_CODE):
        return XaresEncoder(name, _checked(made(), name))


def missing_reason(name: str) -> str | None:
    """Why the module cannot be loaded here, or nothing. Does not import the module itself."""
    module_name = name.partition(":")[2].partition(":")[0]
    try:
        found = importlib.util.find_spec(module_name) if module_name else None
    except (ImportError, ValueError):
        found = None
    if found is not None:
        return None
    return (
        f"{name} names the Python module {module_name or '(none)'}, which is not installed here. "
        "Install it, or put its folder on PYTHONPATH."
    )


def _import(module_name: str, name: str) -> Any:
    reason = missing_reason(name)
    if reason is not None:
        raise ConfigError(reason)
    with foreign_code(f"Importing {module_name}", "Install it whole."):
        return importlib.import_module(module_name)


def _checked(net: Any, name: str) -> nn.Module:
    if not isinstance(net, nn.Module):
        raise ConfigError(
            f"{name} gives {type(net).__name__}, expected a module of torch. Models of other "
            "frameworks come in as vectors (`usad import-embeddings`)."
        )
    return net


def _attribute(net: nn.Module, attribute: str, name: str) -> Any:
    if not hasattr(net, attribute):
        raise ConfigError(f"The model of {name} has no {attribute}, which its interface asks for.")
    return getattr(net, attribute)


def _spec(
    name: str, net: nn.Module, rate: int, dim: int, frame_rate_hz: float, native_dim: int | None
) -> EncoderSpec:
    return EncoderSpec(
        name=name,
        role="control",
        domain=None,
        n_layers=0,
        dims=(dim,),
        frame_rates_hz=(frame_rate_hz,),
        sample_rate_hz=rate,
        n_params=sum(parameter.numel() for parameter in net.parameters()),
        licence="see its package",
        citation=name,
        layer_names=("the frames that it gives",),
        native_dim=native_dim,
        min_duration_s=0.1,  # what each needs is not known; two students need 25 ms
    )


def _sha256(net: nn.Module) -> str:
    """Of the tensors and their names, and the class they are used by."""
    digest = hashlib.sha256(f"{type(net).__module__}.{type(net).__qualname__}".encode())
    for name, tensor in sorted(net.state_dict().items()):
        digest.update(name.encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
