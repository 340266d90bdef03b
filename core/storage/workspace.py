"""``Workspace``: the folder of one collection, opened for reading and writing.

Reading needs nothing but this class. What writes is beside it: ``importing`` adds
clips, ``spaces`` adds vectors.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from usad_workbench.core.errors import (
    ConfigError,
    QueryError,
    StoreError,
    UnknownNameError,
    did_you_mean,
    wrap_errors,
)
from usad_workbench.core.metrics import (
    BLOCK_ROWS,
    Metric,
    check_k,
    nearest,
    nearest_rows,
    query_of,
)
from usad_workbench.core.storage.array_files import ArrayFile
from usad_workbench.core.storage.contents import (
    embedded_encoders,
    embedded_layers,
    has_table,
)
from usad_workbench.core.storage.creation import create_database
from usad_workbench.core.storage.database import Database
from usad_workbench.core.storage.leftovers import clear_leftovers
from usad_workbench.core.storage.mapped_spaces import MappedSpaces
from usad_workbench.core.storage.query import QueryLimits, ask, clip_ids_where
from usad_workbench.core.storage.segments import Segmentation
from usad_workbench.core.storage.vector_reading import (
    is_ascending,
    read_arrays,
    read_rows_of,
    rows_of,
)
from usad_workbench.core.storage.vector_tables import matrix_of

FILE_NAME = "workspace.duckdb"
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Space:
    """The vectors of one encoder, layer and pooling, as the workspace lists them."""

    space_id: int
    """Never used again, not for the vectors that replace these either."""
    encoder: str
    layer: int
    pooling: str
    dim: int
    n: int
    """How many vectors there are."""
    digest: str | None
    """Equal digests, equal vectors; none in a workspace of schema 1 that cannot be written."""
    precision: str
    """In which the encoder computed: ``float32`` or ``bfloat16``."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Embeddings:
    """Vectors of one space, row i belongs to segment i."""

    space: Space
    """What they are a part of, or all of: read in the same transaction."""
    segment_ids: npt.NDArray[np.int64]
    """Shape [segment], ascending."""
    clips: pa.ChunkedArray
    """The clip of each segment as an Arrow column of text: see ``clip_ids``."""
    vectors: FloatArray
    """Shape [segment, dim]. Those of a large space may be a file that is mapped: read-only."""

    @cached_property
    def clip_ids(self) -> npt.NDArray[np.object_]:
        """Shape [segment]; made when it is asked for first: many Python strings take long."""
        ids: npt.NDArray[np.object_] = self.clips.to_numpy(zero_copy_only=False)
        return ids

    def __len__(self) -> int:
        return len(self.vectors)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SearchHits:
    """Nearest segments of one query, best first. ``scores``: higher is nearer, cosines where
    no other metric was asked for."""

    segment_ids: npt.NDArray[np.int64]
    scores: FloatArray
    notice: str = ""
    """What the searcher should know, such as an index that could not be used."""


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
        self._mapped = MappedSpaces[Embeddings](self.database.state)

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
        clear_leftovers(workspace.database.path)
        # Reading refuses a version that is not known.
        workspace.meta("schema_version")
        return workspace

    @staticmethod
    def create(folder: str | Path, segmentation: Segmentation | None = None) -> "Workspace":
        """Opens a workspace, made if it is not there yet: whole, or not at all.

        Args:
            folder: Where it is or is to be.
            segmentation: The windows of a new one; ``Segmentation()`` where none.

        Raises:
            ConfigError: one that cuts its clips into other windows.
            StoreError: something there that is no workspace.
            FileError: a folder that cannot be made or written.
        """
        path = Workspace(folder).database.path
        if not path.exists():
            with wrap_errors(folder):
                path.parent.mkdir(parents=True, exist_ok=True)
                create_database(path, segmentation or Segmentation())
        workspace = Workspace.open(folder)
        if segmentation is not None and workspace.segmentation != segmentation:
            raise ConfigError(
                f"{folder} has a vector for each {workspace.segmentation.in_words} of audio, found "
                f"{segmentation.in_words}. All clips of a workspace are cut into the same windows: "
                "leave the window and hop out, or name a new folder."
            )
        return workspace

    def meta(self, key: str) -> str | None:
        """A value of the table ``meta``."""
        with self.database.read() as connection:
            row = connection.execute("SELECT value FROM meta WHERE key = ?", [key]).fetchone()
        return None if row is None else str(row[0])

    @property
    def segmentation(self) -> Segmentation:
        """The window and hop that clips are cut into."""
        return parse_segmentation(self.meta("segmentation"))

    def sql(
        self, query: str, parameters: Sequence[Any] = (), limits: QueryLimits | None = None
    ) -> pd.DataFrame:
        """The result of a query that somebody wrote, run in a process of its own.

        It can reach this workspace alone, and takes no more time, memory and rows than the
        limits allow: other programs can write meanwhile.

        Args:
            query: One statement of DuckDB's SQL that reads.
            parameters: Values for its question marks.
            limits: Of time, memory and rows; ``QueryLimits()`` where none.

        Raises:
            QueryError: SQL that DuckDB does not take, or beyond a limit; nothing was changed.
        """
        answer = ask(self.database.path, query, parameters, limits=limits)
        if answer.is_cut:
            raise QueryError(
                f"The result has more than the {len(answer.table):,} rows that the limits let "
                "through. Ask for fewer with LIMIT or a condition, or give other limits."
            )
        return answer.frame()

    def read(self, query: str, parameters: Sequence[Any] = ()) -> pd.DataFrame:
        """The result of a query of this package's own: what people write goes to ``sql``.

        The text is a constant of the program, whatever comes from outside is a parameter.

        Raises:
            QueryError: SQL that DuckDB does not take; nothing was changed.
        """
        with self.database.read() as connection:
            try:
                return connection.execute(query, list(parameters)).df()
            except duckdb.Error as error:
                raise QueryError(
                    f"The query was not understood: {error} Expected read-only DuckDB SQL over "
                    "the tables of the workspace."
                ) from error

    def clips(self, where: str | None = None) -> pd.DataFrame:
        """Clips with all their columns, in the order of their ids.

        Args:
            where: One SQL condition on the columns of ``clips``.

        Raises:
            QueryError: a condition that is not one, or beyond the limits of a query.
        """
        with self.among(self.clip_ids(where)) as (connection, chosen):
            return connection.execute(f"SELECT * FROM clips WHERE {chosen} ORDER BY clip_id").df()

    def clip_ids(self, where: str | None) -> pa.Array | None:
        """The ids of the clips that fulfil a condition, ascending; none where there is none.

        What people write is run once, here, within limits; everything else goes by the ids.

        Raises:
            QueryError: a condition that is not one, or beyond the limits of a query.
        """
        return None if where is None else clip_ids_where(self.database.path, where)

    @contextmanager
    def among(self, clip_ids: pa.Array | None) -> Iterator[tuple[duckdb.DuckDBPyConnection, str]]:
        """A connection, and the SQL that keeps these clips in a query on it; all where none."""
        with self.database.read() as connection:
            if clip_ids is None:
                yield connection, "true"
                return
            connection.register("chosen_clips", pa.table({"clip_id": clip_ids}))
            yield connection, "clip_id IN (SELECT clip_id FROM chosen_clips)"

    def audio_path(self, path: str) -> Path:
        """The file behind a clip's ``path``, which is relative where it lies in the folder."""
        return self.folder / path

    def spaces(self, pooling: str | None = None) -> pd.DataFrame:
        """Spaces that hold vectors: encoder, layer, pooling, n and their provenance.

        Args:
            pooling: Only those of this pooling; all where none.
        """
        return self.read(
            "SELECT * FROM spaces WHERE pooling = $1 OR $1 IS NULL "
            "ORDER BY encoder, pooling, layer",
            [pooling],
        )

    def encoders(self) -> pd.DataFrame:
        """Encoders of the workspace with what their specs say; ``n_params`` NaN where unknown."""
        return self.read(
            "SELECT * REPLACE (n_params::DOUBLE AS n_params) FROM encoders ORDER BY role, encoder"
        )

    def embedded(self, pooling: str | None = "mean") -> list[str]:
        """The encoders that have vectors, by name.

        Args:
            pooling: How frames became vectors; in any way where none.
        """
        return embedded_encoders(self.read, pooling)

    def layers(self, encoder: str, pooling: str = "mean") -> list[int]:
        """The layers of an encoder that have vectors, ascending; none of an encoder without.

        Args:
            encoder: Its name.
            pooling: How frames became vectors.
        """
        return embedded_layers(self.read, encoder, pooling)

    def has_table(self, name: str) -> bool:
        """Whether there is a table or view of this name."""
        return has_table(self.read, name)

    def space_id(self, encoder: str, layer: int, pooling: str = "mean") -> int:
        """The id of a space; a negative layer counts from the end.

        Raises:
            UnknownNameError: no such space; the message names those that are there.
        """
        return self.space(encoder, layer, pooling).space_id

    def space(self, encoder: str, layer: int, pooling: str = "mean") -> Space:
        """What the workspace lists of one space; a negative layer counts from the end.

        Raises:
            UnknownNameError: no such space; the message names those that are there.
        """
        with self.database.read() as connection:
            return find_space(connection, encoder, layer, pooling)

    def embeddings(
        self,
        encoder: str,
        layer: int,
        pooling: str = "mean",
        where: str | None = None,
    ) -> Embeddings:
        """Vectors of one space with their segment and clip ids, and what the space was then.

        All is read in one transaction: where the vectors are being replaced, these are the old
        ones or the new ones.

        Args:
            encoder: Name of the encoder.
            layer: 0 enters the first block, negative counts from the end.
            pooling: ``mean`` or ``native``.
            where: SQL condition on the columns of ``clips``.

        Raises:
            UnknownNameError: no such space.
            QueryError: a condition that is not SQL.
        """
        if where is None:
            return self._mapped.get(
                (encoder, layer, pooling), lambda: self._read(encoder, layer, pooling, None)
            )
        return self._read(encoder, layer, pooling, where)

    def _read(self, encoder: str, layer: int, pooling: str, where: str | None) -> Embeddings:
        with self.among(self.clip_ids(where)) as (connection, chosen):
            space = find_space(connection, encoder, layer, pooling)
            file = self.array_file(space)
            segments = connection.sql(
                f"SELECT segment_id, clip_id FROM segments WHERE {chosen}"
            ).to_arrow_table()
            of_segments = segments["segment_id"].to_numpy()
            if not is_ascending(of_segments):
                order = np.argsort(of_segments)
                segments, of_segments = segments.take(order), of_segments[order]
            if where is None:
                ids, vectors = read_arrays(connection, file)
            else:
                ids, vectors = read_rows_of(connection, file, of_segments)
        if not np.array_equal(ids, of_segments):
            segments = segments.take(rows_of(of_segments, ids))
        if len(segments) != len(ids):  # vectors of no segment
            rows = rows_of(ids, of_segments)
            ids, vectors = ids[rows], vectors[rows]
        return Embeddings(space=space, segment_ids=ids, clips=segments["clip_id"], vectors=vectors)

    def array_file(self, space: Space) -> ArrayFile:
        """The file that holds the vectors of a space as arrays, where there is one."""
        return ArrayFile(
            folder=self.folder,
            space_id=space.space_id,
            n=space.n,
            dim=space.dim,
            digest=space.digest,
        )

    def search(
        self,
        vector: FloatArray,
        encoder: str,
        layer: int,
        k: int = 10,
        where: str | None = None,
        *,
        pooling: str = "mean",
        metric: Metric = "cosine",
    ) -> SearchHits:
        """The k nearest segments, best first, compared with every vector that matches.

        Exact at every size; equal scores come in the order of their ids. Vectors are read in
        blocks, so memory does not grow with the space. ``usad_workbench.indexes`` finds the
        same through FAISS, without reading them all.

        Args:
            vector: Shape [dim], of the same encoder, layer and pooling.
            encoder: Name of the encoder.
            layer: 0 enters the first block, negative counts from the end.
            k: How many; fewer come back where fewer match.
            where: SQL condition on the columns of ``clips``.
            pooling: ``mean`` or ``native``.
            metric: ``cosine``, ``inner_product``, or ``l2``, whose scores are negative distances.

        Raises:
            ConfigError: a ``k`` below 1.
            ShapeError: a query of another width.
            DegenerateError: a query that is not finite, or for the cosine all zeros.
            UnknownNameError: no such space.
            QueryError: a condition that is not SQL.
        """
        k = check_k(k)
        with self.among(self.clip_ids(where)) as (connection, chosen):
            space = find_space(connection, encoder, layer, pooling)
            query = query_of(vector, space.dim, metric)
            if arrays := self.array_file(space).open():
                of_clips = connection.execute(f"SELECT segment_id FROM segments WHERE {chosen}")
                of_segments = of_clips.fetchnumpy()["segment_id"].astype(np.int64)
                rows = rows_of(arrays.segment_ids, np.sort(of_segments))
                best, scores = nearest_rows(arrays.vectors, query, k, metric, rows=rows)
                ids = arrays.segment_ids[best]
            else:
                stored = connection.sql(
                    f"SELECT v.segment_id, v.vector {_matching(space.space_id, chosen)}"
                )
                blocks = map(_ids_and_vectors, stored.to_arrow_reader(BLOCK_ROWS))
                ids, scores = nearest(blocks, query, k, metric)
        return SearchHits(segment_ids=ids, scores=scores)


