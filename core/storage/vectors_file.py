"""A Parquet file of vectors, ``clip_id, encoder, layer, vector``, checked as sets of rows.

DuckDB reads it and hands it on in blocks, so a file larger than memory is no trouble. It is read
three times, never sorted as a whole unless the layers of its clips are far apart: for the widths
of its layers, for the sum of its hashes, and for its vectors. Clips are checked by one statement
on their ids and layers.
"""

import hashlib
import re
import secrets
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import reduce
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from usad_workbench.core.errors import ConfigError, printable, wrap_errors
from usad_workbench.core.storage.connecting import connect
from usad_workbench.core.storage.schema import literal

COLUMNS = ("clip_id", "encoder", "layer", "vector")
TOLD = ("family", "architecture", "training", "training_seed", "teachers", "licence")
"""Columns that may say what an encoder is, one value in all rows of an encoder."""
_INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER")
_NUMBERS = re.compile(rf"(FLOAT|DOUBLE|HUGEINT|UBIGINT|DECIMAL.*|{'|'.join(_INTEGERS)})\[\d*\]")
MAX_LAYER = 9_999
"""The highest layer number; one beyond is a mistake, and would be a table of that many widths."""
_SUBJECT = "The Parquet file"
BLOCK_ROWS = 8192
SPREAD_BYTES = 256 << 20
"""Clips whose rows are further apart in the file than this are brought together by sorting."""
PORTION_BYTES = 32 << 20
"""So much is handed on at a time, of clips with several layers."""
MEMORY_LIMIT = "512MB"
"""Of DuckDB's memory; a sort of more goes over the disk."""
Vectors = npt.NDArray[np.float32]
ByLayer = dict[int, tuple[npt.NDArray[np.intp], Vectors]]
"""Which rows of a block are of a layer, and their vectors [row, dim]."""


