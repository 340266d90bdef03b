"""Connections to DuckDB that print nothing.

In an interactive Python DuckDB draws a progress bar on standard output, where the results of
commands go. It can be switched off on an open connection only, not by ``config``.
"""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb

LOCK = "lock_configuration"
_one_at_a_time = threading.Lock()
"""Connections to one file share a database. DuckDB hands it to the second thread before the first
has given it its functions: "python_arrow_scan does not exist"."""


def connect(
    path: str | Path = ":memory:",
    *,
    read_only: bool = False,
    config: Mapping[str, Any] | None = None,
) -> duckdb.DuckDBPyConnection:
    """A connection to DuckDB without progress bar; every one of this package is made here.

    Args:
        path: Of the file; in memory without.
        read_only: Nothing can be written to the file.
        config: DuckDB's settings.

    Raises:
        duckdb.Error: a file that cannot be opened, or settings that DuckDB does not know.

    >>> connect().execute("SELECT current_setting('enable_progress_bar')").fetchall()
    [(False,)]
    """
    settings = dict(config or {})
    is_locked = settings.pop(LOCK, False)
    with _one_at_a_time:
        connection = duckdb.connect(str(path), read_only=read_only, config=settings)
    try:
        connection.execute("SET enable_progress_bar = false")
        if is_locked:  # last: nothing can be set then
            connection.execute(f"SET {LOCK} = true")
    except BaseException:
        connection.close()
        raise
    return connection
