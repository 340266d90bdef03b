"""``usad project`` against umap-learn and PaCMAP on the same vectors.

Every map is judged alike: trustworthiness of a sample of points, each compared with all other
points in the space and on the map. Ours is one call from stored vectors to stored map.
"""

import logging
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
from usad_workbench.indexes.projection import project_space
from usad_workbench.workbench.speed.measure import Cost, Row, cost_of, make_row
from usad_workbench.workbench.speed.planted import DIM, FloatArray, plant, workspace_of
from usad_workbench.workbench.speed.storing import ENCODER, fill

logger = logging.getLogger(__name__)

SIZE = 20_000
NEIGHBOURS = 10
JUDGED = 200


def bench_project(size: int = SIZE) -> Iterator[Row]:
    """Processor seconds, wall seconds and trustworthiness of each."""
    planted = plant(size)
    vectors = planted.vectors()
    with tempfile.TemporaryDirectory() as name:
        workspace = workspace_of(planted, Path(name))
        fill(workspace, {0: vectors})
        ours = cost_of(lambda: project_space(workspace, ENCODER, 0))
        points = workspace.read("SELECT x, y FROM projections ORDER BY segment_id")
    unit = normalise(vectors)
    score = trustworthiness_of(unit, points.to_numpy(np.float32))
    for peer, (module, make) in PEERS.items():
        if find_spec(module) is None:
            logger.warning("project: %s is not installed, left out", peer)
            continue
        made: list[FloatArray] = []
        theirs = cost_of(partial(_keep, made, make, unit))
        yield from _rows(size, peer, ours, theirs, score, trustworthiness_of(unit, made[0]))


def _umap(unit: FloatArray) -> FloatArray:
    umap: Any = import_module("umap")
    points: FloatArray = umap.UMAP(metric="cosine", random_state=0, n_jobs=1).fit_transform(unit)
    return points


def _pacmap(unit: FloatArray) -> FloatArray:
    pacmap: Any = import_module("pacmap")
    points: FloatArray = pacmap.PaCMAP(random_state=0, distance="angular").fit_transform(unit)
    return points


PEERS = {"umap-learn": ("umap", _umap), "PaCMAP": ("pacmap", _pacmap)}


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
    """Trustworthiness at 10 neighbours of a sample of points, against all points.

    As Venna and Kaski 2001 define it: 1 where each neighbour on the map is one of the ten
    nearest in the space, less by its rank there where it is not.

    >>> line = np.arange(100, dtype=np.float32)
    >>> round_trip = np.stack([np.cos(line / 100), np.sin(line / 100)], 1)
    >>> trustworthiness_of(round_trip, round_trip)
    1.0
    """
    n = len(unit)
    rows = np.random.default_rng(0).choice(n, min(n, n_judged), replace=False)
    penalty = 0.0
    for row in rows:
        similarity = unit @ unit[row]
        similarity[row] = np.inf
        distances = ((points - points[row]) ** 2).sum(axis=1)
        distances[row] = np.inf
        near = np.argpartition(distances, NEIGHBOURS)[:NEIGHBOURS]
        # The rank of a neighbour: how many are nearer in the space, itself counted.
        ranks = (similarity[None, :] > similarity[near][:, None]).sum(axis=1)
        penalty += float(np.maximum(ranks - NEIGHBOURS, 0).sum())
    scale = len(rows) * NEIGHBOURS * (2 * n - 3 * NEIGHBOURS - 1) / 2
    return 1.0 - penalty / scale
