"""Depth scaling: a deeper student that begins as a trained one (USAD 2.0, sec. on scaling).

Three ways from n blocks to m, each followed by continued training. The paper takes 32
blocks to 48 and finds the first best; it gives no formula for the other two.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace

import torch
from torch import Tensor

from usad_workbench.core.errors import ConfigError
from usad_workbench.core.models.sizes import Depth, StudentConfig

_BLOCKS = "blocks."
_SILENCED = (
    "attention.output.weight",
    "attention.output.bias",
    "ffn.output.weight",
    "ffn.output.bias",
)
"""What a new top block adds to its input goes through these."""


def source_layers(method: Depth, n_source: int, n_target: int) -> tuple[int | None, ...]:
    """Which trained layer (from 1) each layer of the deeper student begins as.

    ``same``: every layer itself. ``upscale``: the first and the last n_target / 2 layers,
    the first half being the longer one where n_target is odd (depth up-scaling; USAD 2.0
    takes 32 layers to 48 as 1 to 24, then 9 to 32). ``duplicate``: copies stand side by
    side, spread evenly. ``top``: every layer itself, then new ones (none).

    Raises:
        ConfigError: a depth that the method cannot reach.

    >>> source_layers("upscale", 4, 6), source_layers("duplicate", 4, 6)
    ((1, 2, 3, 2, 3, 4), (1, 1, 2, 3, 3, 4))
    >>> source_layers("top", 2, 3)
    (1, 2, None)
    """
    most = {"same": n_source, "upscale": 2 * n_source}.get(method)
    if n_target < n_source or (most is not None and n_target > most):
        raise ConfigError(
            f"start.depth = '{method}' was asked to go from {n_source} layers to {n_target}; "
            f"expected {n_source} to {most or 'any greater number'}. Change student.n_layers "
            "or start.depth."
        )
    if method == "upscale":
        n_first = (n_target + 1) // 2
        n_last = n_target - n_first
        return (*range(1, n_first + 1), *range(n_source - n_last + 1, n_source + 1))
    if method == "duplicate":
        return tuple(1 + i * n_source // n_target for i in range(n_target))
    return (*range(1, n_source + 1), *(None,) * (n_target - n_source))


def scale_weights(
    weights: Mapping[str, Tensor],
    fresh: Mapping[str, Tensor],
    layers: Sequence[int | None],
) -> dict[str, Tensor]:
    """The state of a deeper student from that of a trained one.

    Args:
        weights: State of the trained student.
        fresh: State of an untrained student of the new depth; its values are kept for
            new layers, apart from the projections back into the residual stream, which
            become zero: a new block passes its input on unchanged, so that the scaled
            student gives what its source gives.
        layers: See ``source_layers``.
    """
    scaled = {name: value for name, value in weights.items() if not name.startswith(_BLOCKS)}
    for name, value in fresh.items():
        if not name.startswith(_BLOCKS):
            continue
        index, _, part = name.removeprefix(_BLOCKS).partition(".")
        source = layers[int(index)]
        if source is not None:
            scaled[name] = weights[f"{_BLOCKS}{source - 1}.{part}"].clone()
        else:
            scaled[name] = torch.zeros_like(value) if part in _SILENCED else value.clone()
    return scaled


def check_scalable(source: StudentConfig, target: StudentConfig, method: Depth) -> None:
    """Whether a student can begin as another one, apart from the depth.

    Raises:
        ConfigError: the architectures differ in more than depth and dropout, or a norm at
            the end of each block would keep new top blocks from passing their input on.
    """
    wanted = replace(target, n_layers=source.n_layers, dropout=source.dropout)
    differing = [
        f"{f.name} = {getattr(source, f.name)} there, {getattr(wanted, f.name)} here"
        for f in fields(StudentConfig)
        if getattr(source, f.name) != getattr(wanted, f.name)
    ]
    if differing:
        raise ConfigError(
            f"The student cannot begin as the one that start.student names: "
            f"{'; '.join(differing)}. Only n_layers and dropout may differ."
        )
    if method == "top" and target.block_norm:
        raise ConfigError(
            "start.depth = 'top' needs student.block_norm = false: a norm at the end of each "
            "block changes what a new block passes on. Use another start.depth."
        )
