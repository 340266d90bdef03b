"""An index from the vectors of a space: trained on a sample, filled in blocks, tuned.

Vectors are an array or a memory map and are read in blocks, so that memory is that of the index
and of one block. FAISS's own 256 vectors a list and 25 rounds of k-means take four times as long
as the 40 and 8 here and find the same (100,000 vectors: 97 s against 25).
"""

import json
from dataclasses import asdict, dataclass

import numpy as np

from usad_workbench.core.errors import DamagedFileError, ShapeError
from usad_workbench.core.metrics import Metric
from usad_workbench.core.progress import Progress, no_progress, part_of
from usad_workbench.indexes.faiss_index import HNSW_EF_CONSTRUCTION, Effort, VectorIndex
from usad_workbench.indexes.faiss_module import load_faiss, on_cpu, on_device
from usad_workbench.indexes.hits import FloatArray, Ids
from usad_workbench.indexes.plans import (
    TRAINING_VECTORS,
    BuildConfig,
    Kind,
    Plan,
    plan_index,
)
from usad_workbench.indexes.stored import ArrayVectors
from usad_workbench.indexes.tuning import held_out, tune

TRAINING_PER_LIST = 40
TRAINING_ROUNDS = 8
BLOCK_ROWS = 8192
"""Vectors that are added at once: a few seconds to a graph."""
N_STEPS = 3
"""Training, adding, tuning."""
MIN_TRAINING = 256
"""Of 8-bit codes of each value, which learn the range of values."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What was chosen for an index and why: the column ``settings`` of its row, as JSON."""

    factory: str
    effort: Effort
    target_recall: float
    tuned_recall: float
    """Of the queries that it was tuned on, held out of training and of their own answers."""
    reason: str
    """Why, in words."""
    file_stamp: tuple[int, int, int] | None = None
    """Size, time and inode of the file when it was written."""

    def to_json(self) -> str:
        """As text for the table."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> "Settings":
        """What the table holds.

        Raises:
            DamagedFileError: text that is not what ``to_json`` gives.
        """
        try:
            values = json.loads(text)
            stamp = values["file_stamp"]
            read = {"effort": Effort(**values["effort"]), "file_stamp": stamp and tuple(stamp)}
            return Settings(**{**values, **read})
        except (ValueError, TypeError, KeyError) as error:
            raise DamagedFileError(
                f"The settings of an index are {text!r}, expected what `usad index` writes. Build "
                "it again with `usad index`."
            ) from error


@dataclass(frozen=True, kw_only=True, slots=True)
class Built:
    """An index and what was chosen for it."""

    index: VectorIndex
    settings: Settings


def build_index(
    ids: Ids,
    vectors: FloatArray,
    *,
    kind: Kind = "auto",
    metric: Metric = "cosine",
    config: BuildConfig | None = None,
    progress: Progress = no_progress,
) -> Built:
    """Builds an index of vectors and tunes it.

    Args:
        ids: Shape [vector], ascending.
        vectors: Shape [vector, dim]; a memory map is read in blocks.
        kind: ``auto`` is exact up to 50,000 vectors and inverted lists above.
        metric: ``cosine``, ``inner_product`` or ``l2``.
        config: The recall that is to be reached, the memory and the device.
        progress: Called before training, after each block that is added, and while it is tuned.

    Returns:
        The index and its settings.

    Raises:
        ShapeError: ids that do not fit the vectors.
        ConfigError: no such device.
        MissingExtraError: FAISS is not installed.

    >>> index = build_index(np.array([7, 8, 9]), np.eye(3, dtype=np.float32)).index
    >>> index.search(np.eye(3, dtype=np.float32)[:1], 1).ids.tolist()
    [[7]]
    """
    if vectors.ndim != 2 or len(ids) != len(vectors):
        raise ShapeError(
            f"Found vectors of shape {vectors.shape} and {len(ids)} ids, expected one id per row."
        )
    config = config or BuildConfig()
    plan = plan_index(len(ids), vectors.shape[1], kind, config.memory_gb)
    index = VectorIndex(_empty(plan, vectors.shape[1], metric), plan.kind, metric)
    inner = on_device(index.faiss_index, config.device) if plan.kind.startswith("ivf") else None
    filled = index if inner is None else VectorIndex(inner, plan.kind, metric)
    if not filled.faiss_index.is_trained:
        sample = _sample(ids, plan, filled)
        part_of(progress, 0, N_STEPS)(0, 1, f"training on {len(sample):,} vectors")
        filled.faiss_index.train(filled.prepared(np.asarray(vectors[sample])))
    add_in_blocks(filled, ids, vectors, part_of(progress, 1, N_STEPS))
    if inner is not None:
        index = VectorIndex(on_cpu(inner), plan.kind, metric)
    return tuned(
        index,
        ids,
        vectors,
        factory=plan.factory,
        reason=plan.reason,
        config=config,
        progress=part_of(progress, 2, N_STEPS),
    )


def tuned(
    index: VectorIndex,
    ids: Ids,
    vectors: FloatArray,
    *,
    factory: str,
    reason: str,
    config: BuildConfig,
    progress: Progress = no_progress,
) -> Built:
    """The index with the least effort that reaches a recall, and what was found."""
    result = tune(index, ids, vectors, config.target_recall, config.device, progress)
    said = _said(index, result.effort, result.recall)
    short = "" if result.is_enough else f", less than the {config.target_recall:g} asked for"
    settings = Settings(
        factory=factory,
        effort=result.effort,
        target_recall=config.target_recall,
        tuned_recall=result.recall,
        reason=f"{reason}; {said}{short}",
    )
    index = index.with_effort(result.effort).with_stored(ArrayVectors(ids, vectors))
    return Built(index=index, settings=settings)


def add_in_blocks(
    index: VectorIndex, ids: Ids, vectors: FloatArray, progress: Progress = no_progress
) -> None:
    """Adds vectors to an index, read in blocks."""
    for start in range(0, len(ids), BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        index.add(ids[block], np.asarray(vectors[block]))
        progress(min(block.stop, len(ids)), len(ids), "adding vectors")


def _empty(plan: Plan, dim: int, metric: Metric) -> object:
    faiss = load_faiss()
    measure = faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT
    index = faiss.index_factory(dim, plan.factory, measure)
    if plan.kind == "hnsw":
        faiss.downcast_index(index.index).hnsw.efConstruction = HNSW_EF_CONSTRUCTION
    if plan.kind.startswith("ivf"):
        index.cp.max_points_per_centroid = TRAINING_PER_LIST
        index.cp.niter = TRAINING_ROUNDS
    if plan.kind == "ivfpq":
        index.pq.cp.niter = TRAINING_ROUNDS
    return index


def _sample(ids: Ids, plan: Plan, index: VectorIndex) -> Ids:
    """Rows to train on, ascending; none that are held out, unless there are few."""
    needed = TRAINING_VECTORS.get(plan.kind, MIN_TRAINING)
    n = max(needed, MIN_TRAINING * 40, index.n_lists * TRAINING_PER_LIST)
    rows = np.flatnonzero(held_out(ids) == 0)
    if len(rows) < max(needed, index.n_lists * (TRAINING_PER_LIST - 1)):
        rows = np.arange(len(ids))
    return np.sort(np.random.default_rng(0).permutation(rows)[:n])


def _said(index: VectorIndex, effort: Effort, recall: float) -> str:
    if index.kind == "flat":
        return "exact"
    what = (
        f"{effort.n_probe} of {index.n_lists} lists read"
        if index.n_lists
        else f"efSearch {effort.ef_search}"
    )
    return (
        f"{what} and {effort.n_candidates} candidates compared exactly found {recall:.3f} of the "
        "10 nearest of held-out vectors"
    )
