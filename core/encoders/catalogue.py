"""The rows of all encoders that have a name of their own, but for students. Free of torch."""

from __future__ import annotations

from usad_workbench.core.encoders.builtin import BUILTIN
from usad_workbench.core.encoders.hub.table import HUB
from usad_workbench.core.encoders.plugins import plugin_rows
from usad_workbench.core.encoders.row import EncoderRow, HubSource
from usad_workbench.core.encoders.sources import FileSource, WeightsSource


def encoder_rows() -> dict[str, EncoderRow]:
    """By name: those of this package, then of plugins, none of which takes another's place.

    >>> "wavlm-large" in encoder_rows()
    True
    """
    own = {**BUILTIN, **HUB}
    return {**own, **{n: row for n, row in plugin_rows().items() if n not in own}}


def weights_sources() -> dict[str, WeightsSource | FileSource]:
    """Where the weights come from of each encoder that has some to fetch and convert."""
    return {
        name: row.source
        for name, row in encoder_rows().items()
        if isinstance(row.source, WeightsSource | FileSource)
    }


def hub_sources() -> dict[str, HubSource]:
    """Where each encoder of the hub comes from."""
    return {n: row.source for n, row in encoder_rows().items() if isinstance(row.source, HubSource)}
