"""``usad project`` against umap-learn and PaCMAP on the same vectors.

Every map is judged alike: trustworthiness of a sample of points, each compared with all other
points in the space and on the map. Ours is one call from stored vectors to stored map.
"""

import logging
import math
import tempfile
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from usad_workbench.core.cosine import normalise
from usad_workbench.indexes.faithfulness import judge_map
from usad_workbench.indexes.projection import project_space
from usad_workbench.workbench.speed.measure import Cost, Row, cost_of, make_row
from usad_workbench.workbench.speed.planted import DIM, FloatArray, plant, workspace_of
from usad_workbench.workbench.speed.storing import ENCODER, fill

logger = logging.getLogger(__name__)

SIZE = 20_000
JUDGED = 200


def bench_project(size: int = SIZE, without: tuple[str, ...] = ()) -> Iterator[Row]:
    """Processor seconds, wall seconds and trustworthiness of each.

    Args:
        size: How many vectors.
        without: How the names of peers begin that are left out.
    """
    planted = plant(size)
    with tempfile.TemporaryDirectory() as name:
        workspace = workspace_of(planted, Path(name))
        fill(workspace, {0: planted.vectors()})
        ours = cost_of(lambda: project_space(workspace, ENCODER, 0))
        points = workspace.read("SELECT x, y FROM projections ORDER BY segment_id")
    unit = normalise(planted.vectors())
    score = trustworthiness_of(unit, points.to_numpy(np.float32))
    for peer, (module, make) in PEERS.items():
        if peer.startswith(without):
            continue
        if find_spec(module) is None:
            logger.warning("project: %s is not installed, left out", peer)
            continue
        made: list[FloatArray] = []
        theirs = cost_of(partial(_keep, made, make, unit))
        yield from _rows(size, peer, ours, theirs, score, trustworthiness_of(unit, made[0]))


def _umap(unit: FloatArray) -> FloatArray:
    umap: Any = import_module("umap")
    # Its own start does not end where the graph of the neighbours is in pieces.
    settings = {"metric": "cosine", "init": "pca", "random_state": 0, "n_jobs": 1}
    points: FloatArray = umap.UMAP(**settings).fit_transform(unit)
    return points


def _pacmap(unit: FloatArray) -> FloatArray:
    pacmap: Any = import_module("pacmap")
    points: FloatArray = pacmap.PaCMAP(random_state=0, distance="angular").fit_transform(unit)
    return points


PEERS = {"umap-learn, start from PCA": ("umap", _umap), "PaCMAP": ("pacmap", _pacmap)}


def _keep(
    made: list[FloatArray], make: Callable[[FloatArray], FloatArray], unit: FloatArray
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about seeds and threads
        made.append(make(unit))


def _rows(
    size: int, peer: str, ours: Cost, theirs: Cost, score: float, peer_score: float
) -> Iterator[Row]:
    label = f"project, {size:,} × {DIM}"
    yield make_row(f"{label}, processor", ours.processor_s, "s", peer, theirs.processor_s)
    yield make_row(f"{label}, wall", ours.wall_s, "s", peer, theirs.wall_s)
    yield make_row(f"{label}, trustworthiness", score, "share", peer, peer_score)


def trustworthiness_of(unit: FloatArray, points: FloatArray, n_judged: int = JUDGED) -> float:
    """Trustworthiness of a map, judged on so many points; NaN of too few to judge.

    >>> line = np.arange(100, dtype=np.float32)
    >>> round_trip = np.stack([np.cos(line / 100), np.sin(line / 100)], 1)
    >>> trustworthiness_of(round_trip, round_trip)
    1.0
    """
    judged = judge_map(unit, points, n_judged=n_judged)
    return math.nan if judged is None else judged.trustworthiness.value
