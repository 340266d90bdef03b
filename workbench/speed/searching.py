"""Search in an open workspace against FAISS itself and other libraries, on the same vectors.

Queries are held out. Recall is the share of the ten nearest that are found; the truth is a
product of matrices over all vectors. Each of our kinds of index stands beside FAISS with the
same parameters, ``auto`` beside every other library. The two of a pair take turns, query by
query; milliseconds are of the processor, one query at a time.
"""

import logging
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from usad_workbench.core.cosine import normalise
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.indexes.plans import Kind
from usad_workbench.indexes.spaces import search, update_index
from usad_workbench.workbench.speed.measure import Row, cost_of, make_row
from usad_workbench.workbench.speed.peers import (
    Faiss,
    Hnswlib,
    Hoplite,
    Ids,
    Peer,
    Usearch,
)
from usad_workbench.workbench.speed.planted import DIM, FloatArray, plant, workspace_of
from usad_workbench.workbench.speed.processes import memory_of
from usad_workbench.workbench.speed.storing import ENCODER, fill

logger = logging.getLogger(__name__)

SIZE = 100_000
QUERIES = 100
K = 10


class Ours(Peer):
    """The index of a space, built and asked as the commands do."""

    module = "usad_workbench"

    def __init__(self, workspace: Workspace, kind: Kind) -> None:
        self.name = kind
        self._workspace, self._kind = workspace, kind

    def build(self, unit: FloatArray, path: Path) -> None:
        """Of what the workspace holds, which is ``unit``."""
        self.file_bytes = update_index(self._workspace, ENCODER, 0, kind=self._kind).bytes

    def open(self, path: Path) -> None:
        """By the first query."""

    def nearest(self, query: FloatArray, k: int) -> Ids:
        """Segment i is row i."""
        return search(self._workspace, query, ENCODER, 0, k=k).segment_ids


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What is measured of one index."""

    recall: float
    ms_per_query: float
    build_s: float
    file_mb: float
    memory_mb: float
    """What the process holds more once it is open and was asked."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Collection:
    """Stored vectors, queries that are not among them, and what these should find."""

    unit: FloatArray
    queries: FloatArray
    truth: Ids
    """Shape [query, K]."""


def bench_search(size: int = SIZE) -> Iterator[Row]:
    """Recall, time, file, memory and building of every kind, beside its peers."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        workspace, collection = collect(size, folder)
        n_lists = max(4, min(int(4 * np.sqrt(size)), size // 39))
        pairs: list[tuple[Kind, Peer]] = [
            ("flat", Faiss("Flat")),
            ("hnsw", Faiss("HNSW16", ef_search=256)),
            ("ivf", Faiss(f"IVF{n_lists},SQ8", n_probe=max(8, n_lists // 32))),
            ("auto", Faiss("Flat")),
            ("auto", Hnswlib()),
            ("auto", Usearch()),
            ("auto", Hoplite(is_exact=True)),
            ("auto", Hoplite(is_exact=False)),
        ]
        for kind, peer in pairs:
            if not peer.is_installed:
                logger.warning("search: %s is not installed, left out", peer.name)
                continue
            measured = measure_pair([Ours(workspace, kind), peer], collection, folder / "work")
            yield from _rows(f"search {kind}, {size:,} × {DIM}", peer.name, *measured)


def collect(size: int, folder: Path, n_queries: int = QUERIES) -> tuple[Workspace, Collection]:
    """A workspace of planted vectors, and the same in memory with queries and their truth."""
    planted = plant(size + n_queries)
    workspace = workspace_of(planted, folder)
    vectors = planted.vectors()
    fill(workspace, {0: vectors[:size]})
    unit = normalise(vectors)
    queries = unit[size:]
    scores = queries @ unit[:size].T
    nearest = np.argpartition(-scores, K, axis=1)[:, :K]
    return workspace, Collection(unit=unit[:size], queries=queries, truth=nearest)


def measure_pair(indexes: Sequence[Peer], collection: Collection, folder: Path) -> list[Measured]:
    """Builds and opens each, then asks all of them each query in turn."""
    folder.mkdir()
    build_s, file_mb, memory_mb = [], [], []
    for i, index in enumerate(indexes):
        path = folder / f"index{i}"
        build_s.append(cost_of(partial(index.build, collection.unit, path)).processor_s)
        file_mb.append(bytes_of(index, path) / 1e6)
    for i, index in enumerate(indexes):
        before = memory_of().get("VmRSS", 0)
        index.open(folder / f"index{i}")
        for query in collection.queries:
            index.nearest(query, K)
        memory_mb.append(max(0, memory_of().get("VmRSS", 0) - before) / 1e6)
    processor_s = np.zeros((len(indexes), len(collection.queries)))
    hits = np.zeros(len(indexes))
    for q, query in enumerate(collection.queries):
        for i, index in enumerate(indexes):
            started = time.process_time()
            found = index.nearest(query, K)
            processor_s[i, q] = time.process_time() - started
            hits[i] += len(np.intersect1d(found, collection.truth[q]))
    shutil.rmtree(folder)
    return [
        Measured(
            recall=hits[i] / collection.truth.size,
            ms_per_query=1000 * float(np.median(processor_s[i])),
            build_s=build_s[i],
            file_mb=file_mb[i],
            memory_mb=memory_mb[i],
        )
        for i in range(len(indexes))
    ]


def bytes_of(index: Peer, path: Path) -> int:
    """Of a file or of all files in a folder; of ours, of the file that the workspace lists."""
    if isinstance(index, Ours):
        return index.file_bytes
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


def _rows(name: str, peer: str, ours: Measured, theirs: Measured) -> Iterator[Row]:
    measures = {
        "recall": ("recall@10", "share"),
        "ms_per_query": ("a query, processor", "ms"),
        "build_s": ("building, processor", "s"),
        "file_mb": ("file", "MB"),
        "memory_mb": ("memory when opened", "MB"),
    }
    for field, (measure, unit) in measures.items():
        value, peer_value = getattr(ours, field), getattr(theirs, field)
        yield make_row(f"{name}, {measure}", value, unit, peer, peer_value)
