"""What an evaluation leaves: the tables ``probes`` and ``predictions``."""

import pandas as pd
import pyarrow as pa

from usad_workbench.core.storage.rows import replace_matching
from usad_workbench.core.storage.workspace import Workspace

SAME = ("encoder", "task", "protocol")
"""Columns in which a new result agrees with the one that it replaces."""


def replace_probes(workspace: Workspace, rows: pd.DataFrame) -> None:
    """Writes scores in the place of those of the same systems, tasks and protocols.

    Args:
        workspace: Where to.
        rows: Columns of ``probes``; NaN becomes NULL.
    """
    with workspace.database.write() as connection:
        table = pa.Table.from_pandas(rows, preserve_index=False)
        replace_matching(connection, "probes", table, by=SAME)


def replace_predictions(workspace: Workspace, rows: pa.Table) -> None:
    """Writes predictions in the place of those of the same systems, tasks and protocols.

    Args:
        workspace: Where to.
        rows: Columns of ``predictions``, one row for each seed and clip.
    """
    with workspace.database.write() as connection:
        replace_matching(connection, "predictions", rows, by=SAME)
