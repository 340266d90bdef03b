"""Choosing an encoder and one of its layers, the same way on every page."""

from collections.abc import Sequence

from usad_workbench.workbench import state
from usad_workbench.workbench.presenters.encoders import layer_names, roles_of
from usad_workbench.workbench.widgets import page


def choose_encoder(
    key: str,
    *,
    label: str = "Encoder",
    among: Sequence[str] | None = None,
    default: str | None = None,
) -> str:
    """An encoder, grouped by role: students first."""
    roles = roles_of(state.sql)
    names = [name for name in roles if among is None or name in among]
    return page.choose_encoder(label, names, key=key, default=default, roles=roles)


def choose_layer(
    key: str, encoder: str, *, among: Sequence[int], default: int | None = None
) -> int:
    """A layer of an encoder; the last where nothing else is asked for."""
    names = layer_names(state.sql, encoder)
    return page.choose(
        "Layer",
        list(among),
        key=f"{key}.{encoder}",
        default=among[-1] if default is None or default not in among else default,
        show=lambda layer: names.get(layer, str(layer)),
        note="Layer 0 enters the first block, layer i leaves block i.",
    )
