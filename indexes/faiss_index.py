"""One FAISS index: nearest vectors by cosine, inner product or L2, with ids of their own.

FAISS finds candidates; their scores are computed again from the stored vectors, as exact search
computes them (``core.metrics``), so that scores are exact for every kind, and equal ones come in
the order of their ids whichever way is taken. How many candidates, and how much of the index is
read for them, is its effort (``tuning`` finds it).

For the cosine vectors are brought to length one, so that the inner product that FAISS computes
is the cosine.

An index takes no filter. A graph (HNSW) that passes over what a filter leaves out ends in a
dead corner: on 100,000 clustered vectors 9 of 12 queries by domain found none of the 10,000 to
38,000 rows that passed. Filtered search compares with the rows that pass (``core.metrics``).
"""

import threading
from copy import copy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from usad_workbench.core.cosine import normalise
from usad_workbench.core.errors import FileError, ShapeError, StoreError
from usad_workbench.core.metrics import Metric, check_k, nearest, query_of, scores
from usad_workbench.indexes.faiss_module import load_faiss
from usad_workbench.indexes.hits import FloatArray, Hits, Ids
from usad_workbench.indexes.stored import StoredVectors

TIE = 1e-5
"""More than FAISS's sums in float32 differ for equal vectors, as a share of the score."""
SPARE_HITS = 32
"""Candidates beyond those asked for, whose exact scores may be the better ones."""
TUNED_K = 10
"""So many nearest an effort is tuned for; more get more of it, in proportion."""
BLOCK_QUERIES = 256
COMPARED_ROWS = 8192
HNSW_EF_CONSTRUCTION = 80
LINE_BYTES = 64
"""Of the processor's cache. A query that begins with a line is read without crossing one: 6 % of the
time of FAISS, 0.04 ms of 0.65, on a processor with AVX-512. numpy begins anywhere."""
REMOVED = -1
"""The id of what was removed from a graph, which keeps its nodes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Effort:
    """How much an index does for a query: more finds more and takes longer."""

    n_probe: int = 0
    """Inverted lists that are read."""
    ef_search: int = 0
    """Nodes of a graph that are kept in sight."""
    n_candidates: int = SPARE_HITS
    """Candidates whose exact scores are computed, at least."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Request:
    """What is asked of FAISS for so many hits: found out once, not for each query."""

    k: int
    times: float
    """By how much the effort is raised."""
    n_candidates: int
    parameters: Any
    is_of_all: bool
    """Whether the query is compared with all stored vectors instead, where there are any."""


class _QueryOfThread(threading.local):
    """Where a thread puts the one query that it asks."""

    def __init__(self, dim: int) -> None:
        self.rows = _at_a_line(1, dim)


def _at_a_line(n: int, dim: int) -> FloatArray:
    """Room for vectors [n, dim] that begins with a line of the cache."""
    n_bytes = 4 * n * dim
    room = np.empty(n_bytes + LINE_BYTES, np.uint8)
    start = -room.ctypes.data % LINE_BYTES
    return room[start : start + n_bytes].view(np.float32).reshape(n, dim)


_NOTHING = np.empty(0, np.int64), np.empty(0, np.float32)


