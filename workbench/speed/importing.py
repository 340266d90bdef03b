"""``usad import-embeddings`` against DuckDB's ``CREATE TABLE AS`` from the same Parquet."""

import tempfile
from pathlib import Path

import duckdb

from usad_workbench.core.storage.schema import literal
from usad_workbench.workbench.speed.measure import Row, cost_of, make_row
from usad_workbench.workbench.speed.planted import DIM, plant, write_manifest, write_vectors
from usad_workbench.workbench.speed.processes import run_usad

SIZE = 100_000
MAX_BYTES = 1e9
"""Of memory for a million vectors."""
PEER = "DuckDB's CREATE TABLE AS from the same Parquet"


def bench_import_embeddings(size: int = SIZE) -> list[Row]:
    """Rows per second of the whole command, its start included, and its peak memory.

    The clips are there before: the peer has none to make either.
    """
    planted = plant(size)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest, source = folder / "clips.parquet", folder / "vectors.parquet"
        write_manifest(planted, manifest)
        write_vectors(plant(1), folder / "one.parquet", "first")
        write_vectors(planted, source, "made")
        common = ("--workspace", str(folder / "workspace"), "--role", "teacher")
        clips = ("--clips", str(manifest))
        run_usad("import-embeddings", str(folder / "one.parquet"), *common, *clips)
        ours = run_usad("import-embeddings", str(source), *common)
        peer = cost_of(lambda: create_table_as(folder / "peer.duckdb", source))
    label = f"import-embeddings, {size:,} × {DIM}"
    return [
        make_row(
            f"{label}, processor", size / ours.processor_s, "rows/s", PEER, size / peer.processor_s
        ),
        make_row(f"{label}, wall", size / ours.wall_s, "rows/s", PEER, size / peer.wall_s),
        make_row(f"{label}, peak memory", ours.peak_bytes / 1e6, "MB", "1 GB", MAX_BYTES / 1e6),
    ]


def create_table_as(path: Path, source: Path) -> None:
    """All that DuckDB does with such a file by itself."""
    with duckdb.connect(str(path)) as connection:
        connection.execute(
            f"CREATE TABLE vectors AS SELECT clip_id, layer, vector::FLOAT[{DIM}] AS vector "
            f"FROM read_parquet({literal(str(source))})"
        )
