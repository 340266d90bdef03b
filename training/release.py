"""A finished run as a folder to pass on: weights, recipes, loss curves.

``core/models/shipped`` is such a folder; its model card is written by hand.
"""

import csv
import shutil
from collections.abc import Sequence
from pathlib import Path

from usad_workbench.core.errors import CheckpointError
from usad_workbench.core.files import written_at_once
from usad_workbench.core.models.checkpoint import CONFIG_FILE, MODEL_FILE, read_student_folder
from usad_workbench.training.run_folder import RECIPE_FILE, STUDENT_FOLDER
from usad_workbench.training.runlog import read_log

CURVE_FILE = "log.csv"


def ship(
    run_dir: str | Path,
    folder: str | Path,
    n_rows: int = 150,
    *,
    earlier: Sequence[str | Path] = (),
) -> list[Path]:
    """Copies what a run leaves to a folder; the files that it wrote.

    Args:
        run_dir: A finished run.
        folder: Where to; other files in it stay.
        n_rows: The log is thinned to at most this many rows, each the mean of its part.
        earlier: The runs of the stages before, the first one first: their recipes and
            curves go beside, as ``stage-1.recipe.toml``, ``stage-1.log.csv``.

    Raises:
        CheckpointError: the run is not finished.
    """
    run_dir, folder = Path(run_dir), Path(folder)
    student = run_dir / STUDENT_FOLDER
    if not (student / CONFIG_FILE).is_file():
        raise CheckpointError(
            f"{run_dir} has no {STUDENT_FOLDER} folder: the run is not finished. Go on with "
            "`usad train … --resume`."
        )
    read_student_folder(student)
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / MODEL_FILE, folder / CONFIG_FILE]
    for path in written:
        _copy(student / path.name, path)
    stages = [(f"stage-{n}.", Path(run)) for n, run in enumerate(earlier, start=1)]
    for prefix, run in [*stages, ("", run_dir)]:
        recipe, curve = folder / f"{prefix}{RECIPE_FILE}", folder / f"{prefix}{CURVE_FILE}"
        _copy(run / RECIPE_FILE, recipe)
        _write_curve(run, curve, n_rows)
        written += [recipe, curve]
    return written


def _copy(source: Path, path: Path) -> None:
    with written_at_once(path) as partial:
        shutil.copyfile(source, partial)


def _write_curve(run_dir: Path, path: Path, n_rows: int) -> None:
    log = read_log(run_dir)
    rows = thin([row for row in log if "loss" in row], n_rows)
    rows += [row for row in log if "loss" not in row]  # evaluations, few and no means
    rows.sort(key=lambda row: row["step"])
    names = list(dict.fromkeys(name for row in rows for name in row))
    with written_at_once(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, restval="", lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({name: f"{value:.6g}" for name, value in row.items()})


def thin(rows: list[dict[str, float]], n_rows: int) -> list[dict[str, float]]:
    """At most this many rows: means of neighbours, at the last one's step and times.

    >>> thin([{"step": 1, "loss": 4.0}, {"step": 2, "loss": 2.0}, {"step": 3, "loss": 1.0}], 2)
    [{'step': 2, 'loss': 3.0}, {'step': 3, 'loss': 1.0}]
    """
    size = -(-len(rows) // n_rows)
    thinned = []
    for start in range(0, len(rows), size):
        part = rows[start : start + size]
        names = dict.fromkeys(name for row in part for name in row)
        columns = {name: [row[name] for row in part if name in row] for name in names}
        counters = {
            name: part[-1][name]
            for name in ("step", "audio_s", "wall_s", "n_unreadable", "n_left_out")
            if name in part[-1]
        }
        thinned.append({n: sum(values) / len(values) for n, values in columns.items()} | counters)
    return thinned
