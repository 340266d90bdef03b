"""Vectors into a workspace, with the provenance that keeps wrong comparisons out.

All layers of a batch are one transaction: either every layer of a segment is there or
none, so a run that was killed goes on exactly where it stopped.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt

from usad_workbench.core.errors import ProvenanceError, ShapeError
from usad_workbench.core.models.spec import EncoderSpec
from usad_workbench.core.storage import vector_tables
from usad_workbench.core.storage.schema import NEXT_SPACE, embeddings_view
from usad_workbench.core.storage.workspace import (
    FloatArray,
    Workspace,
    parse_segmentation,
)

CODE_VERSION = "1"
"""Raised when the same weights and audio would give other vectors than before."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EncoderRecord:
    """An encoder as the workspace knows it."""

    spec: EncoderSpec
    weights_sha256: str


def register_encoder(workspace: Workspace, record: EncoderRecord) -> None:
    """Notes an encoder, or checks that it is the one that is already there.

    Raises:
        ProvenanceError: the workspace holds vectors of other weights or another code
            version under this name.
    """
    spec = record.spec
    with workspace.database.write() as connection:
        stored = connection.execute(
            "SELECT weights_sha256, code_version FROM spaces WHERE encoder = ? LIMIT 1",
            [spec.name],
        ).fetchone()
        if stored is not None and stored != (record.weights_sha256, CODE_VERSION):
            raise ProvenanceError(
                f"The workspace holds vectors of {spec.name!r} made with weights "
                f"{stored[0][:12]} and code version {stored[1]}; now it has weights "
                f"{record.weights_sha256[:12]} and code version {CODE_VERSION}. Vectors of the "
                "two must not be mixed: embed or import with --replace, or use another workspace."
            )
        connection.execute(
            "INSERT OR REPLACE INTO encoders VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                spec.name,
                spec.role,
                spec.domain,
                spec.n_layers,
                list(spec.dims),
                list(spec.frame_rates_hz),
                spec.sample_rate_hz,
                record.weights_sha256,
                spec.licence,
                spec.n_params,
                list(spec.layer_names),
                spec.citation,
            ],
        )


def drop_encoder(workspace: Workspace, encoder: str) -> None:
    """Removes an encoder and everything that was computed from its vectors."""
    with workspace.database.write() as connection:
        ids = [
            row[0]
            for row in connection.execute(
                "SELECT space_id FROM spaces WHERE encoder = ?", [encoder]
            ).fetchall()
        ]
        connection.execute("DELETE FROM spaces WHERE encoder = ?", [encoder])
        _refresh_view(connection)
        for space_id in ids:
            connection.execute(f"DROP TABLE vectors_{space_id}")
        files = connection.execute(
            "DELETE FROM indexes WHERE list_contains(?, space_id) RETURNING file", [ids]
        ).fetchall()
        for table in ("encoders", "projections", "projection_quality", "probes"):
            connection.execute(f"DELETE FROM {table} WHERE encoder = ?", [encoder])
        for table in ("teacher_similarity", "clip_teacher_similarity", "nearest_teachers"):
            connection.execute(
                f"DELETE FROM {table} WHERE student = $name OR teacher = $name", {"name": encoder}
            )
    for (file,) in files:
        (workspace.folder / "indexes" / Path(file).name).unlink(missing_ok=True)


def pending_segments(
    workspace: Workspace, encoder: str, layers: Sequence[int], pooling: str
) -> tuple[list[tuple[int, str, float, float]], int]:
    """Segments with audio that miss one of the layers, and how many there are in all.

    Returns:
        Rows of (segment_id, path, start_s, end_s), shortest first, and the total.
    """
    with workspace.database.read() as connection:
        total = connection.execute(
            "SELECT count(*) FROM segments JOIN clips USING (clip_id) WHERE path <> ''"
        ).fetchone()
        ids = dict(
            connection.execute(
                "SELECT layer, space_id FROM spaces WHERE encoder = ? AND pooling = ?",
                [encoder, pooling],
            ).fetchall()
        )
        done = " AND ".join(
            f"s.segment_id IN (SELECT segment_id FROM vectors_{ids[layer]})"
            if layer in ids
            else "false"
            for layer in layers
        )
        rows = connection.execute(
            "SELECT s.segment_id, c.path, s.start_s, s.end_s FROM segments s "
            f"JOIN clips c USING (clip_id) WHERE c.path <> '' AND NOT ({done}) "
            "ORDER BY s.end_s - s.start_s, s.segment_id"
        ).fetchall()
    return rows, int(total[0]) if total else 0


