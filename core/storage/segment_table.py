"""All segments of a workspace as columns of NumPy arrays: what filters and counts work on.

Rows are in one pseudo-random order that depends on the ids alone, so that the first of them are
a fair sample, and the same one in every space. A column of text becomes codes of its values, most
frequent first; texts themselves are fetched by id where they are shown.

Measured at a million segments and clips in processor seconds, each with the opening of the
database: ids and their order 0.19 (of these 0.13 for the version), a map 0.17, all nine columns at
once 0.73, one of them 0.3 (nearly all of it the join of segments with clips). Words that have to
stand in texts 0.31.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import duckdb
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from usad_workbench.core.errors import ChangedError, UnknownNameError, did_you_mean
from usad_workbench.core.storage.annotations import tagged_segments
from usad_workbench.core.storage.schema import CLIP_COLUMNS, SEGMENTS_OF_CLIPS, quote
from usad_workbench.core.storage.segment_vectors import vector_of_segment
from usad_workbench.core.storage.space_names import MapName, SpaceName
from usad_workbench.core.storage.vector_reading import is_ascending
from usad_workbench.core.storage.workspace import Workspace

Ids = npt.NDArray[np.int64]
Rows = npt.NDArray[np.intp]
Kind = Literal["category", "number"]
NO_ROW = -1
NO_CODE = -1
NOT_ON_MAP = 65_535
"""Both coordinates of a segment that a map does not hold."""
SPAN = 65_534
"""Of quantised coordinates: 0 is one side of the square around the map, this the other."""
HASHES = ("audio_sha256", "samples_digest")
ALWAYS = ("domain", "label", "dataset", "cluster_id")
MAX_TURNED = 100_000
"""Points that decide how a map is turned: the first rows, a fair sample."""
MIN_NUMBERS = 13
"""Numbers with fewer values (digits, counts) are told apart better as names."""
MIN_READABLE = 0.95
"""Share of a text column that has to read as numbers."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Categories:
    """A column of names."""

    name: str
    values: tuple[str, ...]
    """The most frequent first; equal counts by name."""
    codes: npt.NDArray[np.int32]
    """Shape [row]: places in ``values``, -1 for none."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Numbers:
    """A column of measurements."""

    name: str
    values: npt.NDArray[np.float64]
    """Shape [row]: NaN for none."""


Column = Categories | Numbers


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MapPoints:
    """A map in quantised coordinates of the square around it, both from 0 to ``SPAN``."""

    x: npt.NDArray[np.uint16]
    """Shape [row]; ``NOT_ON_MAP`` for segments that it does not hold."""
    y: npt.NDArray[np.uint16]


class SegmentTable:
    """The segments of a workspace at one moment.

    What it has not read yet is read when it is asked for, and refused with ``ChangedError`` where
    segments, clips or maps have changed since: rows of two moments would not fit together.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        with workspace.database.read() as connection:
            self._state = workspace.database.state()
            self.version = content_version(connection)
            stored = connection.execute("SELECT segment_id FROM segments").fetchnumpy()
        self._stored_ids: Ids = np.ascontiguousarray(stored["segment_id"], dtype=np.int64)

    @contextmanager
    def reading(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection that finds what the table is of.

        Raises:
            ChangedError: that is there no more.
        """
        with self.workspace.database.read() as connection:
            state = self.workspace.database.state()
            if state != self._state:
                if content_version(connection) != self.version:
                    raise ChangedError(
                        f"{self.workspace.folder} has changed since it was looked at: other "
                        "segments, clips or maps are there now. Ask again."
                    )
                self._state = state
            yield connection

    def __len__(self) -> int:
        return len(self._stored_ids)

    @cached_property
    def segment_ids(self) -> Ids:
        """Shape [row]: the segment of each row."""
        return self._ascending[self._order]

    @cached_property
    def _ascending(self) -> Ids:
        ids = self._stored_ids
        return ids if is_ascending(ids) else np.sort(ids)

    @cached_property
    def _order(self) -> Rows:
        """Shape [row]: places in the ascending ids."""
        order: Rows = np.argsort(mixed(self._ascending))
        return order

    @cached_property
    def _row_of_place(self) -> Rows:
        rows = np.empty_like(self._order)
        rows[self._order] = np.arange(len(rows))
        return rows

    def rows_of(self, segment_ids: Ids) -> Rows:
        """The row of each segment, ``NO_ROW`` for one that is not there."""
        ascending = self._ascending
        if len(segment_ids) == len(ascending) and np.array_equal(segment_ids, ascending):
            return self._row_of_place
        if not len(ascending):
            return np.full(len(segment_ids), NO_ROW, dtype=np.intp)
        places = np.searchsorted(ascending, segment_ids).clip(max=len(ascending) - 1)
        is_there = ascending[places] == segment_ids
        return np.where(is_there, self._row_of_place[places], NO_ROW)

    def points(self, name: MapName) -> MapPoints:
        """Where the segments lie on a map, turned as the deepest layer's map of its encoder is.

        UMAP and PCA leave open how a map is turned and mirrored: the turn that brings the common
        points nearest together (orthogonal Procrustes) keeps all distances, and lets one follow
        points through the layers.

        Raises:
            UnknownNameError: no such map.
        """
        placed, deepest = self._placed(name)
        if deepest != name.layer:
            other, _ = self._placed(replace(name, layer=deepest))
            placed = turned(placed, other)
        x, y = quantised(placed[:, 0], placed[:, 1])
        return MapPoints(x=x, y=y)

    def _placed(self, name: MapName) -> tuple[npt.NDArray[np.float64], int]:
        """A map as it is stored, shape [row, 2], NaN where it holds nothing; the deepest layer."""
        with self.reading() as connection:
            found = connection.execute(
                "SELECT segment_id, x, y FROM projections "
                "WHERE encoder = ? AND layer = ? AND pooling = ? AND method = ?",
                [name.encoder, name.layer, name.pooling, name.method],
            ).fetchnumpy()
            ((deepest,),) = connection.execute(
                "SELECT coalesce(max(layer), ?) FROM projection_quality "
                "WHERE encoder = ? AND pooling = ? AND method = ?",
                [name.layer, name.encoder, name.pooling, name.method],
            ).fetchall()
        if not len(found["segment_id"]):
            raise UnknownNameError(
                f"The workspace has no map {str(name)!r}. `usad project --encoder "
                f"{name.encoder}` makes it; `SELECT * FROM projection_quality` lists those there."
            )
        rows = self.rows_of(np.asarray(found["segment_id"], np.int64))
        is_there = rows != NO_ROW
        placed = np.full((len(self), 2), np.nan)
        for axis, values in enumerate((found["x"], found["y"])):
            placed[rows[is_there], axis] = np.asarray(values)[is_there]
        return placed, int(deepest)

    def column_names(self) -> list[str]:
        """The columns of clips and segments that may say something, the telling ones first."""
        with self.reading() as connection:
            stored = [name for name, *_ in connection.execute("DESCRIBE clips").fetchall()]
        metadata = [name for name in stored if name not in CLIP_COLUMNS]
        known = ["split", "duration_s", "sample_rate_hz", "start_s"]
        names = [*ALWAYS, *(name for name in known if name not in metadata), *metadata]
        return [name for name in names if name == "start_s" or name in stored]

    def with_words(self, words: Sequence[str]) -> Ids:
        """The segments in whose clip's texts all words stand, in capitals or not.

        Letters that are put together of several characters, as in names of files from macOS, are
        the same as those of one character.
        """
        with self.reading() as connection:
            texts = ", ".join(
                quote(name)
                for name, kind, *_ in connection.execute("DESCRIBE clips").fetchall()
                if kind == "VARCHAR" and name not in HASHES
            )
            has_all = (
                " AND ".join("contains(text, nfc_normalize(lower(?)))" for _ in words) or "true"
            )
            found = connection.execute(
                "SELECT segment_id FROM segments WHERE clip_id IN (SELECT clip_id FROM "
                f"(SELECT clip_id, nfc_normalize(lower(concat_ws(' ', {texts}))) AS text FROM clips) "
                f"WHERE {has_all})",
                list(words),
            ).fetchnumpy()
        return np.asarray(found["segment_id"], dtype=np.int64)

    def tagged(self, tag: str) -> Ids:
        """The segments that have a tag now."""
        return tagged_segments(self.workspace, tag)

    def near(self, segment_id: int, space: SpaceName, k: int) -> Ids:
        """The k nearest segments to one in a space, itself among them.

        Raises:
            UnknownNameError: no such space, or no vector of the segment in it.
        """
        vector = vector_of_segment(self.workspace, segment_id, space)
        hits = self.workspace.search(vector, space.encoder, space.layer, k, pooling=space.pooling)
        return hits.segment_ids

    def column(self, name: str) -> Column:
        """A column by name.

        Raises:
            UnknownNameError: a column that is not there.
        """
        return self.columns([name])[0]

    def columns(self, names: Sequence[str]) -> list[Column]:
        """Columns by name.

        Raises:
            UnknownNameError: a column that is not there.
        """
        known = self.column_names()
        for name in names:
            if name not in known:
                raise UnknownNameError(
                    f"Segments have no column {name!r}. {did_you_mean(name, known)}"
                )
        if not names:
            return []
        chosen = ", ".join(map(quote, names))
        with self.reading() as connection:
            found = connection.sql(
                f"SELECT segment_id, {chosen} FROM {SEGMENTS_OF_CLIPS}"
            ).to_arrow_table()
        rows = self.rows_of(found["segment_id"].to_numpy())
        return [_column(name, found[name], rows, len(self)) for name in names]


def content_version(connection: duckdb.DuckDBPyConnection) -> str:
    """Changes when segments, clips or maps do; not with vectors, results and annotations."""
    parts = [
        connection.execute(query).fetchall()
        for query in (
            "SELECT count(*), sum(hash(segment_id, clip_id, start_s, end_s)) FROM segments",
            "SELECT count(*), sum(hash(c)) FROM clips c",
            "SELECT * FROM projection_quality ORDER BY ALL",
        )
    ]
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:16]


def mixed(segment_ids: Ids) -> npt.NDArray[np.uint64]:
    """A pseudo-random number for each id, never the same for two.

    The finaliser of SplitMix64: Steele, Lea & Flood 2014, *Fast splittable pseudorandom number
    generators*.

    >>> mixed(np.array([1, 2])).tolist()
    [6238072747940578789, 15839785061582574730]
    """
    z = segment_ids.astype(np.uint64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def quantised(
    x: npt.NDArray[np.floating], y: npt.NDArray[np.floating]
) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint16]]:
    """Coordinates in the square around all points, 0 to ``SPAN``; both axes have one scale.

    >>> quantised(np.array([0.0, 4.0]), np.array([1.0, 3.0]))[1].tolist()
    [16384, 49150]
    """
    is_finite = np.isfinite(x) & np.isfinite(y)
    made = []
    spans = [np.ptp(axis[is_finite]) if is_finite.any() else 0.0 for axis in (x, y)]
    scale = SPAN / max(*map(float, spans), 1e-30)
    for axis in (x, y):
        known = axis[is_finite].astype(np.float64)
        middle = (known.min() + known.max()) / 2 if len(known) else 0.0
        of_axis = np.full(len(axis), NOT_ON_MAP, dtype=np.uint16)
        of_axis[is_finite] = np.rint((known - middle) * scale + SPAN / 2).clip(0, SPAN)
        made.append(of_axis)
    return made[0], made[1]


def turned(
    points: npt.NDArray[np.float64], onto: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Points turned and mirrored so that they lie nearest to others; all distances stay.

    The solution of the orthogonal Procrustes problem on the common points: Schoenemann 1966.

    Args:
        points: Shape [row, 2], NaN for none.
        onto: The same rows on another map; its place and scale do not matter.

    >>> square = np.array([[0.0, 0], [2, 0], [2, 1]])
    >>> bool(np.allclose(turned(square[:, ::-1], square), square - square.mean(0)))
    True
    """
    common = np.flatnonzero(np.isfinite(points).all(1) & np.isfinite(onto).all(1))[:MAX_TURNED]
    if len(common) < 2:
        return points
    middle = points[common].mean(0)
    left, _, right = np.linalg.svd(
        (points[common] - middle).T @ (onto[common] - onto[common].mean(0))
    )
    found: npt.NDArray[np.float64] = (points - middle) @ (left @ right)
    return found


def _column(name: str, stored: pa.ChunkedArray, rows: Rows, n: int) -> Column:
    """A column of an Arrow table whose row i is the row ``rows[i]``."""
    numbers = None if name in ALWAYS else _as_numbers(stored)
    if numbers is not None:
        values = np.full(n, np.nan)
        values[rows] = numbers
        return Numbers(name=name, values=values)
    encoded = stored.cast(pa.string()).dictionary_encode().combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):  # none at all
        encoded = pa.array([], pa.string()).dictionary_encode()
    found = encoded.indices.fill_null(NO_CODE).to_numpy(zero_copy_only=False)
    texts = encoded.dictionary
    counts = np.bincount(found[found >= 0], minlength=len(texts))
    # By name first, then stably by count; an empty text is no value.
    by_name = pc.sort_indices(texts).to_numpy()
    by_name = by_name[pc.not_equal(texts, "").to_numpy(zero_copy_only=False)[by_name]]
    order = by_name[np.argsort(-counts[by_name], kind="stable")]
    place = np.full(len(texts) + 1, NO_CODE, np.int32)  # the last is that of NO_CODE
    place[order] = np.arange(len(order))
    codes = np.full(n, NO_CODE, np.int32)
    codes[rows] = place[found]
    return Categories(name=name, values=tuple(texts.take(pa.array(order)).to_pylist()), codes=codes)


def _as_numbers(stored: pa.ChunkedArray) -> npt.NDArray[np.float64] | None:
    """The values as numbers where they look like measurements; none where like names."""
    if pa.types.is_integer(stored.type) or pa.types.is_floating(stored.type):
        is_few = len(pc.unique(stored.drop_null())) < MIN_NUMBERS
        return None if is_few else stored.cast(pa.float64()).to_numpy()
    if not pa.types.is_string(stored.type):
        return None
    encoded = stored.dictionary_encode().combine_chunks()
    numbers = pd.to_numeric(encoded.dictionary.to_pandas(), errors="coerce").to_numpy(float)
    is_readable = np.isfinite(numbers)
    if is_readable.sum() < MIN_NUMBERS or is_readable.mean() < MIN_READABLE:
        return None
    codes = encoded.indices.fill_null(NO_CODE).to_numpy(zero_copy_only=False)
    by_code = np.append(np.where(is_readable, numbers, np.nan), np.nan)  # the last of NO_CODE
    found: npt.NDArray[np.float64] = by_code[codes]
    return found