def find_space(
    connection: duckdb.DuckDBPyConnection, encoder: str, layer: int, pooling: str
) -> Space:
    """What the table ``spaces`` says of one space, within a transaction of the caller.

    Raises:
        UnknownNameError: no such space; the message names those that are there.
    """
    rows = connection.execute(
        "SELECT s.space_id, s.layer, s.dim, s.n, s.digest, s.precision, e.n_layers FROM spaces s "
        "JOIN encoders e USING (encoder) WHERE s.encoder = ? AND s.pooling = ?",
        [encoder, pooling],
    ).fetchall()
    if not rows:
        encoders = connection.execute("SELECT DISTINCT encoder FROM spaces").fetchall()
        raise UnknownNameError(
            f"The workspace has no embeddings of {encoder!r} with pooling {pooling!r}. "
            f"{did_you_mean(encoder, {name for (name,) in encoders})} "
            f"`usad embed --encoders {encoder}` makes them."
        )
    for space_id, number, dim, n, digest, precision, depth in rows:
        if number == (layer + depth + 1 if layer < 0 else layer):
            return Space(
                space_id=space_id,
                encoder=encoder,
                layer=number,
                pooling=pooling,
                dim=dim,
                n=n,
                digest=digest,
                precision=precision,
            )
    raise UnknownNameError(
        f"The workspace has no layer {layer} of {encoder!r}, expected one of "
        f"{sorted(row[1] for row in rows)}. Embed it with `usad embed --layers`."
    )


def parse_segmentation(value: str | None) -> Segmentation:
    """The segmentation that ``meta`` holds as JSON.

    Raises:
        StoreError: a value that is none.
    """
    try:
        window_s, hop_s = json.loads(value or "[10.0, 10.0]")
        return Segmentation(window_s=float(window_s), hop_s=float(hop_s))
    except (ValueError, TypeError) as error:
        raise StoreError(
            f"The workspace's table `meta` has the segmentation {value!r}, expected two numbers "
            "of seconds such as [10.0, 10.0]. It is damaged: restore it from a copy."
        ) from error


def _ids_and_vectors(batch: pa.RecordBatch) -> tuple[npt.NDArray[np.int64], FloatArray]:
    return batch["segment_id"].to_numpy(), matrix_of(pa.chunked_array([batch["vector"]]))


def _matching(space_id: int, chosen: str) -> str:
    """Vectors ``v`` of a space with their segments ``s``, of the clips that are chosen."""
    return f"FROM vectors_{space_id} v JOIN segments s USING (segment_id) WHERE {chosen}"