class VectorIndex:
    """A FAISS index with its kind, metric and effort, and the vectors that it was built from."""

    def __init__(
        self,
        index: Any,
        kind: str,
        metric: Metric = "cosine",
        effort: Effort | None = None,
        stored: StoredVectors | None = None,
    ) -> None:
        self.faiss_index = index
        self.kind = kind
        self.metric = metric
        self.effort = effort or Effort()
        self.stored = stored
        """What candidates are compared with; an exact index needs none, others then give
        estimates."""
        self._n_removed = int((self.all_ids() == REMOVED).sum()) if kind == "hnsw" else 0
        self._requests: dict[int, _Request] = {}
        self._asked = _QueryOfThread(self.dim)

    @staticmethod
    def load(
        path: Path,
        kind: str,
        metric: Metric = "cosine",
        effort: Effort | None = None,
        *,
        is_mapped: bool = True,
    ) -> "VectorIndex":
        """Opens an index file, as a memory map unless it is to be changed.

        Raises:
            StoreError: a file that is missing or damaged.
            MissingExtraError: FAISS is not installed.
        """
        faiss = load_faiss()
        try:
            index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC if is_mapped else 0)
        except RuntimeError as error:
            raise StoreError(
                f"{path} cannot be read as a FAISS index. Build it again with `usad index`."
            ) from error
        return VectorIndex(index, kind, metric, effort)

    def __len__(self) -> int:
        return int(self.faiss_index.ntotal) - self._n_removed

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return int(self.faiss_index.d)

    @property
    def n_lists(self) -> int:
        """How many inverted lists there are; 0 of a kind without."""
        return int(self.faiss_index.nlist) if self.kind in ("ivf", "ivfpq") else 0

    def all_ids(self) -> Ids:
        """The ids as the index holds them, -1 for what was removed from a graph."""
        faiss = load_faiss()
        if self.kind not in ("ivf", "ivfpq"):
            ids: Ids = faiss.vector_to_array(self.faiss_index.id_map)
            return ids
        lists = self.faiss_index.invlists
        parts = [
            faiss.rev_swig_ptr(lists.get_ids(i), lists.list_size(i)).copy()
            for i in range(self.faiss_index.nlist)
            if lists.list_size(i)
        ]
        return np.concatenate([*parts, np.empty(0, np.int64)])

    def ids(self) -> Ids:
        """The ids that are in the index, ascending."""
        ids = self.all_ids()
        return np.sort(ids[ids != REMOVED])

    def add(self, ids: Ids, vectors: FloatArray) -> None:
        """Adds vectors [id, dim] under ids that the index does not have."""
        self._requests.clear()
        self.faiss_index.add_with_ids(
            self.prepared(vectors), np.ascontiguousarray(ids, dtype=np.int64)
        )

    def remove(self, ids: Ids) -> None:
        """Takes vectors out by their ids; a graph keeps them as ways to others."""
        self._requests.clear()
        if self.kind != "hnsw":
            self.faiss_index.remove_ids(np.ascontiguousarray(ids, dtype=np.int64))
            return
        kept = self.all_ids()
        kept[np.isin(kept, ids)] = REMOVED
        load_faiss().copy_array_to_vector(kept, self.faiss_index.id_map)
        self._n_removed = int((kept == REMOVED).sum())

    def prepared(self, vectors: FloatArray) -> FloatArray:
        """Vectors as the index holds them: at length one for the cosine."""
        if self.metric == "cosine":
            return normalise(vectors)
        return np.ascontiguousarray(vectors, dtype=np.float32)

    def search(self, queries: FloatArray, k: int) -> Hits:
        """The k nearest of each query, best first; equal scores in the order of their ids.

        Args:
            queries: Shape [query, dim].
            k: How many; fewer come back where there are fewer.

        Raises:
            ShapeError: queries of another width.
            DegenerateError: queries that are not finite, or for the cosine all zeros.
            ConfigError: a ``k`` below 1.
        """
        if np.ndim(queries) != 2:
            raise ShapeError(
                f"Found queries of shape {np.shape(queries)}, expected [query, {self.dim}]."
            )
        asked = _at_a_line(len(queries), self.dim)
        for row, query in enumerate(queries):
            asked[row] = query_of(query, self.dim, self.metric)
        k = min(check_k(k), len(self))
        ids = np.full((len(asked), k), -1, np.int64)
        found = np.full((len(asked), k), -np.inf, np.float32)
        for start in range(0, len(asked) if k else 0, BLOCK_QUERIES):
            hits = self._nearest(asked[start : start + BLOCK_QUERIES], self._request(k))
            for row, (best, exact) in enumerate(hits, start):
                ids[row, : len(best)], found[row, : len(best)] = best, exact
        return Hits(ids, found)

    def _nearest(self, asked: FloatArray, request: _Request) -> list[tuple[Ids, FloatArray]]:
        if request.is_of_all and self.stored is not None:
            return [self._nearest_of_all(query, request.k) for query in asked]
        candidates = self._candidates(asked, request.n_candidates, request.parameters)
        return [self._best_of(*one, request) for one in zip(asked, *candidates, strict=True)]

    def nearest(self, query: FloatArray, k: int) -> tuple[Ids, FloatArray]:
        """Ids and scores [hit] of one query [dim] that ``query_of`` made, as ``search`` finds them."""
        request = self._requests.get(k) or self._request(check_k(k))
        if not request.k:
            return _NOTHING
        if request.is_of_all and self.stored is not None:
            return self._nearest_of_all(query, request.k)
        asked = self._asked.rows
        asked[0] = query
        ids, estimates = self._candidates(asked, request.n_candidates, request.parameters)
        return self._best_of(query, ids[0], estimates[0], request)

    def candidates(self, asked: FloatArray, k: int, *, times: float = 1) -> Hits:
        """What FAISS finds for prepared queries, its own scores as they are, higher nearer.

        Args:
            asked: Shape [query, dim], at length one for the cosine.
            k: How many.
            times: By how much the effort is raised.
        """
        return Hits(*self._candidates(asked, k, self.parameters(k, times)))

    def _candidates(self, asked: FloatArray, k: int, parameters: Any) -> tuple[Ids, FloatArray]:
        found, ids = self.faiss_index.search(asked, k, params=parameters)
        return ids, -found if self.metric == "l2" else found

    def _request(self, k: int) -> _Request:
        """What is asked of FAISS for the k nearest, or for all where there are fewer."""
        n_hits = min(k, len(self))
        spare = SPARE_HITS if self.kind == "flat" else n_hits  # other kinds have been tuned
        times = max(1.0, n_hits / TUNED_K)
        wanted = max(n_hits + spare, round(self.effort.n_candidates * times))
        wanted = min(int(self.faiss_index.ntotal), wanted)
        request = _Request(
            k=n_hits,
            times=times,
            n_candidates=wanted,
            parameters=self.parameters(wanted, times),
            is_of_all=self._is_of_all(n_hits, wanted),
        )
        self._requests[k] = request
        return request

    def _best_of(
        self, query: FloatArray, ids: Ids, estimates: FloatArray, request: _Request
    ) -> tuple[Ids, FloatArray]:
        """The k best of candidates; of more and more where these are too few."""
        if self._is_enough(ids, estimates, request.k):
            return self._rescored(query, ids, estimates, request.k)
        k, times = request.k, request.times
        n, wanted = int(self.faiss_index.ntotal), len(ids)
        while wanted < n or times * max(1, self.effort.n_probe) < self.n_lists:
            wanted, times = min(4 * wanted, n), 4 * times
            found = self.candidates(query[None], wanted, times=times)
            ids, estimates = found.ids[0], found.scores[0]
            if self._is_enough(ids, estimates, k):
                break
        best = self._rescored(query, ids, estimates, k)
        if len(best[0]) < k and self.stored is not None:
            return self._nearest_of_all(query, k)
        return best

    def _is_of_all(self, k: int, n_candidates: int) -> bool:
        """Whether so many candidates are so large a part that all vectors are as soon compared.

        To some nodes of a graph no way leads, so that it cannot find all of them. By the inner
        product, which is no distance, these are many: of 10,000 vectors it found 0.997 of the 10
        nearest, 0.95 of 100 with ten times the effort, 0.88 of 400 with forty times.
        """
        is_lost = self.kind == "hnsw" and self.metric == "inner_product" and k > 2 * TUNED_K
        return self.kind != "flat" and (is_lost or 2 * n_candidates >= len(self))

    def _nearest_of_all(self, query: FloatArray, k: int) -> tuple[Ids, FloatArray]:
        """The k nearest of all vectors of the index, by exact search."""
        stored, ids = self.stored, self.ids()
        if stored is None:
            raise StoreError("This index has no stored vectors to compare with. Set `stored`.")
        parts = (ids[i : i + COMPARED_ROWS] for i in range(0, len(ids), COMPARED_ROWS))
        return nearest(((part, stored.rows(part)) for part in parts), query, k, self.metric)

    def _rescored(
        self, query: FloatArray, ids: Ids, estimates: FloatArray, k: int
    ) -> tuple[Ids, FloatArray]:
        """The k best of candidates by their exact scores; by FAISS's where nothing is stored."""
        if ids.item(-1) < 0 or self._n_removed:
            is_there = ids >= 0
            ids, estimates = ids[is_there], estimates[is_there]
        exact = estimates
        if self.stored is not None or self.kind == "flat":
            exact = scores(self._vectors(ids), query, self.metric)
        order = np.lexsort((ids, -exact))[:k]
        return ids[order], exact[order]

    def _is_enough(self, ids: Ids, estimates: FloatArray, k: int) -> bool:
        """Whether k candidates were found, and they do not end among equals of the k-th."""
        # What FAISS lacks stands at the end; what was removed from a graph anywhere.
        if ids.item(-1) < 0 or self._n_removed:
            n_found = int(np.count_nonzero(ids >= 0))
            if n_found < len(ids):
                return n_found >= k
        kth: float = estimates.item(k - 1)
        last: float = estimates.item(-1)
        return last < kth - TIE * abs(kth)

    def _vectors(self, ids: Ids) -> FloatArray:
        if self.stored is not None:
            return self.stored.rows(ids)
        mapped = self.all_ids()
        order = np.argsort(mapped)
        places = order[np.searchsorted(mapped, ids, sorter=order)]
        vectors: FloatArray = self.faiss_index.index.reconstruct_batch(places)
        return vectors

    def save(self, path: Path) -> None:
        """Writes the index to a file.

        Raises:
            FileError: a file that cannot be written.
        """
        try:
            load_faiss().write_index(self.faiss_index, str(path))
        except RuntimeError as error:
            raise FileError(f"{path} cannot be written: {error}. Free some space.") from error

    def parameters(self, k: int, times: float = 1) -> Any:
        """What FAISS is told for k candidates with so many times the effort; nothing if exact."""
        if self.kind == "hnsw":
            return _graph_parameters(max(k, round(self.effort.ef_search * times)))
        if self.n_lists:
            return _list_parameters(max(1, min(round(self.effort.n_probe * times), self.n_lists)))
        return None

    def with_effort(self, effort: Effort) -> "VectorIndex":
        """The same index, which does more or less for a query."""
        other = copy(self)
        other.effort, other._requests = effort, {}
        return other

    def with_stored(self, stored: StoredVectors) -> "VectorIndex":
        """The same index, which compares candidates with these vectors."""
        other = copy(self)
        other.stored, other._requests = stored, {}
        return other


@cache
def _graph_parameters(ef_search: int) -> Any:
    """To make them takes as long as to compare ten candidates."""
    return load_faiss().SearchParametersHNSW(efSearch=ef_search)


@cache
def _list_parameters(n_probe: int) -> Any:
    return load_faiss().SearchParametersIVF(nprobe=n_probe)
