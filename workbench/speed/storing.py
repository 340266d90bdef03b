"""The store against DuckDB's own bulk insert and read, and against NumPy's memory map.

Ours is what embedding does: portions handed to ``VectorWriter``, with provenance, digest and the
check that no segment comes twice; and ``Workspace.embeddings`` with its ids. The peer is a bare table of ``FLOAT[dim]`` filled from Arrow, which is the limit: plain
DuckDB must find the vectors.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from usad_workbench.core.models.spec import EncoderSpec
from usad_workbench.core.storage.segment_audio import PORTION_S, PORTION_SEGMENTS
from usad_workbench.core.storage.spaces import EncoderRecord, register_encoder
from usad_workbench.core.storage.vector_tables import matrix_of
from usad_workbench.core.storage.vector_writer import VectorWriter
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.workbench.speed.measure import Cost, Row, cost_of, make_row, median_costs
from usad_workbench.workbench.speed.planted import DIM, FloatArray, plant, workspace_of

SIZE = 100_000
TRANSACTION_ROWS = 20_000
REPEATS = 3
READ_REPEATS = 11
"""A first read takes 0.2 s, most of it page faults: ratios of three pairs ranged from 0.44 to 1.95."""
ENCODER = "made"
STACKS = ((13, 384), (49, 1280))
"""Layers and width of the smallest encoders and of XXLarge."""
STACK_VALUES = 100_000_000
"""Values that a stack stores at full size: 400 MB, several transactions."""
SEGMENT_S = 10.0
TARGET_REAL_TIME = 5000.0
"""Seconds of audio per second that an accelerator embeds with XXLarge."""
INSERT = "DuckDB's own insert from Arrow, FLOAT[dim], transactions of 20,000"


def bench_store_write(size: int = SIZE) -> list[Row]:
    """MB/s of vectors into a space, and bytes on disk, over DuckDB's own bulk insert."""
    vectors = plant(size).vectors()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        empty = workspace_of(plant(size), folder / "empty").folder
        ours = [shutil.copytree(empty, folder / f"ours{i}") for i in range(REPEATS)]
        peers = [folder / f"peer{i}.duckdb" for i in range(REPEATS)]
        left, left_peers = iter(ours), iter(peers)
        costs = median_costs(
            {
                "ours": lambda: fill(Workspace.open(next(left)), {0: vectors}),
                "peer": lambda: fill_duckdb(next(left_peers), {0: vectors}),
            },
            REPEATS,
        )
        clips = (empty / "workspace.duckdb").stat().st_size
        stored = (ours[0] / "workspace.duckdb").stat().st_size - clips
        peer_stored = peers[0].stat().st_size
    label = f"{size:,} × {DIM}"
    return [
        *_rates(f"store-write, {label}", vectors.nbytes / 1e6, "MB", costs, INSERT),
        make_row(
            f"store-write, {label}, file over vectors",
            stored / vectors.nbytes,
            "bytes per byte",
            INSERT,
            peer_stored / vectors.nbytes,
        ),
    ]


def bench_store_read(size: int = SIZE) -> list[Row]:
    """MB/s of a space's first read over DuckDB's read to Arrow, and of the next over NumPy's.

    Each first read is of a copy of its own, which is removed before the next: DuckDB gives its
    memory back as well, and a virtual machine takes longer over memory that it has not used before
    than over all of the reading (0.30 against 0.20 s, found by leaving the copies there).
    All values are summed on both sides of the second: a memory map alone reads nothing.
    """
    vectors = plant(size).vectors()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        workspace = workspace_of(plant(size), folder / "made")
        fill(workspace, {0: vectors})
        copy = folder / "ours"
        fill_duckdb(folder / "peer.duckdb", {0: vectors})
        np.save(folder / "peer.npy", vectors)

        def prepare() -> None:
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(workspace.folder, copy)

        first = median_costs(
            {
                "ours": lambda: Workspace.open(copy).embeddings(ENCODER, 0),
                "peer": lambda: read_duckdb(folder / "peer.duckdb"),
            },
            READ_REPEATS,
            prepare,
        )
        read = Workspace.open(copy)
        again = median_costs(
            {
                "ours": lambda: read.embeddings(ENCODER, 0).vectors.sum(),
                "peer": lambda: np.load(folder / "peer.npy", mmap_mode="r").sum(),
            },
            3 * REPEATS,
        )
    label, megabytes = f"{size:,} × {DIM}", vectors.nbytes / 1e6
    return [
        *_rates(f"store-read, {label}", megabytes, "MB", first, "DuckDB's own read to Arrow"),
        *_rates(
            f"store-read-again, {label}, summed",
            megabytes,
            "MB",
            again,
            "numpy.load, memory-mapped",
        ),
    ]


