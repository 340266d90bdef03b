"""One FAISS index: cosine similarity over vectors with ids of their own.

Vectors are brought to length one, so that the inner product that FAISS computes is the
cosine: higher is nearer, 1 is the same direction. FAISS finds candidates; their scores are
computed again from the vectors that the index holds, as exact search computes them, so that
equal scores are equal and come in the order of their ids whichever way is taken. (``ivfpq``
holds no vectors but codes: its scores are estimates.)

An index takes no filter. A graph (HNSW) that passes over what a filter leaves out ends in a
dead corner: on 100,000 clustered vectors 9 of 12 queries by domain found none of the 10,000 to
38,000 rows that passed. Filtered search compares with the rows that pass (``core.cosine``).

``auto`` above 50,000 vectors is IVF and was HNSW: on 100,000 vectors of 384 values in 200
clusters, queries held out, recall@10 of HNSW16 was 0.959 at efSearch 64, 0.985 at 256 and
0.987 at 512, of inverted lists 1.000 where an eighth of them is read (2.9 ms a query on two
cores, exact search 11 ms), still 1.000 at a thirty-second.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import faiss
import numpy as np
import numpy.typing as npt

from usad_workbench.core.cosine import normalise, scores_of, unit_query
from usad_workbench.core.errors import FileError, ShapeError, StoreError
from usad_workbench.core.metrics import check_k
from usad_workbench.core.storage.workspace import FloatArray

Kind = Literal["auto", "flat", "ivf", "ivfpq", "hnsw"]
Ids = npt.NDArray[np.int64]

FLAT_UP_TO = 50_000
"""Exact search of this many 768-wide vectors takes about 10 ms on two cores; below that
nothing faster is worth an approximation."""
MIN_TRAINING_PER_LIST = 39
"""FAISS warns below 39 training vectors per inverted list."""
TRAINING_PER_LIST = 64
TRAINING_ROUNDS = 10
"""For 100,000 vectors on a busy machine: 632 lists by these 25 s, 1,264 lists by FAISS's own
256 vectors a list and 25 rounds 97 s; both find the same."""
READ_LISTS = 8
"""One list in so many is read."""
SCORE_TOLERANCE = 1e-5
"""More than FAISS's sums in float32 differ from exact ones."""
SPARE_HITS = 32
"""Candidates beyond those asked for, whose exact scores may be the better ones."""
BLOCK_QUERIES = 256
TRAINING_VECTORS = {"ivf": 4 * MIN_TRAINING_PER_LIST, "ivfpq": 256 * MIN_TRAINING_PER_LIST}
"""The number of vectors that the smallest index of each kind is trained on."""
HNSW_LINKS = 16
HNSW_EF_CONSTRUCTION = 40
HNSW_EF_SEARCH = 256


@dataclass(frozen=True, slots=True)
class Hits:
    """Best first; shape [query, k]. Ids of -1 fill up where fewer were found."""

    ids: Ids
    scores: FloatArray