def append_vectors(
    workspace: Workspace,
    record: EncoderRecord,
    pooling: str,
    segment_ids: npt.NDArray[np.int64],
    vectors: Mapping[int, FloatArray],
) -> None:
    """Adds the vectors of some segments in several layers, as one transaction.

    Segments that a layer already has are left as they are.

    Args:
        workspace: Where to.
        record: Whose vectors; registered before.
        pooling: How frames became vectors.
        segment_ids: Shape [segment].
        vectors: Per layer an array [segment, dim].

    Raises:
        ShapeError: rows or width that do not fit; nothing is stored.
        ProvenanceError: vectors that are not finite.
    """
    for layer, values in vectors.items():
        expected = (len(segment_ids), values.shape[-1] if values.ndim == 2 else -1)
        if values.shape != expected or len(segment_ids) == 0:
            raise ShapeError(
                f"Layer {layer} of {record.spec.name}: found vectors of shape {values.shape} for "
                f"{len(segment_ids)} segments, expected one row per segment."
            )
        if not np.isfinite(values).all():
            raise ProvenanceError(
                f"Layer {layer} of {record.spec.name} gave values that are not finite. Nothing "
                "of this batch was stored."
            )
    with workspace.database.write() as connection:
        # fetchall: a result that is not read to its end bars register() on the connection.
        before = connection.execute("SELECT count(*) FROM spaces").fetchall()
        ids = {
            layer: _space(connection, record, pooling, layer, values.shape[1])
            for layer, values in vectors.items()
        }
        if connection.execute("SELECT count(*) FROM spaces").fetchall() != before:
            _refresh_view(connection)
        for layer, values in vectors.items():
            _append(connection, ids[layer], segment_ids, values)


def _append(
    connection: duckdb.DuckDBPyConnection,
    space_id: int,
    segment_ids: npt.NDArray[np.int64],
    values: FloatArray,
) -> None:
    n, digest = vector_tables.append(connection, space_id, segment_ids, values)
    ((stored,),) = connection.execute(
        "SELECT digest FROM spaces WHERE space_id = ?", [space_id]
    ).fetchall()
    connection.execute(
        "UPDATE spaces SET n = n + ?, digest = ? WHERE space_id = ?",
        [n, vector_tables.together(stored, digest), space_id],
    )


def _space(
    connection: duckdb.DuckDBPyConnection,
    record: EncoderRecord,
    pooling: str,
    layer: int,
    dim: int,
) -> int:
    """The id of a space, made with its table if it is new."""
    spec = record.spec
    row = connection.execute(
        "SELECT space_id, dim FROM spaces WHERE encoder = ? AND layer = ? AND pooling = ?",
        [spec.name, layer, pooling],
    ).fetchone()
    if row is not None:
        if row[1] != dim:
            raise ShapeError(
                f"Layer {layer} of {spec.name} has vectors of {row[1]} values, found {dim}."
            )
        return int(row[0])
    space_id = _next_id(connection)
    window = connection.execute("SELECT value FROM meta WHERE key = 'segmentation'").fetchone()
    segmentation = parse_segmentation(window[0] if window else None)
    connection.execute(
        "INSERT INTO spaces VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?)",
        [
            space_id,
            spec.name,
            layer,
            pooling,
            segmentation.name,
            segmentation.window_s,
            segmentation.hop_s,
            spec.sample_rate_hz,
            dim,
            record.weights_sha256,
            CODE_VERSION,
            vector_tables.EMPTY_DIGEST,
        ],
    )
    vector_tables.create(connection, space_id, dim)
    return space_id


def _next_id(connection: duckdb.DuckDBPyConnection) -> int:
    """A number that no space has or had."""
    (value,) = connection.execute(
        "UPDATE meta SET value = (value::INTEGER + 1)::VARCHAR WHERE key = ? RETURNING value",
        [NEXT_SPACE],
    ).fetchall()[0]
    return int(value) - 1


def _refresh_view(connection: duckdb.DuckDBPyConnection) -> None:
    spaces = connection.execute(
        "SELECT space_id, encoder, layer, pooling FROM spaces ORDER BY space_id"
    ).fetchall()
    connection.execute(embeddings_view(spaces))
