"""Encoders of other installed packages: entry points of the group ``usad_workbench.encoders``.

Each names an ``EncoderRow``, or a function without arguments that gives a list of them. In
the ``pyproject.toml`` of such a package::

    [project.entry-points."usad_workbench.encoders"]
    my_encoder = "my_package.rows:ROWS_FUNCTION"

A row with a ``WeightsSource`` or a ``FileSource`` is listed, fetched (``usad encoders get``) and
loaded as the rows of this package are; its loader reads the tensors with ``weights.load_weights``.
"""

from __future__ import annotations

import logging
from functools import cache
from importlib.metadata import entry_points

from usad_workbench.core.encoders.row import EncoderRow

GROUP = "usad_workbench.encoders"
_log = logging.getLogger(__name__)


_reading: list[str] = []
"""The plugin that is being read."""


def plugin_rows() -> dict[str, EncoderRow]:
    """The rows of all plugins by encoder name; none while a plugin asks for its own.

    A plugin that cannot be read is left out with a warning: it must not take the
    encoders that work with it.
    """
    return {} if _reading else read_plugins()


@cache
def read_plugins() -> dict[str, EncoderRow]:
    """What ``plugin_rows`` gives, read once."""
    rows: dict[str, EncoderRow] = {}
    for point in entry_points(group=GROUP):
        _reading.append(point.name)
        try:
            entry = point.load()
            listed = [entry] if isinstance(entry, EncoderRow) else list(entry())
        except Exception as error:  # noqa: BLE001 - code of others may raise anything
            _log.warning("The plugin %s (%s) cannot be read: %s", point.name, point.value, error)
            continue
        finally:
            _reading.pop()
        for row in listed:
            if isinstance(row, EncoderRow):
                rows.setdefault(row.spec.name, row)
            else:
                _log.warning(
                    "The plugin %s gives %r, expected rows of type EncoderRow.", point.name, row
                )
    return rows
