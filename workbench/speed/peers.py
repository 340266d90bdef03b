"""Other libraries of nearest neighbours, each behind the same three calls.

What is not installed is left out, in words. Parameters are those that the peer's own
documentation gives for many vectors, or those of our graph where it has the same ones.
"""

from abc import ABC, abstractmethod
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from usad_workbench.workbench.speed.planted import FloatArray

Ids = npt.NDArray[np.int64]
TRAINING_PER_LIST = 40
TRAINING_ROUNDS = 8
EF_CONSTRUCTION_FAISS = 80
LINKS = 32
EF_CONSTRUCTION = 128
EF_SEARCH = 256


class Peer(ABC):
    """An index of unit vectors whose ids are their rows."""

    name: str
    module: str

    @property
    def is_installed(self) -> bool:
        """Whether its library is there."""
        return find_spec(self.module) is not None

    @abstractmethod
    def build(self, unit: FloatArray, path: Path) -> None:
        """Makes the index and writes its file or files."""

    @abstractmethod
    def open(self, path: Path) -> None:
        """Reads what ``build`` wrote."""

    @abstractmethod
    def nearest(self, query: FloatArray, k: int) -> Ids:
        """The rows nearest to one unit query."""


class Faiss(Peer):
    """FAISS by the name of its factory, trained and searched with given effort."""

    module = "faiss"

    def __init__(self, factory: str, n_probe: int = 0, ef_search: int = 0) -> None:
        settings = {"nprobe": n_probe, "efSearch": ef_search}
        said = [f"{name} {value}" for name, value in settings.items() if value]
        self.name = ", ".join([f"FAISS {factory}", *said])
        self._factory, self._n_probe, self._ef_search = factory, n_probe, ef_search
        self._index: Any = None

    def build(self, unit: FloatArray, path: Path) -> None:
        """Trained as ours is: FAISS's own 25 rounds on 256 vectors a list take hours."""
        index: Any = faiss.index_factory(unit.shape[1], self._factory, faiss.METRIC_INNER_PRODUCT)
        if self._n_probe:
            index.cp.max_points_per_centroid, index.cp.niter = TRAINING_PER_LIST, TRAINING_ROUNDS
        if self._ef_search:
            index.hnsw.efConstruction = EF_CONSTRUCTION_FAISS
        if not index.is_trained:
            index.train(unit)
        index.add(unit)
        faiss.write_index(index, str(path))

    def open(self, path: Path) -> None:
        """Into memory."""
        self._index = faiss.read_index(str(path))
        if self._n_probe:
            faiss.extract_index_ivf(self._index).nprobe = self._n_probe
        if self._ef_search:
            self._index.hnsw.efSearch = self._ef_search

    def nearest(self, query: FloatArray, k: int) -> Ids:
        """One query."""
        ids: Ids = self._index.search(query[None], k)[1][0]
        return ids


class Hnswlib(Peer):
    """hnswlib, its graph of float32 vectors."""

    module = "hnswlib"
    name = f"hnswlib, M {LINKS}, ef {EF_SEARCH}"

    def build(self, unit: FloatArray, path: Path) -> None:
        """One graph."""
        index = import_module("hnswlib").Index(space="ip", dim=unit.shape[1])
        index.init_index(len(unit), M=LINKS, ef_construction=EF_CONSTRUCTION, random_seed=0)
        index.set_num_threads(faiss.omp_get_max_threads())
        index.add_items(unit)
        index.save_index(str(path))
        self._dim = unit.shape[1]

    def open(self, path: Path) -> None:
        """Into memory."""
        self._index = import_module("hnswlib").Index(space="ip", dim=self._dim)
        self._index.load_index(str(path))
        self._index.set_ef(EF_SEARCH)
        self._index.set_num_threads(1)

    def nearest(self, query: FloatArray, k: int) -> Ids:
        """One query."""
        return np.asarray(self._index.knn_query(query, k)[0][0], np.int64)


class Usearch(Peer):
    """usearch, its graph of float16 vectors, the file mapped into memory."""

    module = "usearch"
    name = f"usearch, float16, connectivity {LINKS}, expansion {EF_SEARCH}"

    def build(self, unit: FloatArray, path: Path) -> None:
        """One graph."""
        index = import_module("usearch.index").Index(
            ndim=unit.shape[1],
            metric="ip",
            dtype="f16",
            connectivity=LINKS,
            expansion_add=EF_CONSTRUCTION,
        )
        index.add(np.arange(len(unit)), unit, threads=faiss.omp_get_max_threads())
        index.save(str(path))

    def open(self, path: Path) -> None:
        """As a view of the file."""
        self._index = import_module("usearch.index").Index.restore(str(path), view=True)
        self._index.expansion_search = EF_SEARCH

    def nearest(self, query: FloatArray, k: int) -> Ids:
        """One query."""
        return np.asarray(self._index.search(query, k).keys, np.int64)


class Hoplite(Peer):
    """perch-hoplite: SQLite for its windows, usearch in its own settings for their vectors."""

    module = "perch_hoplite"

    def __init__(self, is_exact: bool) -> None:
        self.name = "perch-hoplite, brute force" if is_exact else "perch-hoplite, usearch"
        self._is_exact = is_exact

    def build(self, unit: FloatArray, path: Path) -> None:
        """One recording with a window for each vector."""
        module: Any = import_module("perch_hoplite.db.sqlite_usearch_impl")
        settings = module.get_default_usearch_config(unit.shape[1])
        database = module.SQLiteUSearchDB.create(str(path), settings)
        recording = database.insert_recording("recording.wav")
        for start in range(0, len(unit), 10_000):
            page = unit[start : start + 10_000]
            windows = [
                {"recording_id": recording, "offsets": [float(start + i), float(start + i + 1)]}
                for i in range(len(page))
            ]
            database.insert_windows_batch(windows, page, handle_duplicates="allow")
        database.commit()

    def open(self, path: Path) -> None:
        """As a database that is there."""
        module: Any = import_module("perch_hoplite.db.sqlite_usearch_impl")
        self._database = module.SQLiteUSearchDB.create(str(path))
        self._scores: Any = import_module("perch_hoplite.db.score_functions").numpy_dot
        self._brute: Any = import_module("perch_hoplite.db.brutalism").brute_search

    def nearest(self, query: FloatArray, k: int) -> Ids:
        """One query; its windows count from 1."""
        if self._is_exact:
            results = self._brute(self._database, query, k, self._scores)
        else:
            results = self._database.search(query, k, score_fn_name="dot", approximate=True)
        return np.array([result.window_id - 1 for result in results], np.int64)


def installed(peers: list[Peer]) -> tuple[list[Peer], list[str]]:
    """Those that are there, and the names of those that are not."""
    there = [peer for peer in peers if peer.is_installed]
    return there, [peer.name for peer in peers if not peer.is_installed]
