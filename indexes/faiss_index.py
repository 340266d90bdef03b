"""One FAISS index: cosine similarity over vectors with ids of their own.

Vectors are brought to length one, so that the inner product that FAISS computes is the
cosine: higher is nearer, 1 is the same direction.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import faiss
import numpy as np
import numpy.typing as npt

from usad_workbench.core.errors import ConfigError, ShapeError, StoreError
from usad_workbench.core.storage.workspace import FloatArray, normalise

Kind = Literal["auto", "flat", "ivf", "ivfpq", "hnsw"]
Ids = npt.NDArray[np.int64]

FLAT_UP_TO = 50_000
"""Exact search of this many 768-wide vectors takes about 10 ms on two cores; below that
nothing faster is worth an approximation."""
MIN_TRAINING_PER_LIST = 39
"""FAISS warns below 39 training vectors per inverted list."""
TRAINING_VECTORS = {"ivf": 4 * MIN_TRAINING_PER_LIST, "ivfpq": 256 * MIN_TRAINING_PER_LIST}
"""By kind, how many vectors its smallest index is trained on."""
HNSW_LINKS = 16
HNSW_EF_CONSTRUCTION = 40
HNSW_EF_SEARCH = 64


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

    @staticmethod
    def build(vectors: FloatArray, ids: Ids, kind: Kind = "auto") -> "VectorIndex":
        """Builds an index; ``auto`` is exact up to 50,000 vectors and HNSW above.

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

    def add(self, vectors: FloatArray, ids: Ids) -> None:
        """Adds vectors to those that are there."""
        self._index.add_with_ids(normalise(vectors), np.ascontiguousarray(ids, dtype=np.int64))

    def search(self, queries: FloatArray, k: int, among: Ids | None = None) -> Hits:
        """The k nearest of each query, best first; equal scores in the order of their ids.

        Args:
            queries: Shape [query, dim].
            k: How many; fewer come back where there are fewer.
            among: Only these ids.

        Raises:
            ShapeError: queries of another width.
            ConfigError: a ``k`` below 1.
        """
        if queries.ndim != 2 or queries.shape[1] != self.dim:
            raise ShapeError(
                f"Found queries of shape {queries.shape}, the index holds vectors of "
                f"{self.dim} values. Embed the query with the same encoder and layer."
            )
        if k < 1:
            raise ConfigError(f"Found k = {k}, expected 1 or more. Ask for at least one hit.")
        available = len(self) if among is None else len(among)
        k = min(k, available)
        if k == 0:
            empty = (len(queries), 0)
            return Hits(np.empty(empty, np.int64), np.empty(empty, np.float32))
        scores, ids = self._index.search(normalise(queries), k, params=self._parameters(among))
        order = np.lexsort((ids, -scores), axis=1)
        return Hits(np.take_along_axis(ids, order, 1), np.take_along_axis(scores, order, 1))

    def save(self, path: Path) -> None:
        """Writes the index to a file, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.part")
        faiss.write_index(self._index, str(part))
        os.replace(part, path)

    def _parameters(self, among: Ids | None) -> Any:
        selector = None if among is None else faiss.IDSelectorBatch(np.asarray(among, np.int64))
        if self.kind == "hnsw":
            return faiss.SearchParametersHNSW(sel=selector, efSearch=HNSW_EF_SEARCH)
        if self.kind in ("ivf", "ivfpq"):
            n_lists = faiss.extract_index_ivf(self._index.index).nlist
            return faiss.SearchParametersIVF(sel=selector, nprobe=max(8, n_lists // 8))
        return None if selector is None else faiss.SearchParameters(sel=selector)


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
        return "flat" if n <= FLAT_UP_TO else "hnsw"
    return "flat" if why_exact(kind, n) else kind


def _make(kind: str, dim: int, n: int) -> Any:
    if kind == "flat":
        return faiss.IndexFlatIP(dim)
    if kind == "hnsw":
        index = faiss.IndexHNSWFlat(dim, HNSW_LINKS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = HNSW_EF_CONSTRUCTION
        return index
    n_lists = max(4, min(int(4 * np.sqrt(n)), n // MIN_TRAINING_PER_LIST))
    if kind == "ivf":
        return faiss.index_factory(dim, f"IVF{n_lists},Flat", faiss.METRIC_INNER_PRODUCT)
    parts = next(p for p in (64, 48, 32, 16, 8, 4, 2, 1) if dim % p == 0)
    return faiss.index_factory(dim, f"IVF{n_lists},PQ{parts}", faiss.METRIC_INNER_PRODUCT)
