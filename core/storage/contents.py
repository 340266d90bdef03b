"""What a workspace holds: encoders that have vectors, their layers, its tables.

``Workspace.embedded``, ``.layers`` and ``.has_table`` ask here, and so do pages, which read
through a cache of their own.
"""

from collections.abc import Callable

import pandas as pd

Read = Callable[..., pd.DataFrame]
"""Answers a query with its parameters, as ``Workspace.read`` does."""


def embedded_encoders(read: Read, pooling: str | None = "mean") -> list[str]:
    """The encoders that have vectors, by name.

    Args:
        read: Of the workspace.
        pooling: How frames became vectors; in any way where none.
    """
    rows = read(
        "SELECT DISTINCT encoder FROM spaces WHERE n > 0 AND (pooling = $1 OR $1 IS NULL) "
        "ORDER BY encoder",
        [pooling],
    )
    return [str(encoder) for encoder in rows["encoder"]]


def embedded_layers(read: Read, encoder: str, pooling: str = "mean") -> list[int]:
    """The layers of an encoder that have vectors, ascending; none of an encoder without.

    Args:
        read: Of the workspace.
        encoder: Its name.
        pooling: How frames became vectors.
    """
    rows = read(
        "SELECT layer FROM spaces WHERE encoder = ? AND pooling = ? AND n > 0 ORDER BY layer",
        [encoder, pooling],
    )
    return [int(layer) for layer in rows["layer"]]


def has_table(read: Read, name: str) -> bool:
    """Whether there is a table or view of this name."""
    return name in table_names(read, name)


def table_names(read: Read, prefix: str = "") -> list[str]:
    """The tables and views whose names begin with a prefix, by name."""
    rows = read(
        "SELECT DISTINCT table_name FROM information_schema.tables "
        "WHERE starts_with(table_name, ?) AND table_schema = 'main' ORDER BY table_name",
        [prefix],
    )
    return [str(name) for name in rows["table_name"]]
