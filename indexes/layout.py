"""Coordinates on a map: principal components, and UMAP from given neighbours.

UMAP is taken in its two steps, as scanpy does: the weighted graph of the neighbours, and its
layout. So neither are neighbours searched a second time, nor is the start the library's own:
eigenvectors of the graph do not end where it is in pieces, as graphs of large collections are
(100,000 vectors, 33 pieces). It starts from principal components, computed in blocks.

Processor seconds for the layout of 100,000 vectors of 384 values in 1,000 clusters from the same
neighbours, trustworthiness and share of neighbours kept: 34, 0.952 and 0.242 with a seed; 39,
0.958 and 0.246 without, on two cores. PaCMAP 0.9.1 took 44, at 0.927 and 0.210, so it is not
offered.
"""

import io
import warnings
from dataclasses import asdict, dataclass
from importlib import import_module
from types import ModuleType
from typing import get_args

import numpy as np
from threadpoolctl import threadpool_limits

from usad_workbench.core.errors import ConfigError
from usad_workbench.core.progress import Progress, no_progress
from usad_workbench.core.storage.workspace import FloatArray
from usad_workbench.indexes.neighbours import MapMetric, NeighbourLists

SEED = 0
START_SPREAD, START_NOISE = 10.0, 1e-4
"""Of UMAP's own start from principal components: equal vectors must not start at one place."""
BLOCK_ROWS = 16_384


@dataclass(frozen=True, kw_only=True, slots=True)
class UmapSettings:
    """What a UMAP map depends on beside its vectors.

    Raises:
        ConfigError: fewer than 2 neighbours, or a distance that is not between 0 and 1.
    """

    n_neighbours: int = 15
    """With the point itself. umap-learn's default: local structure without breaking groups."""
    min_dist: float = 0.1
    """How near neighbours may lie on the map, 0 to 1."""
    metric: MapMetric = "cosine"
    """Between vectors: ``cosine`` as search does, or ``euclidean``, which also minds lengths."""
    seed: int | None = SEED
    """Equal seeds, equal maps, laid out by one core; none takes all cores, each time another map."""

    def __post_init__(self) -> None:
        if self.n_neighbours < 2:
            raise ConfigError(
                f"Found {self.n_neighbours} neighbours, expected 2 or more: the point itself is one."
            )
        if not 0 <= self.min_dist <= 1:
            raise ConfigError(f"Found a min_dist of {self.min_dist}, expected 0 to 1.")
        if self.metric not in get_args(MapMetric):
            raise ConfigError(
                f"Found the metric {self.metric!r}, expected {' or '.join(get_args(MapMetric))}."
            )

    @property
    def name(self) -> str:
        """What a map of these settings is called: ``umap`` alone where all are the usual ones.

        >>> UmapSettings().name, UmapSettings(n_neighbours=50, seed=None).name
        ('umap', 'umap:n_neighbours=50,seed=none')
        """
        usual = UmapSettings.__dataclass_fields__
        others = [
            f"{name}={'none' if value is None else value}"
            for name, value in asdict(self).items()
            if value != usual[name].default
        ]
        return "umap" + (f":{','.join(others)}" if others else "")


DEFAULT = UmapSettings()


def umap_of(
    unit: FloatArray,
    neighbours: NeighbourLists,
    settings: UmapSettings = DEFAULT,
    progress: Progress = no_progress,
) -> FloatArray:
    """UMAP coordinates [point, 2] from given neighbours.

    Args:
        unit: Vectors at length one, shape [point, dim]; the start is made from them.
        neighbours: From ``find_neighbours``.
        settings: ``n_neighbours`` is that of the lists, whatever is set.
        progress: Called before the graph of the neighbours, and after each epoch.
    """
    progress(0, 1, "graph of the neighbours")
    library = _umap()
    random = np.random.RandomState(settings.seed)
    graph = library.fuzzy_simplicial_set(
        unit,
        neighbours.rows.shape[1],
        random,
        settings.metric,
        knn_indices=neighbours.rows,
        knn_dists=neighbours.distances,
    )[0]
    a, b = library.find_ab_params(1.0, settings.min_dist)
    points = library.simplicial_set_embedding(
        unit,
        graph,
        n_components=2,
        initial_alpha=1.0,
        a=a,
        b=b,
        gamma=1.0,
        negative_sample_rate=5,
        n_epochs=None,
        init=_start(unit, random),
        random_state=random,
        metric=settings.metric,
        metric_kwds={},
        densmap=False,
        densmap_kwds={},
        output_dens=False,
        parallel=settings.seed is None,
        tqdm_kwds=_reporting(progress),
    )[0]
    return np.asarray(points, dtype=np.float32)


def pca_of(unit: FloatArray, n: int = 2) -> FloatArray:
    """The first principal components [point, n]; zeros where there are fewer.

    Vectors are read in blocks; of each component the largest loading is positive. Products are
    of one thread: several add up in another order, and from a start that differs by rounding
    UMAP makes another map.

    >>> pca_of(np.array([[0.0, 1], [0, 2], [0, 3]], np.float32))[:, 0].tolist()
    [-1.0, 0.0, 1.0]
    """
    points = np.zeros((len(unit), n), dtype=np.float32)
    if len(unit) < 2:
        return points
    with threadpool_limits(1, user_api="blas"):
        mean = unit.mean(axis=0, dtype=np.float64).astype(np.float32)
        axes = _axes(unit, mean)[:, :n]
        for block in _blocks(len(unit)):
            points[block, : axes.shape[1]] = (unit[block] - mean) @ axes
    return points


def _axes(unit: FloatArray, mean: FloatArray) -> FloatArray:
    """Directions [dim, component], the one that varies most first."""
    covariance = np.zeros((unit.shape[1], unit.shape[1]))
    for block in _blocks(len(unit)):
        centred = unit[block] - mean
        covariance += centred.T @ centred
    axes = np.linalg.eigh(covariance)[1][:, ::-1]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=0)[None], axis=0)
    signed: FloatArray = (axes * np.sign(largest)).astype(np.float32)
    return signed


def _blocks(n: int) -> list[slice]:
    return [slice(start, start + BLOCK_ROWS) for start in range(0, n, BLOCK_ROWS)]


def _start(unit: FloatArray, random: np.random.RandomState) -> FloatArray:
    """Principal components as UMAP scales them, no two points at one place."""
    start = pca_of(unit)
    largest = np.abs(start).max(initial=0.0)
    start *= START_SPREAD / largest if largest > 0 else 1.0
    return start + random.normal(scale=START_NOISE, size=start.shape).astype(np.float32)


def _umap() -> ModuleType:
    with warnings.catch_warnings():
        # Without Tensorflow it lacks a kind of map that is not made here, and says so.
        warnings.simplefilter("ignore", ImportWarning)
        return import_module("umap.umap_")  # slow: it compiles


class _Epochs(io.StringIO):
    """What UMAP's bar writes, as progress: it offers no other way to count epochs."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress = progress

    def write(self, text: str) -> int:
        """Reports what is written as ``done/total``."""
        done, slash, total = text.strip().partition("/")
        if slash and done.isdigit() and total.isdigit():
            self._progress(int(done), int(total), "layout")
        return len(text)


def _reporting(progress: Progress) -> dict[str, object]:
    """Arguments of the bar of UMAP's epochs."""
    return {
        "disable": progress is no_progress,
        "file": _Epochs(progress),
        "bar_format": "{n_fmt}/{total_fmt}",
        "mininterval": 0.5,
        "leave": True,
    }
