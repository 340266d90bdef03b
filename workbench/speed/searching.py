"""Search in an open workspace against FAISS itself and other libraries, on the same vectors.

Queries are held out. Recall is the share of the ten nearest that are found; the truth is a
product of matrices over all vectors. Each of our kinds of index stands beside FAISS with the
same parameters, ``auto`` beside every other library. The two of a pair take turns, query by
query; milliseconds are of the processor, one query at a time.
"""

import logging
import multiprocessing
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np

from usad_workbench.core.cosine import normalise
from usad_workbench.core.errors import StoreError
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.indexes.files import open_index
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
BRUTE_UP_TO = 200_000
"""Brute force in Python takes seconds a query beyond."""
KINDS: tuple[Kind, ...] = ("auto", "flat", "hnsw")
"""``auto`` first: where there is an index it keeps its kind. It is ``ivf`` above 50,000."""


class Ours(Peer):
    """The index of a space, built and asked as the commands do."""

    module = "usad_workbench"

    def __init__(self, workspace: Workspace, kind: Kind) -> None:
        self.name = kind
        self._workspace, self._kind = workspace, kind
        self.file_bytes = 0

    def build(self, unit: FloatArray, path: Path) -> None:
        """Of what the workspace holds, which is ``unit``."""
        self.file_bytes = update_index(self._workspace, ENCODER, 0, kind=self._kind).bytes

    def open(self, path: Path) -> None:
        """By the first query."""

    def nearest(self, query: FloatArray, k: int) -> Ids:
        """Segment i is row i."""
        return search(self._workspace, query, ENCODER, 0, k=k).segment_ids

    def same_in_faiss(self) -> Faiss:
        """FAISS with the parameters that were chosen."""
        opened = open_index(self._workspace, self._workspace.space(ENCODER, 0))
        if opened.settings is None:
            raise StoreError("The index that was built just now is not there. Run this alone.")
        effort = opened.settings.effort
        factory = opened.settings.factory.removeprefix("IDMap,")
        return Faiss(factory, n_probe=effort.n_probe, ef_search=effort.ef_search)


@dataclass(frozen=True, kw_only=True, slots=True)
class Built:
    """What an index costs before and beside its queries."""

    build_s: float
    """Processor seconds."""
    file_mb: float
    memory_mb: float
    """What a process holds more once it has opened the index and asked it, mapped files included."""
    own_memory_mb: float
    """The same without mapped files, whose pages are the kernel's to take back."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Collection:
    """Stored vectors, queries that are not among them, and what these should find."""

    unit: FloatArray
    queries: FloatArray
    truth: Ids
    """Shape [query, K]."""


def bench_search(size: int = SIZE, without: tuple[str, ...] = ()) -> Iterator[Row]:
    """Recall, time, file, memory and building of every kind, beside its peers.

    Args:
        size: How many vectors.
        without: How the names of libraries begin that are left out.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        workspace, collection = collect(size, folder)
        others: list[Peer] = [Hnswlib(), Usearch(), Hoplite(is_exact=False)]
        if size <= BRUTE_UP_TO:
            others.append(Hoplite(is_exact=True))
        others = [peer for peer in others if not peer.name.startswith(without)]
        for kind in KINDS:
            ours = Ours(workspace, kind)
            built = build(ours, collection, folder)
            for peer in [ours.same_in_faiss(), *(others if kind == KINDS[0] else [])]:
                if not peer.is_installed:
                    logger.warning("search: %s is not installed, left out", peer.name)
                    continue
                costs = [built, build(peer, collection, folder)]
                asked = ask([ours, peer], collection)
                yield from _rows(f"search {kind}, {size:,} × {DIM}", peer.name, costs, asked)


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


def build(index: Peer, collection: Collection, folder: Path) -> Built:
    """Builds and opens an index."""
    path = folder / f"index{len(list(folder.glob('index*')))}"
    cost = cost_of(partial(index.build, collection.unit, path))
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        memory, own = pool.submit(_memory_opened, index, path, collection.queries).result()
    index.open(path)
    return Built(
        build_s=cost.processor_s,
        file_mb=bytes_of(index, path) / 1e6,
        memory_mb=memory / 1e6,
        own_memory_mb=own / 1e6,
    )


def _memory_opened(index: Peer, path: Path, queries: FloatArray) -> tuple[int, int]:
    """Bytes in a process that does nothing else: all of them, and those of no file."""
    import_module(index.module)
    before = memory_of()
    index.open(path)
    for query in queries:
        index.nearest(query, K)
    after = memory_of()
    most = after.get("VmHWM", 0) - before.get("VmRSS", 0)
    return max(0, most), max(0, after.get("RssAnon", 0) - before.get("RssAnon", 0))


def ask(indexes: Sequence[Peer], collection: Collection) -> list[tuple[float, float]]:
    """Asks all of them each query in turn: recall and milliseconds of the processor of each."""
    processor_s = np.zeros((len(indexes), len(collection.queries)))
    hits = np.zeros(len(indexes))
    for q, query in enumerate(collection.queries):
        for i, index in enumerate(indexes):
            started = time.process_time()
            found = index.nearest(query, K)
            processor_s[i, q] = time.process_time() - started
            hits[i] += len(np.intersect1d(found, collection.truth[q]))
    return [
        (float(hits[i] / collection.truth.size), 1000 * float(np.median(processor_s[i])))
        for i in range(len(indexes))
    ]


def bytes_of(index: Peer, path: Path) -> int:
    """Of a file or of all files in a folder; of ours, of the file that the workspace lists."""
    if isinstance(index, Ours):
        return index.file_bytes
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


def _rows(
    name: str, peer: str, built: Sequence[Built], asked: Sequence[tuple[float, float]]
) -> Iterator[Row]:
    measures: dict[tuple[str, str], list[float]] = {
        ("recall@10", "share"): [recall for recall, _ in asked],
        ("a query, processor", "ms"): [milliseconds for _, milliseconds in asked],
        ("building, processor", "s"): [one.build_s for one in built],
        ("file", "MB"): [one.file_mb for one in built],
        ("memory when opened", "MB"): [one.memory_mb for one in built],
        ("memory when opened, mapped files left out", "MB"): [one.own_memory_mb for one in built],
    }
    for (measure, unit), (value, peer_value) in measures.items():
        yield make_row(f"{name}, {measure}", value, unit, peer, peer_value)