@contextmanager
def open_vectors(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection with the view ``vectors`` over the file, its columns checked.

    Raises:
        ConfigError: no file, no Parquet, or other columns.
    """
    if not path.is_file():
        raise ConfigError(f"{path} does not exist. Expected a Parquet file.")
    # DuckDB makes the folder where it needs it, and removes it.
    spilled = Path(tempfile.gettempdir(), f"usad-{secrets.token_hex(6)}")
    config: dict[str, Any] = {
        "memory_limit": MEMORY_LIMIT,
        "temp_directory": str(spilled),
        "enable_external_file_cache": False,  # it fills the memory; the system has its own
    }
    with connect(config=config) as connection:
        source = f"read_parquet({literal(_as_pattern(path.absolute()))}, hive_partitioning = false)"
        try:
            connection.execute(f"CREATE VIEW file AS SELECT * FROM {source}")
        except (duckdb.Error, RuntimeError) as error:
            raise ConfigError(
                f"{printable(str(path))} cannot be read as Parquet. Expected a Parquet file with "
                f"the columns {', '.join(COLUMNS)}: write it with pandas' `to_parquet`, for example."
            ) from error
        kinds = {row[0]: str(row[1]) for row in connection.execute("DESCRIBE file").fetchall()}
        _check_columns(path, kinds)
        # Names and numbers are taken as they are, never by what a cast makes of them. A value
        # that float32 does not hold is not finite, and its clip is named.
        vector = (
            "vector::FLOAT[]"
            if kinds["vector"].startswith("FLOAT[")
            else "[coalesce(TRY_CAST(x AS FLOAT), 'nan'::FLOAT) FOR x IN vector]"
        )
        connection.execute(
            "CREATE VIEW vectors AS SELECT clip_id::VARCHAR AS clip_id, encoder::VARCHAR AS "
            f"encoder, layer::BIGINT AS layer, {vector} AS vector, "
            f"TRY_CAST(file_row_number AS BIGINT) AS row_number FROM {source}"
        )
        yield connection


def _as_pattern(path: Path) -> str:
    """The pattern that this file alone fits: DuckDB takes no other names.

    Of a path in full: a tilde at the start of one is the home folder for DuckDB.

    >>> _as_pattern(Path("v[1]?.parquet"))
    'v[[]1][?].parquet'
    """
    return re.sub(r"([\[*?])", r"[\1]", str(path))


def _check_columns(path: Path, kinds: dict[str, str]) -> None:
    """Refuses columns that are missing or hold something else.

    Raises:
        ConfigError: as it says.
    """
    missing = [name for name in COLUMNS if name not in kinds]
    if missing:
        raise ConfigError(
            f"{path} has the columns {', '.join(kinds)}, expected {', '.join(COLUMNS)}. "
            f"Add {', '.join(missing)}."
        )
    if kinds["layer"] not in _INTEGERS or not _NUMBERS.fullmatch(kinds["vector"]):
        raise ConfigError(
            f"{path}: layer is {kinds['layer']} and vector {kinds['vector']}, expected whole "
            "numbers and lists of numbers."
        )


def told_of_encoders(file: duckdb.DuckDBPyConnection) -> dict[str, dict[str, Any]]:
    """What the columns ``TOLD`` of a file say, by encoder and column; what is missing left out.

    ``teachers`` is a list of names, or one text of names with commas between them.

    Raises:
        ConfigError: several values for one encoder, or a seed that is no whole number.
    """
    kinds = {row[0]: str(row[1]) for row in file.execute("DESCRIBE file").fetchall()}
    told: dict[str, dict[str, Any]] = {}
    for column in TOLD:
        if column not in kinds:
            continue
        value = {
            "training_seed": "TRY_CAST(training_seed AS BIGINT)",
            "teachers": "array_to_string(teachers, ',')" if kinds[column].endswith("]") else column,
        }.get(column, column)
        with wrap_errors(_SUBJECT):
            rows = file.execute(
                f"SELECT encoder::VARCHAR, list(DISTINCT ({value})::VARCHAR), "
                f"count({column}) - count({value}) FROM file GROUP BY ALL"
            ).fetchall()
        for encoder, values, n_unread in rows:
            if len(values) > 1 or n_unread:
                raise ConfigError(
                    f"Column {column} has {', '.join(map(repr, values)) or 'no number'} for "
                    f"{encoder!r}, expected one {'whole number' if n_unread else 'value'} in all "
                    "its rows. Mend the column, or leave it out."
                )
            if values and values[0]:
                told.setdefault(str(encoder), {})[column] = _told(column, values[0])
    return told


def _told(column: str, value: str) -> Any:
    if column == "training_seed":
        return int(value)
    if column == "teachers":
        return tuple(name.strip() for name in value.split(",") if name.strip())
    return value


def check_vectors(source: str | Path) -> None:
    """Raises ``ConfigError`` where no encoder of a file could be imported."""
    with open_vectors(Path(source)) as file:
        layer_widths(file)


def layer_widths(file: duckdb.DuckDBPyConnection) -> dict[str, dict[int, int]]:
    """Width of each layer, by encoder.

    Raises:
        ConfigError: no rows, a missing value, a negative layer, or several widths in one layer.
    """
    with wrap_errors(_SUBJECT):
        rows = file.execute(
            "SELECT encoder, layer, min(len(vector)), max(len(vector)), count(*) FILTER "
            "(clip_id IS NULL OR vector IS NULL) FROM vectors GROUP BY ALL ORDER BY encoder, layer"
        ).fetchall()
    if not rows:
        raise ConfigError("The Parquet file has no rows, expected one for each clip and layer.")
    widths: dict[str, dict[int, int]] = {}
    for encoder, layer, least, most, empty in rows:
        if not encoder or layer is None:
            raise ConfigError(
                f"The Parquet file has rows with encoder {encoder!r} and layer {layer}, expected a "
                "name and a number in every row. Fill them in."
            )
        if layer > MAX_LAYER:
            raise ConfigError(
                f"The Parquet file has layer {layer} of {encoder!r}, expected at most {MAX_LAYER}. "
                "Number the layers from 0 on."
            )
        if layer < 0:
            raise ConfigError(
                f"The Parquet file has layer {layer} of {encoder!r}, expected a layer from 0 on. "
                "Number the layers from the first; only commands count from the end."
            )
        if empty:
            raise ConfigError(
                f"Layer {layer} of {encoder!r} has {empty} rows without clip_id or vector, "
                "expected both in every row. Fill them in, or leave these rows out."
            )
        if least != most or not most:
            raise ConfigError(
                f"Layer {layer} of {encoder!r} has vectors of {least} to {most} values, expected "
                "one width. Export this layer again."
            )
        widths.setdefault(str(encoder), {})[int(layer)] = int(most)
    return widths


def rows_of(
    file: duckdb.DuckDBPyConnection, encoder: str, wanted: str = "", order: str = ""
) -> Iterator[tuple[pa.RecordBatch, ByLayer]]:
    """The rows of an encoder in blocks, in whatever order the file has them.

    Args:
        file: Of ``open_vectors``.
        encoder: Its name.
        wanted: SQL that joins further columns, and leaves the rows out that have none.
        order: SQL of another order.

    Yields:
        A block, and its vectors by layer.
    """
    with wrap_errors(_SUBJECT):
        rows = file.cursor().sql(
            f"SELECT * FROM vectors {wanted} WHERE encoder = ? {order}", params=[encoder]
        )
        for block in rows.to_arrow_reader(BLOCK_ROWS) if rows is not None else ():
            yield block, _by_layer(block)


def _by_layer(block: pa.RecordBatch) -> ByLayer:
    vectors = block["vector"]
    flat = np.asarray(vectors.flatten().to_numpy(zero_copy_only=False), dtype=np.float32)
    widths = vectors.value_lengths().to_numpy()
    starts = np.cumsum(widths) - widths
    layers = block["layer"].to_numpy()
    found = {}
    for layer in np.unique(layers):
        rows = np.flatnonzero(layers == layer)
        width = widths[rows[0]]
        if len(rows) == len(layers):
            values = flat.reshape(-1, width)
        else:
            values = flat[starts[rows, None] + np.arange(width)]
        found[int(layer)] = (rows, values)
    return found


def content_of(file: duckdb.DuckDBPyConnection, encoder: str) -> tuple[str, list[str]]:
    """What stands for the weights of an encoder of a file, and the clips that cannot be used.

    Returns:
        64 hexadecimal digits: equal ones, equal vectors of equal clips and layers, in whatever
        order the rows are. They are the sha256 of a sum of hashes of the rows, so that a file need
        not be sorted. And the clips with a value that is not finite.
    """
    total = n_rows = 0
    not_finite: list[str] = []
    for block, layers in rows_of(file, encoder):
        clip_ids = block["clip_id"].to_pylist()
        n_rows += len(clip_ids)
        for layer, (rows, vectors) in layers.items():
            seeds = [
                xxhash.xxh3_64_intdigest(clip_ids[row].encode("utf-8", "surrogatepass"), layer)
                for row in rows
            ]
            total += sum(map(xxhash.xxh3_128_intdigest, vectors, seeds))
            is_bad = ~np.isfinite(vectors).all(axis=1)
            not_finite += [clip_ids[row] for row in rows[is_bad]]
    return hashlib.sha256(f"{n_rows} {total}".encode()).hexdigest(), not_finite


def faults_of(
    file: duckdb.DuckDBPyConnection,
    encoder: str,
    layers: Sequence[int],
    segments: pa.Table,
    not_finite: Sequence[str],
) -> list[tuple[str, str]]:
    """Clips that cannot be taken, each with the reason, by the names of the clips.

    Those that can be are in the table ``good`` afterwards, with the columns ``clip_id``,
    ``segment_id`` and ``spread``: how far apart in the file, in rows, those of the clip are.

    Args:
        file: Of ``open_vectors``.
        encoder: Its name.
        layers: Each must be there once.
        segments: ``segment_id, clip_id`` of the workspace.
        not_finite: Clips of ``content_of``.
    """
    file.register("workspace_segments", segments)
    file.register("not_finite", pa.table({"clip_id": pa.array(not_finite, pa.string())}))
    with wrap_errors(_SUBJECT):
        file.execute(
            "CREATE OR REPLACE TABLE of_clips AS WITH s AS (SELECT clip_id, count(*) AS n, "
            "min(segment_id) AS segment_id FROM workspace_segments GROUP BY clip_id), "
            "f AS (SELECT clip_id, list(layer ORDER BY layer) AS layers, "
            "max(row_number) - min(row_number) AS spread "
            "FROM vectors WHERE encoder = $1 GROUP BY clip_id) "
            "SELECT f.clip_id, coalesce(s.n, 0) AS n_segments, s.segment_id, f.layers, f.spread, "
            "b.clip_id IS NOT NULL AS is_bad FROM f LEFT JOIN s USING (clip_id) "
            "LEFT JOIN (SELECT DISTINCT clip_id FROM not_finite) b USING (clip_id)",
            [encoder],
        )
        good = "n_segments = 1 AND layers = $1::BIGINT[] AND NOT is_bad"
        file.execute(
            "CREATE OR REPLACE TABLE good AS SELECT clip_id, segment_id, spread "
            f"FROM of_clips WHERE {good}",
            [list(layers)],
        )
        rows = file.execute(
            f"SELECT clip_id, n_segments, layers FROM of_clips WHERE NOT ({good}) ORDER BY clip_id",
            [list(layers)],
        ).fetchall()
        file.execute("DROP TABLE of_clips")
    file.unregister("workspace_segments")
    file.unregister("not_finite")
    return [(clip_id, _fault(n, found, list(layers))) for clip_id, n, found in rows]


def _fault(n_segments: int, found: list[int], layers: list[int]) -> str:
    """Why a clip cannot be taken."""
    if n_segments == 0:
        return "the workspace has no such clip; add it with --clips"
    if n_segments > 1:
        return (
            f"the clip has {n_segments} segments, expected one: make a workspace whose window "
            "holds whole clips"
        )
    if found != layers:
        return f"layers {found}, expected each of {layers} once"
    return "values that are not finite"


def portions_of(
    file: duckdb.DuckDBPyConnection, encoder: str, dims: Mapping[int, int]
) -> Iterator[tuple[npt.NDArray[np.int64], dict[int, Vectors]]]:
    """Vectors of the clips in the table ``good``, each clip with all its layers.

    Rows are taken as they come where those of a clip are close to each other; of a file where they
    are far apart, such as one layer after the other, DuckDB sorts the rows, on the disk where they
    do not fit.

    Yields:
        Segment ids [segment], and by layer their vectors [segment, dim].
    """
    ((spread,),) = file.execute("SELECT coalesce(max(spread), 0) FROM good").fetchall()
    is_far = len(dims) > 1 and spread * 4 * max(dims.values()) > SPREAD_BYTES
    order = "ORDER BY segment_id" if is_far else ""
    blocks = rows_of(file, encoder, "JOIN good USING (clip_id)", order)
    if len(dims) > 1:
        yield from _whole_clips(blocks, list(dims))
        return
    for block, layers in blocks:
        segment_ids = block["segment_id"].to_numpy()
        yield segment_ids, {layer: vectors for layer, (_, vectors) in layers.items()}


def _whole_clips(
    blocks: Iterable[tuple[pa.RecordBatch, ByLayer]], layers: Sequence[int]
) -> Iterator[tuple[npt.NDArray[np.int64], dict[int, Vectors]]]:
    """Brings the rows of each clip together; what is not complete waits for the next blocks."""
    waiting: dict[int, list[tuple[npt.NDArray[np.int64], Vectors]]] = {n: [] for n in layers}
    n_bytes, limit = 0, PORTION_BYTES
    for block, found in blocks:
        segment_ids = block["segment_id"].to_numpy()
        for layer, (rows, vectors) in found.items():
            waiting[layer].append((segment_ids[rows], vectors))
            n_bytes += vectors.nbytes
        if n_bytes >= limit:
            portion, waiting = _complete(waiting)
            n_bytes = sum(vectors.nbytes for parts in waiting.values() for _, vectors in parts)
            limit = n_bytes + PORTION_BYTES
            if len(portion[0]):
                yield portion
    portion, _ = _complete(waiting)
    if len(portion[0]):
        yield portion


def _complete(
    waiting: Mapping[int, list[tuple[npt.NDArray[np.int64], Vectors]]],
) -> tuple[
    tuple[npt.NDArray[np.int64], dict[int, Vectors]],
    dict[int, list[tuple[npt.NDArray[np.int64], Vectors]]],
]:
    """The segments that have all layers, and what is left of the others."""
    if not all(waiting.values()):
        return (np.empty(0, dtype=np.int64), {}), dict(waiting)
    ids = {n: np.concatenate([part[0] for part in parts]) for n, parts in waiting.items()}
    whole = reduce(np.intersect1d, ids.values())
    vectors, left = {}, {}
    for layer, parts in waiting.items():
        values = np.concatenate([part[1] for part in parts])
        order = np.argsort(ids[layer])
        rows = order[np.searchsorted(ids[layer], whole, sorter=order)]
        vectors[layer] = values[rows]
        is_left = ~np.isin(ids[layer], whole)
        left[layer] = [(ids[layer][is_left], values[is_left])] if is_left.any() else []
    return (whole, vectors), left
