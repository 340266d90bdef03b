"""``Workspace``: the folder of one collection, opened for reading and writing.

Reading needs nothing but this class. What writes is beside it: ``importing`` adds
clips, ``spaces`` adds vectors.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from usad_workbench.core.errors import ShapeError, StoreError, UnknownNameError, UsadError
from usad_workbench.core.names import did_you_mean
from usad_workbench.core.storage.database import Database
from usad_workbench.core.storage.schema import EMPTY_EMBEDDINGS, SCHEMA_VERSION, TABLES
from usad_workbench.core.storage.segments import Segmentation

FILE_NAME = "workspace.duckdb"
FloatArray = npt.NDArray[np.float32]


class QueryError(UsadError, ValueError):
    """SQL that the database does not take."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Embeddings:
    """Vectors of one space, row i belongs to segment i."""

    segment_ids: npt.NDArray[np.int64]
    """Shape [segment], ascending."""
    clip_ids: npt.NDArray[np.object_]
    """Shape [segment]."""
    vectors: FloatArray
    """Shape [segment, dim]."""

    def __len__(self) -> int:
        return len(self.vectors)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SearchHits:
    """Nearest segments of one query, best first. ``scores`` are cosines: higher is nearer."""

    segment_ids: npt.NDArray[np.int64]
    scores: FloatArray


