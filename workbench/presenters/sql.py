"""What presenters read through: anything that answers a query with a data frame.

``Workspace.read`` is one; the app hands in a cached one that is keyed by the state of
the workspace's file.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import pandas as pd


class Sql(Protocol):
    """Answers a read-only query."""

    def __call__(self, query: str, parameters: Sequence[Any] = ()) -> pd.DataFrame:
        """The rows of the result."""
        ...