class VectorIndex:
    """A FAISS index with the kind it was built as."""

    def __init__(self, index: Any, kind: str) -> None:
        self._index = index
        self.kind = kind
        if kind == "ivf":  # where each vector lies, to read it again
            faiss.extract_index_ivf(index).make_direct_map()

    @staticmethod
    def build(vectors: FloatArray, ids: Ids, kind: Kind = "auto") -> "VectorIndex":
        """Builds an index; ``auto`` is exact up to 50,000 vectors and IVF above.

        Raises:
            ShapeError: ids that do not fit the vectors.

        >>> index = VectorIndex.build(np.eye(3, dtype=np.float32), np.array([7, 8, 9]))
        >>> index.search(np.eye(3, dtype=np.float32)[:1], 1).ids.tolist()
        [[7]]
        """
        if vectors.ndim != 2 or len(ids) != len(vectors):
            raise ShapeError(
                f"Found vectors of shape {vectors.shape} and {len(ids)} ids, expected one id per row."
            )
        chosen = _resolve(kind, len(vectors))
        inner = _make(chosen, vectors.shape[1], len(vectors))
        unit = normalise(vectors)
        if not inner.is_trained:
            inner.train(unit)
        index = faiss.IndexIDMap2(inner)
        index.add_with_ids(unit, np.ascontiguousarray(ids, dtype=np.int64))
        return VectorIndex(index, chosen)

    @staticmethod
    def load(path: Path, kind: str) -> "VectorIndex":
        """Reads an index file.

        Raises:
            StoreError: a file that is missing or damaged.
        """
        try:
            return VectorIndex(faiss.read_index(str(path)), kind)
        except RuntimeError as error:
            raise StoreError(
                f"{path} cannot be read as a FAISS index. Build it again with `usad index`."
            ) from error

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return int(self._index.d)

    def ids(self) -> Ids:
        """The ids that are in the index."""
        ids: Ids = faiss.vector_to_array(self._index.id_map)
        return ids

    def with_added(self, vectors: FloatArray, ids: Ids) -> "VectorIndex":
        """A copy with more vectors; this one stays as its file is, for who is searching it."""
        more = VectorIndex(faiss.clone_index(self._index), self.kind)
        more._index.add_with_ids(normalise(vectors), np.ascontiguousarray(ids, dtype=np.int64))
        return more

    def search(self, queries: FloatArray, k: int) -> Hits:
        """The k nearest of each query, best first; equal scores in the order of their ids.

        Args:
            queries: Shape [query, dim].
            k: How many; fewer come back where there are fewer.

        Raises:
            ShapeError: queries of another width.
            DegenerateError: queries that are not finite, or all zeros.
            ConfigError: a ``k`` below 1.
        """
        k = min(check_k(k), len(self))
        if np.ndim(queries) != 2:
            raise ShapeError(
                f"Found queries of shape {np.shape(queries)}, expected [query, {self.dim}]."
            )
        unit = np.empty((len(queries), self.dim), np.float32)
        for row, query in enumerate(queries):
            unit[row] = unit_query(query, self.dim)
        ids = np.empty((len(unit), k), np.int64)
        scores = np.empty((len(unit), k), np.float32)
        for start in range(0, len(unit) if k else 0, BLOCK_QUERIES):
            block = slice(start, start + BLOCK_QUERIES)
            ids[block], scores[block] = self._search(unit[block], k)
        return Hits(ids, scores)

    def candidates(self, unit: FloatArray, k: int) -> Hits:
        """What FAISS finds for queries at length one, its own scores as they are."""
        scores, ids = self._index.search(unit, k, params=self._parameters())
        return Hits(ids, scores)

    def _search(self, unit: FloatArray, k: int) -> tuple[Ids, FloatArray]:
        """The k best of as many candidates as may be among them."""
        wanted = k + SPARE_HITS
        while True:
            wanted = min(wanted, len(self))
            found = self.candidates(unit, wanted)
            # Where the candidates end among equals, some of those equals are not among them.
            is_whole = found.scores[:, -1] < found.scores[:, k - 1] - SCORE_TOLERANCE
            if wanted == len(self) or bool(is_whole.all()) or bool((found.ids[:, -1] < 0).all()):
                break
            wanted *= 4
        scores = found.scores if self.kind == "ivfpq" else self._exact_scores(unit, found)
        order = np.lexsort((found.ids, -scores), axis=1)[:, :k]
        return np.take_along_axis(found.ids, order, 1), np.take_along_axis(scores, order, 1)

    def _exact_scores(self, unit: FloatArray, candidates: Hits) -> FloatArray:
        scores = np.full(candidates.scores.shape, -np.inf, np.float32)
        for row, query in enumerate(unit):
            is_there = candidates.ids[row] >= 0
            vectors = self._index.reconstruct_batch(candidates.ids[row][is_there])
            scores[row, is_there] = scores_of(vectors, query)
        return scores

    def save(self, path: Path) -> None:
        """Writes the index to a file.

        Raises:
            FileError: a file that cannot be written.
        """
        try:
            faiss.write_index(self._index, str(path))
        except RuntimeError as error:
            raise FileError(f"{path} cannot be written: {error}. Free some space.") from error

    def _parameters(self) -> Any:
        if self.kind == "hnsw":
            return faiss.SearchParametersHNSW(efSearch=HNSW_EF_SEARCH)
        if self.kind in ("ivf", "ivfpq"):
            n_lists = faiss.extract_index_ivf(self._index).nlist
            return faiss.SearchParametersIVF(nprobe=max(8, n_lists // READ_LISTS))
        return None


def why_exact(kind: Kind, n: int) -> str:
    """Why an index of a kind is built as an exact one of so many vectors; empty where it is not.

    >>> why_exact("ivf", 100)
    'ivf needs 156 vectors to train on, there are 100: built flat, which is exact'
    """
    needed = TRAINING_VECTORS.get(kind, 0)
    if n >= needed:
        return ""
    return (
        f"{kind} needs {needed:,} vectors to train on, there are {n:,}: built flat, which is exact"
    )


def _resolve(kind: Kind, n: int) -> str:
    """What ``auto`` means; kinds that need training fall back to exact search when small."""
    if kind == "auto":
        return "flat" if n <= FLAT_UP_TO else "ivf"
    return "flat" if why_exact(kind, n) else kind


def _make(kind: str, dim: int, n: int) -> Any:
    if kind == "flat":
        return faiss.IndexFlatIP(dim)
    if kind == "hnsw":
        index = faiss.IndexHNSWFlat(dim, HNSW_LINKS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = HNSW_EF_CONSTRUCTION
        return index
    n_lists = max(4, min(int(2 * np.sqrt(n)), n // MIN_TRAINING_PER_LIST))
    parts = next(p for p in (64, 48, 32, 16, 8, 4, 2, 1) if dim % p == 0)
    codes = "Flat" if kind == "ivf" else f"PQ{parts}"
    index = faiss.index_factory(dim, f"IVF{n_lists},{codes}", faiss.METRIC_INNER_PRODUCT)
    index.cp.max_points_per_centroid = TRAINING_PER_LIST
    index.cp.niter = TRAINING_ROUNDS
    return index
