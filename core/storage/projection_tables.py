"""Maps of spaces: the tables ``projections`` and ``projection_quality``."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from usad_workbench.core.storage.row_types import BigInt
from usad_workbench.core.storage.rows import Key, read_rows, write_rows
from usad_workbench.core.storage.workspace import FloatArray, Space, Workspace


@dataclass(frozen=True, kw_only=True, slots=True)
class MapQuality:
    """How faithful a map is: a row of ``projection_quality``."""

    encoder: str
    layer: int
    pooling: str
    method: str
    n: BigInt
    """Points of the map."""
    trustworthiness: float
    """1 where every neighbour on the map is one in the space; NaN where it has no meaning."""
    n_judged: BigInt
    """Points that it was measured on."""
    seconds: float
    """How long the map took."""
    settings: str | None = None
    """JSON: how the map was made, of which vectors (``vectors_digest``), how faithful it is."""


def stored_map(
    workspace: Workspace, *, encoder: str, layer: int, pooling: str, method: str
) -> MapQuality | None:
    """The quality of the map of a space, where there is one."""
    key: Key = {"encoder": encoder, "layer": layer, "pooling": pooling, "method": method}
    maps = read_rows(workspace, MapQuality, "projection_quality", key=key)
    return maps[0] if maps else None


def replace_map(
    workspace: Workspace,
    quality: MapQuality,
    space: Space,
    segment_ids: npt.NDArray[np.int64],
    points: FloatArray,
    *,
    replaces: tuple[str, ...] = (),
) -> bool:
    """Writes the map of a space in the place of the one of the same method.

    Args:
        workspace: Where to.
        quality: Names the space and the method.
        space: What the map was made of.
        segment_ids: Shape [point].
        points: Shape [point, 2].
        replaces: Other methods whose maps of this space go too.

    Returns:
        Whether it was written: it is not where the vectors of the space have changed meanwhile.
    """
    key: Key = {"encoder": quality.encoder, "layer": quality.layer, "pooling": quality.pooling}
    points_table = pa.table({"segment_id": segment_ids, "x": points[:, 0], "y": points[:, 1]})
    with workspace.database.write() as connection:
        now = connection.execute(
            "SELECT digest FROM spaces WHERE space_id = ?", [space.space_id]
        ).fetchone()
        if now is None or now[0] != space.digest:
            return False
        for method in {quality.method, *replaces}:
            for table in ("projections", "projection_quality"):
                connection.execute(
                    f"DELETE FROM {table} WHERE encoder = ? AND layer = ? AND pooling = ? "
                    "AND method = ?",
                    [*key.values(), method],
                )
        connection.register("points", points_table)
        connection.execute(
            "INSERT INTO projections SELECT ?, ?, ?, ?, segment_id, x, y FROM points",
            [*key.values(), quality.method],
        )
        connection.unregister("points")
        write_rows(
            connection,
            "projection_quality",
            MapQuality,
            [quality],
            key={**key, "method": quality.method},
        )
    return True
