"""A Parquet file of vectors, ``clip_id, encoder, layer, vector``, checked and in order."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt

from usad_workbench.core.errors import ConfigError, printable, wrap_errors
from usad_workbench.core.storage.importing import BATCH_CLIPS
from usad_workbench.core.storage.schema import literal

COLUMNS = ("clip_id", "encoder", "layer", "vector")
_INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER")
_NUMBERS = re.compile(rf"(FLOAT|DOUBLE|HUGEINT|UBIGINT|DECIMAL.*|{'|'.join(_INTEGERS)})\[\d*\]")
MAX_LAYER = 9_999
"""The highest layer number; one beyond is a mistake, and would be a table of that many widths."""
_SUBJECT = "The Parquet file"
Vector = npt.NDArray[np.float32]


@contextmanager
def open_vectors(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection with the view ``vectors`` over the file, its columns checked.

    Raises:
        ConfigError: no file, no Parquet, or other columns.
    """
    if not path.is_file():
        raise ConfigError(f"{path} does not exist. Expected a Parquet file.")
    with duckdb.connect() as connection:
        try:
            connection.execute(
                f"CREATE VIEW file AS SELECT * FROM read_parquet({literal(_as_pattern(path))}, "
                "hive_partitioning = false)"
            )
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
            f"encoder, layer::BIGINT AS layer, {vector} AS vector FROM file"
        )
        yield connection


def _as_pattern(path: Path) -> str:
    """The pattern that this file alone fits: DuckDB takes no other names.

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


def count_clips(file: duckdb.DuckDBPyConnection, encoder: str) -> int:
    """How many clips have vectors of an encoder."""
    row = file.execute(
        "SELECT count(DISTINCT clip_id) FROM vectors WHERE encoder = ?", [encoder]
    ).fetchone()
    return int(row[0]) if row else 0


def clips_of(
    file: duckdb.DuckDBPyConnection, encoder: str
) -> Iterator[tuple[str, list[tuple[int, Vector]]]]:
    """Every clip with its layers, sorted by clip and layer, read in batches."""
    with wrap_errors(_SUBJECT):
        rows = file.cursor().sql(
            "SELECT clip_id, layer, vector FROM vectors WHERE encoder = ? ORDER BY clip_id, layer",
            params=[encoder],
        )
        if rows is None:
            return
        reader = rows.to_arrow_reader(BATCH_CLIPS)
        now, layers = "", list[tuple[int, Vector]]()
        for batch in reader:
            vectors = batch["vector"]
            flat = np.asarray(vectors.flatten().to_numpy(zero_copy_only=False), dtype=np.float32)
            ends = np.cumsum(vectors.value_lengths().to_numpy())
            vectors_by_row = np.split(flat, ends[:-1])
            ids, numbers = batch["clip_id"].to_pylist(), batch["layer"].to_pylist()
            for clip_id, layer, vector in zip(ids, numbers, vectors_by_row, strict=True):
                if clip_id != now and layers:
                    yield now, layers
                    layers = []
                now = clip_id
                layers.append((layer, vector))
        if layers:
            yield now, layers
