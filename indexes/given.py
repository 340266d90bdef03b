"""Maps whose coordinates somebody brings: made by another tool, or places where clips were recorded."""

import math
import re
from pathlib import Path

import numpy as np
import numpy.typing as npt

from usad_workbench.core.cosine import normalise
from usad_workbench.core.errors import ConfigError
from usad_workbench.core.progress import Progress, no_progress
from usad_workbench.core.storage.projection_tables import MapQuality, replace_map
from usad_workbench.core.storage.table_file import read_table, require_columns
from usad_workbench.core.storage.vector_reading import rows_of
from usad_workbench.core.storage.workspace import FloatArray, Workspace
from usad_workbench.indexes.faithfulness import judge_map
from usad_workbench.indexes.projection import CHANGED, METHODS, ProjectionReport, report_of

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")
GIVEN = "given"


def give_map(
    workspace: Workspace,
    file: str | Path,
    encoder: str,
    layer: int,
    *,
    pooling: str = "mean",
    name: str = GIVEN,
    progress: Progress = no_progress,
) -> ProjectionReport:
    """Stores coordinates as a map of a space, and how faithful they are to it.

    Args:
        workspace: Holds the space.
        file: CSV, Parquet or JSON lines with ``x``, ``y``, and ``segment_id`` or ``clip_id``;
            a clip's coordinates are those of all its segments. What the space does not hold is
            left out.
        encoder: Name of the encoder.
        layer: Negative counts from the end.
        pooling: ``mean`` or ``native``.
        name: What the map is called, beside ``umap`` and ``pca``.
        progress: Called while it is judged.

    Raises:
        ConfigError: a name that is taken or no word, a missing column, a coordinate that is no
            number, or none of a segment of the space.
        UnknownNameError: a space that is not there.
    """
    if name in METHODS or not NAME.fullmatch(name):
        raise ConfigError(
            f"Found the name {name[:60]!r}, expected a word of letters, digits, _ and - that is "
            f"neither {' nor '.join(METHODS)}."
        )
    stored = workspace.embeddings(encoder, layer, pooling)
    ids, points = _read(workspace, file, stored.segment_ids)
    unit = normalise(stored.vectors[rows_of(stored.segment_ids, ids)])
    judged = judge_map(unit, points, progress=progress)
    quality = MapQuality(
        encoder=encoder,
        layer=stored.space.layer,
        pooling=pooling,
        method=name,
        n=len(ids),
        trustworthiness=math.nan if judged is None else judged.trustworthiness.value,
        n_judged=0 if judged is None else judged.n_judged,
        seconds=0.0,
        settings=None,
    )
    is_new = replace_map(workspace, quality, stored.space, ids, points)
    return report_of(quality, is_new=is_new, reason="" if is_new else CHANGED)


def _read(
    workspace: Workspace, file: str | Path, held: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], FloatArray]:
    """The segments of the space that have coordinates, ascending, and their places [segment, 2]."""
    table = read_table(file)
    key = "segment_id" if "segment_id" in table.columns else "clip_id"
    require_columns(table, (key, "x", "y"))
    for i, fault in table.faults.items():
        raise ConfigError(f"{file}, row {i + 1}: {fault}")
    keys = [str(value) for value in table.cells[key].to_pylist()]
    places = np.array([_numbers(table.cells[axis].to_pylist(), axis, file) for axis in "xy"])
    of_key = dict(zip(keys, places.T.tolist(), strict=True))
    segments = workspace.read("SELECT segment_id, clip_id FROM segments ORDER BY segment_id")
    segments = segments[segments.segment_id.isin(held)]
    is_given = segments[key].astype(str).isin(of_key)
    chosen = segments[is_given]
    if chosen.empty:
        raise ConfigError(
            f"{file}: none of its {len(of_key):,} values of {key} is of a segment of this space. "
            "Compare them with `SELECT segment_id, clip_id FROM segments`."
        )
    points = np.array([of_key[str(value)] for value in chosen[key]], dtype=np.float32)
    return chosen["segment_id"].to_numpy(np.int64), points


def _numbers(values: list[object], axis: str, file: str | Path) -> list[float]:
    """Coordinates as numbers.

    Raises:
        ConfigError: one that is none.
    """
    found = []
    for i, value in enumerate(values, start=1):
        try:
            number = float(str(value))
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise ConfigError(f"{file}, row {i}: found {axis} = {value!r}, expected a number.")
        found.append(number)
    return found