def bench_store_stack(size: int = SIZE) -> Iterator[Row]:
    """Segments per second of all layers that an encoder which costs nothing can store."""
    for n_layers, dim in STACKS:
        n = max(16, min(size, STACK_VALUES * size // SIZE // (n_layers * dim)))
        planted = plant(n, dim)
        layers = dict.fromkeys(range(n_layers), planted.vectors())
        with tempfile.TemporaryDirectory() as name:
            workspace = workspace_of(planted, Path(name, "ours"))
            costs = {
                "ours": cost_of(partial(fill, workspace, layers)),
                "peer": cost_of(partial(fill_duckdb, Path(name, "peer.duckdb"), layers)),
            }
        label = f"store-stack, {n_layers} × {dim}, {n:,} segments"
        yield from _rates(label, n, "segments", costs, INSERT)
        yield make_row(
            f"{label} of {SEGMENT_S:.0f} s",
            n / costs["ours"].wall_s * SEGMENT_S,
            "audio s/s",
            "XXLarge on an accelerator",
            TARGET_REAL_TIME,
        )


def fill(workspace: Workspace, layers: dict[int, FloatArray]) -> None:
    """Stores vectors of the first clips in some layers, as ``usad embed`` does."""
    depth = max(layers)
    some = next(iter(layers.values()))
    dims = tuple(layers.get(layer, some).shape[1] for layer in range(depth + 1))
    spec = EncoderSpec(
        name=ENCODER,
        role="teacher",
        domain=None,
        n_layers=depth,
        dims=dims,
        frame_rates_hz=(1.0,) * (depth + 1),
        sample_rate_hz=16_000,
        n_params=1,
        licence="none",
        citation="made here",
    )
    record = EncoderRecord(spec=spec, weights_sha256="0" * 64)
    register_encoder(workspace, record)
    ids = workspace.read("SELECT segment_id FROM segments ORDER BY segment_id").segment_id
    segment_ids = ids.to_numpy(np.int64)[: len(some)]
    with VectorWriter(workspace, record, "mean") as writer:
        for rows in _portions(len(segment_ids), len(layers)):
            portion = {layer: vectors[rows] for layer, vectors in layers.items()}
            writer.add(segment_ids[rows], portion)


def _portions(n: int, n_layers: int) -> Iterator[slice]:
    """Rows that an encoder hands over at once: 240 s of audio, of one layer short segments."""
    step = PORTION_SEGMENTS if n_layers == 1 else int(PORTION_S / SEGMENT_S)
    return (slice(start, start + step) for start in range(0, n, step))


def fill_duckdb(path: Path, layers: dict[int, FloatArray]) -> None:
    """The same into a table for each layer, without anything else."""
    with duckdb.connect(str(path)) as connection:
        for layer, vectors in layers.items():
            connection.execute(
                f"CREATE TABLE vectors_{layer} (segment_id BIGINT, vector FLOAT[{vectors.shape[1]}])"
            )
            for start in range(0, len(vectors), TRANSACTION_ROWS):
                page = vectors[start : start + TRANSACTION_ROWS]
                column = pa.FixedSizeListArray.from_arrays(pa.array(page.ravel()), page.shape[1])
                ids = np.arange(start, start + len(page))
                connection.register("page", pa.table({"segment_id": ids, "vector": column}))
                connection.execute(f"INSERT INTO vectors_{layer} SELECT * FROM page")
                connection.unregister("page")


def read_duckdb(path: Path) -> FloatArray:
    """All vectors of ``fill_duckdb``, through Arrow."""
    with duckdb.connect(str(path), read_only=True) as connection:
        table = connection.sql("SELECT segment_id, vector FROM vectors_0").to_arrow_table()
    return matrix_of(table["vector"])


def _rates(name: str, amount: float, unit: str, costs: dict[str, Cost], peer: str) -> Iterator[Row]:
    """Two rows: per second of the processor, and of the wall."""
    clocks: dict[str, Callable[[Cost], float]] = {
        "processor": lambda cost: cost.processor_s,
        "wall": lambda cost: cost.wall_s,
    }
    for clock, of in clocks.items():
        ours, theirs = amount / of(costs["ours"]), amount / of(costs["peer"])
        yield make_row(f"{name}, {clock}", ours, f"{unit}/s", peer, theirs)