class Workspace:
    """One folder that holds everything about one collection.

    >>> import tempfile
    >>> workspace = Workspace.create(tempfile.mkdtemp())
    >>> int(workspace.sql("SELECT count(*) AS n FROM clips").n[0])
    0
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).resolve()
        self.database = Database(self.folder / FILE_NAME)

    def __reduce__(self) -> tuple[type["Workspace"], tuple[Path]]:
        """What other processes are sent: the folder; locks are each process's own."""
        return Workspace, (self.folder,)

    @staticmethod
    def open(folder: str | Path) -> "Workspace":
        """Opens an existing workspace.

        Raises:
            StoreError: no workspace there, or one of another version.
        """
        workspace = Workspace(folder)
        if not workspace.database.path.is_file():
            raise StoreError(
                f"{folder} has no {FILE_NAME}. Expected a workspace folder. Make one with "
                "`usad import SOURCE --workspace DIR`, or run `usad demo`."
            )
        found = workspace.meta("schema_version")
        if found != str(SCHEMA_VERSION):
            raise StoreError(
                f"{folder} was written with schema {found}, this version reads {SCHEMA_VERSION}. "
                "Make the workspace again, or install the version that wrote it."
            )
        return workspace

    @staticmethod
    def create(folder: str | Path, segmentation: Segmentation | None = None) -> "Workspace":
        """Opens a workspace, made if it is not there yet."""
        workspace = Workspace(folder)
        if workspace.database.path.is_file():
            return Workspace.open(folder)
        workspace.folder.mkdir(parents=True, exist_ok=True)
        segmentation = segmentation or Segmentation()
        with workspace.database.write() as connection:
            for table, columns in TABLES.items():
                connection.execute(f"CREATE TABLE IF NOT EXISTS {table} ({columns})")
            connection.execute(f"CREATE OR REPLACE VIEW embeddings AS {EMPTY_EMBEDDINGS}")
            values = {
                "schema_version": str(SCHEMA_VERSION),
                "segmentation": json.dumps([segmentation.window_s, segmentation.hop_s]),
            }
            for key, value in values.items():
                connection.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", [key, value])
        return workspace

    def meta(self, key: str) -> str | None:
        """A value of the table ``meta``."""
        try:
            with self.database.read() as connection:
                row = connection.execute("SELECT value FROM meta WHERE key = ?", [key]).fetchone()
        except duckdb.CatalogException as error:
            raise StoreError(
                f"{self.database.path} is a DuckDB file without the tables of a workspace. "
                "Expected one made by `usad import` or `usad demo`."
            ) from error
        return None if row is None else str(row[0])

    @property
    def segmentation(self) -> Segmentation:
        """The window and hop that clips are cut into."""
        return parse_segmentation(self.meta("segmentation"))

    def sql(self, query: str, parameters: Sequence[Any] = ()) -> pd.DataFrame:
        """The result of a query that somebody wrote; it can reach this workspace alone.

        Raises:
            QueryError: SQL that DuckDB does not take; nothing was changed.
        """
        return self.read(query, parameters)

    def read(self, query: str, parameters: Sequence[Any] = ()) -> pd.DataFrame:
        """The result of a query of this package's own: what people write goes to ``sql``.

        The text is a constant of the program, whatever comes from outside is a parameter.

        Raises:
            QueryError: SQL that DuckDB does not take; nothing was changed.
        """
        try:
            with self.database.read() as connection:
                return connection.execute(query, list(parameters)).df()
        except duckdb.Error as error:
            raise QueryError(
                f"The query was not understood: {error} Expected read-only DuckDB SQL over the "
                "tables of the workspace."
            ) from error

    def clips(self, where: str | None = None) -> pd.DataFrame:
        """Clips with all their columns, in the order of their ids."""
        return self.read(f"SELECT * FROM clips {_where(where)} ORDER BY clip_id")

    def audio_path(self, path: str) -> Path:
        """The file behind a clip's ``path``, which is relative where it lies in the folder."""
        return self.folder / path

    def spaces(self) -> pd.DataFrame:
        """Spaces that hold vectors: encoder, layer, pooling, n and their provenance."""
        return self.read("SELECT * FROM spaces ORDER BY encoder, pooling, layer")

    def encoders(self) -> pd.DataFrame:
        """Encoders of the workspace with what their specs say; ``n_params`` NaN where unknown."""
        return self.read(
            "SELECT * REPLACE (n_params::DOUBLE AS n_params) FROM encoders ORDER BY role, encoder"
        )

    def space_id(self, encoder: str, layer: int, pooling: str = "mean") -> int:
        """The id of a space; a negative layer counts from the end.

        Raises:
            UnknownNameError: no such space; the message names those that are there.
        """
        spaces = self.spaces()
        mine = spaces[(spaces.encoder == encoder) & (spaces.pooling == pooling)]
        if mine.empty:
            raise UnknownNameError(
                f"The workspace has no embeddings of {encoder!r} with pooling {pooling!r}. "
                f"{did_you_mean(encoder, set(spaces.encoder))} "
                f"`usad embed --encoders {encoder}` makes them."
            )
        depth = self.read("SELECT n_layers FROM encoders WHERE encoder = ?", [encoder]).n_layers[0]
        resolved = layer + int(depth) + 1 if layer < 0 else layer
        found = mine[mine.layer == resolved]
        if found.empty:
            raise UnknownNameError(
                f"The workspace has no layer {layer} of {encoder!r}, expected one of "
                f"{sorted(mine.layer.tolist())}. Embed it with `usad embed --layers`."
            )
        return int(found.space_id.iloc[0])

    def embeddings(
        self, encoder: str, layer: int, pooling: str = "mean", where: str | None = None
    ) -> Embeddings:
        """Vectors of one space with their segment and clip ids.

        Args:
            encoder: Name of the encoder.
            layer: 0 enters the first block, negative counts from the end.
            pooling: ``mean`` or ``native``.
            where: SQL condition on the columns of ``clips``.

        Raises:
            UnknownNameError: no such space.
            QueryError: a condition that is not SQL.
        """
        space_id = self.space_id(encoder, layer, pooling)
        query = (
            "SELECT v.segment_id, s.clip_id, v.vector "
            f"FROM vectors_{space_id} v JOIN segments s USING (segment_id) "
            f"WHERE s.clip_id IN (SELECT clip_id FROM clips {_where(where)}) "
            "ORDER BY v.segment_id"
        )
        try:
            with self.database.read() as connection:
                table = connection.sql(query).to_arrow_table()
        except duckdb.Error as error:
            raise QueryError(
                f"The condition was not understood: {error} Expected an SQL condition on the "
                "columns of `clips`, such as domain = 'speech'."
            ) from error
        return Embeddings(
            segment_ids=table["segment_id"].to_numpy(),
            clip_ids=table["clip_id"].to_numpy(zero_copy_only=False),
            vectors=matrix_of(table["vector"]),
        )

    def search(
        self,
        vector: FloatArray,
        encoder: str,
        layer: int,
        k: int = 10,
        where: str | None = None,
    ) -> SearchHits:
        """The k nearest segments by cosine, compared with every vector.

        ``usad_workbench.indexes`` finds the same through FAISS, without reading them all.

        Raises:
            ShapeError: a query of another width.
        """
        stored = self.embeddings(encoder, layer, where=where)
        query = np.asarray(vector, dtype=np.float32).reshape(-1)
        if len(stored) and query.shape[0] != stored.vectors.shape[1]:
            raise ShapeError(
                f"The query has {query.shape[0]} values, vectors of {encoder} layer {layer} have "
                f"{stored.vectors.shape[1]}. Embed the query with that encoder and layer."
            )
        scores = normalise(stored.vectors) @ normalise(query[None])[0]
        best = np.argsort(-scores, kind="stable")[:k]
        return SearchHits(segment_ids=stored.segment_ids[best], scores=scores[best])


def parse_segmentation(value: str | None) -> Segmentation:
    """The segmentation that ``meta`` holds as JSON."""
    window_s, hop_s = json.loads(value or "[10.0, 10.0]")
    return Segmentation(window_s=window_s, hop_s=hop_s)


def normalise(vectors: FloatArray) -> FloatArray:
    """Rows at length one; a zero row stays zero, so that its cosine with anything is 0.

    >>> normalise(np.array([[3.0, 4.0], [0.0, 0.0]], dtype=np.float32)).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    unit: FloatArray = (vectors / np.where(norms > 0, norms, 1.0)).astype(np.float32)
    return unit


def matrix_of(column: pa.ChunkedArray) -> FloatArray:
    """An Arrow column of fixed-width lists as [row, dim] float32."""
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # no rows: no chunk to combine
        array = pa.array([], type=column.type)
    values: FloatArray = array.flatten().to_numpy(zero_copy_only=False)
    return values.reshape(len(array), column.type.list_size)


def _where(condition: str | None) -> str:
    return f"WHERE ({condition})" if condition else ""
