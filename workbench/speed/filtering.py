"""Filtered search at five selectivities, and what a search in an open workspace costs on top.

The rows that pass lie in whole clusters, as those of a domain do: a graph that passes over the
others loses its way among them. The peer is FAISS's exact search with the rows that pass given;
ours finds out which they are from the condition.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.indexes.files import open_index
from usad_workbench.indexes.spaces import search, update_index
from usad_workbench.workbench.speed.measure import Row, make_row
from usad_workbench.workbench.speed.planted import DIM, FloatArray, plant
from usad_workbench.workbench.speed.searching import Collection, K, collect
from usad_workbench.workbench.speed.storing import ENCODER

SIZE = 100_000
THOUSANDTHS = (1, 10, 100, 500, 1000)
QUERIES = 30
ROUNDS = 3


def bench_filtered_search(size: int = SIZE) -> Iterator[Row]:
    """Recall against exact search over the rows that pass, and milliseconds a query."""
    with tempfile.TemporaryDirectory() as name:
        workspace, collection = collect(size, Path(name))
        update_index(workspace, ENCODER, 0)
        cluster = plant(size + len(collection.queries)).cluster[:size]
        place = cluster * 1000 // plant(size + len(collection.queries)).n_clusters
        exact = faiss.IndexFlatIP(DIM)
        exact.add(collection.unit)
        # Of few vectors there are few clusters: one filter where several leave the same.
        by_count = {int((place < t).sum()): t for t in reversed(THOUSANDTHS)}
        for thousandths in sorted(by_count.values()):
            rows = np.flatnonzero(place < thousandths)
            yield from _filtered(workspace, collection, exact, rows, thousandths)


def _filtered(
    workspace: Workspace, collection: Collection, exact: Any, rows: Any, thousandths: int
) -> Iterator[Row]:
    parameters = faiss.SearchParameters(sel=faiss.IDSelectorBatch(rows))
    where = f"place::INTEGER < {thousandths}"
    search(workspace, collection.queries[0], ENCODER, 0, k=K, where=where)
    n_found = n_true = 0
    times: dict[str, list[tuple[float, float]]] = {"ours": [], "peer": []}
    for query in collection.queries[:QUERIES]:
        clock = _clock()
        found = search(workspace, query, ENCODER, 0, k=K, where=where).segment_ids
        times["ours"].append(_since(clock))
        clock = _clock()
        _, true = exact.search(query[None], min(K, len(rows)), params=parameters)
        times["peer"].append(_since(clock))
        n_found += len(np.intersect1d(found, true[0]))
        n_true += true.size
    label = f"search-filtered, {len(rows):,} of {len(collection.unit):,} rows pass"
    yield make_row(f"{label}, recall@10", n_found / n_true, "share", "exact", 1.0)
    for clock_name, column in (("processor", 0), ("wall", 1)):
        ours, peer = (1000 * float(np.median(times[who], axis=0)[column]) for who in times)
        yield make_row(
            f"{label}, a query, {clock_name}", ours, "ms", "FAISS Flat, the rows given", peer
        )


def bench_search_overhead(size: int = SIZE) -> list[Row]:
    """One query at a time through ``search`` against FAISS, with and without exact refinement.

    All read as many lists of the same index, for the cosine of a query of any length, which each
    brings to length one. Like is compared with like where FAISS compares as many candidates with
    the vectors themselves (``IndexRefine``), as ours does; ours looks beside that whether the
    workspace has changed. Each asks all queries before the next does: asked in turn, the second
    finds the lists of a query in the processor's cache.

    What ours costs beside FAISS is little work, done cold: reading the lists has thrown everything
    else out of the cache, so that each step takes three to six times as long as in a loop of its
    own. Of 0.047 ms the vectors of the candidates are 0.010, their scores 0.012, and to ask the
    system whether three files have changed 0.008.
    """
    with tempfile.TemporaryDirectory() as name:
        workspace, collection = collect(size, Path(name))
        update_index(workspace, ENCODER, 0)
        index: Any = open_index(workspace, workspace.space(ENCODER, 0)).index
        n_candidates = max(2 * K, index.effort.n_candidates)
        exact = faiss.IndexFlatIP(DIM)
        exact.add(collection.unit)
        refined = faiss.IndexRefine(index.faiss_index, exact)
        lists = index.parameters(K)
        both = faiss.IndexRefineSearchParameters(k_factor=n_candidates / K, base_index_params=lists)
        ways: dict[str, Callable[[FloatArray], object]] = {
            "ours": lambda query: search(workspace, query, ENCODER, 0, k=K),
            "raw FAISS, the same index": lambda query: index.faiss_index.search(
                _at_length_one(query), K, params=lists
            ),
            f"FAISS, the same index, {n_candidates} candidates refined exactly": (
                lambda query: refined.search(_at_length_one(query), K, params=both)
            ),
        }
        lengths = np.linspace(0.5, 2, len(collection.queries), dtype=np.float32)
        times = _times(ways, collection.queries * lengths[:, None])
    return [
        make_row(
            f"search-overhead, {size:,} × {DIM}, against {against}, {clock_name}",
            *(times["ours"][column], "ms", peer, times[peer][column]),
        )
        for peer, against in zip(list(ways)[1:], ("raw FAISS", "refined FAISS"), strict=True)
        for clock_name, column in (("processor", 0), ("wall", 1))
    ]


def _at_length_one(query: FloatArray) -> FloatArray:
    """As FAISS's own cosine is asked for, shape [1, dim]; the caller's query stays as it is."""
    asked = query[None].copy()
    faiss.normalize_L2(asked)
    return asked


def _times(
    ways: Mapping[str, Callable[[FloatArray], object]], queries: FloatArray
) -> dict[str, tuple[float, float]]:
    """Median milliseconds of a query, of the processor and of the wall, of each way."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, ask in ways.items():
            for query in queries:
                clock = _clock()
                ask(query)
                times[name].append(_since(clock))
    medians = {name: 1000 * np.median(found, axis=0) for name, found in times.items()}
    return {name: (float(found[0]), float(found[1])) for name, found in medians.items()}


def _clock() -> tuple[float, float]:
    return time.process_time(), time.perf_counter()


def _since(clock: tuple[float, float]) -> tuple[float, float]:
    now = _clock()
    return now[0] - clock[0], now[1] - clock[1]
