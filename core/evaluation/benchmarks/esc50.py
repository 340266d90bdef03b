"""ESC-50 (Piczak 2015) as its repository has it: ``meta/esc50.csv`` and ``audio/*.wav``."""

from pathlib import Path

import pandas as pd

from usad_workbench.core.evaluation.benchmarks.published import ESC50_FINE_TUNED, HEAR_FROZEN
from usad_workbench.core.evaluation.benchmarks.task import (
    BenchmarkError,
    BenchmarkTask,
    Item,
    require,
    require_files,
    rotating_splits,
)

COLUMNS = ("filename", "fold", "category", "src_file")


def read_esc50(folder: Path) -> list[BenchmarkTask]:
    """The task with its five official folds; clips of one source recording share a fold.

    Args:
        folder: What the data set's repository unpacks to.

    Raises:
        BenchmarkError: no ``meta/esc50.csv``, a column or audio file that is missing.
    """
    table = pd.read_csv(
        require(folder / "meta" / "esc50.csv", "the list of clips of ESC-50"), dtype=str
    )
    missing = [name for name in COLUMNS if name not in table]
    if missing:
        raise BenchmarkError(
            f"{folder / 'meta' / 'esc50.csv'} has no column {', '.join(missing)}, expected "
            f"{', '.join(COLUMNS)}. Take the file of the official release."
        )
    items = [
        Item(
            path=folder / "audio" / row.filename,
            labels=(row.category,),
            part=row.fold,
            cluster=row.src_file,
        )
        for row in table.itertuples()
    ]
    require_files("esc50", items)
    return [
        BenchmarkTask(
            name="esc50",
            items=tuple(items),
            splits=rotating_splits(table.fold.tolist()),
            metric="accuracy",
            fine_tunes=True,
            published={"frozen": HEAR_FROZEN["esc50"], "fine-tuned": ESC50_FINE_TUNED},
        )
    ]
