"""The log of a run for TensorBoard, beside the JSON lines, which stay the reference."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from usad_workbench.core.errors import MissingExtraError

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter

FOLDER = "tensorboard"


def check_tensorboard() -> None:
    """Nothing where the package is installed.

    Raises:
        MissingExtraError: it is not.
    """
    _summary_writer()


class TensorBoardWriter:
    """Writes rows of the log as scalars, one per key, at the row's step."""

    def __init__(self, run_dir: Path, resume_step: int = 0) -> None:
        """Begins a file of events that takes back what earlier ones have behind a step.

        Raises:
            MissingExtraError: the package tensorboard is not installed.
        """
        first = resume_step + 1 if resume_step else 0
        self._writer = _summary_writer()(str(run_dir / FOLDER), purge_step=first)

    def write(self, row: Mapping[str, float]) -> None:
        """Writes a row, to the disk before it returns: a killed run loses no written step."""
        step = int(row["step"])
        for name, value in row.items():
            if name != "step" and math.isfinite(value):
                self._writer.add_scalar(name, value, step)
        self._writer.flush()


def _summary_writer() -> "type[SummaryWriter]":
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError as error:
        raise MissingExtraError(
            "run.tensorboard = true needs the package tensorboard, which is not installed. "
            "Install it with `pip install 'usad-workbench[tensorboard]'`, or set it to false."
        ) from error
    return SummaryWriter
