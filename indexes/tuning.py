"""The least effort of an index that finds the share of nearest neighbours that was asked for.

One segment in ten is held out: the index is not trained on its vector. Half of these are the
queries that the effort is tuned on, the others those that its recall is measured on
(``evaluation``), each left out of its own answer. Tuned is for the lower end of an interval
of the recall, so that it holds for other queries too.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from usad_workbench.core.metrics import scores
from usad_workbench.core.progress import Progress, no_progress, part_of
from usad_workbench.indexes.faiss_index import TUNED_K, Effort, VectorIndex
from usad_workbench.indexes.hits import FloatArray, Hits, Ids

K = TUNED_K
TIE = 1e-6
"""Scores that differ by less, as a share of the largest, are equal: either may be found."""
N_TUNING_QUERIES = 256
N_CANDIDATES = (20, 40, 80, 160, 320)
"""How many are compared exactly: the least that are enough."""
Z = 1.64
"""Standard errors below the mean: the true recall is less in one of twenty."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tuned:
    """An effort, and what it reached on the queries that it was tuned on."""

    effort: Effort
    recall: float
    is_enough: bool
    """Whether the recall that was asked for is reached, with what is uncertain of it."""


def held_out(ids: Ids) -> npt.NDArray[np.int8]:
    """Of each segment: 0 is trained on, 1 is tuned on, 2 is measured on; always the same.

    >>> np.bincount(held_out(np.arange(100_000))).tolist()
    [89946, 5262, 4792]
    """
    spread = (ids.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(40)
    rest = spread % np.uint64(20)
    return np.where(rest > 1, 0, rest + 1).astype(np.int8)


def query_rows(ids: Ids, vectors: FloatArray, group: int, n: int, seed: int = 0) -> Ids:
    """Up to n rows of a group of ``held_out`` to ask with, ascending, none of zeros.

    Where the group is small, as among few vectors, of all rows.
    """
    rows = np.flatnonzero(held_out(ids) == group)
    if len(rows) < min(n, len(ids)):
        rows = np.arange(len(ids))
    rows = np.sort(np.random.default_rng(seed).permutation(rows)[:n])
    return rows[np.asarray(vectors[rows]).any(axis=1)]


def tune(
    index: VectorIndex,
    ids: Ids,
    vectors: FloatArray,
    target: float,
    device: str = "cpu",
    progress: Progress = no_progress,
) -> Tuned:
    """The least effort that reaches a recall, or the greatest where none does.

    Args:
        index: Of these vectors; a new one comes back, this stays as it is.
        ids: Shape [vector], ascending.
        vectors: Shape [vector, dim].
        target: Share of the 10 nearest that is to be found.
        device: Where the true neighbours are searched.
        progress: Called after each block that these are searched in, and each effort that is tried.
    """
    if index.kind == "flat":
        return Tuned(effort=Effort(), recall=1.0, is_enough=True)
    from usad_workbench.indexes.torch_search import neighbour_lists  # torch is slow to import

    rows = query_rows(ids, vectors, 1, N_TUNING_QUERIES)
    of_truth, of_steps = part_of(progress, 0, 2), part_of(progress, 1, 2)
    truth = neighbour_lists(
        vectors, K, metric=index.metric, rows=rows, device=device, progress=of_truth
    )
    steps = _steps(index)
    shares: dict[int, FloatArray] = {}

    def found(step: int) -> FloatArray:
        if step not in shares:
            one = index.with_effort(steps[step])
            shares[step] = _shares(one, ids, vectors, rows, truth)
            of_steps(len(shares), len(steps).bit_length() + 1, "tuning")
        return shares[step]

    best = _first(len(steps), lambda step: _low(found(step)[:, -1]) >= target)
    enough = [i for i in range(len(N_CANDIDATES)) if _low(found(best)[:, i]) >= target]
    which = enough[0] if enough else len(N_CANDIDATES) - 1
    effort = steps[best]
    return Tuned(
        effort=Effort(
            n_probe=effort.n_probe, ef_search=effort.ef_search, n_candidates=N_CANDIDATES[which]
        ),
        recall=float(found(best)[:, which].mean()),
        is_enough=bool(enough),
    )


def recall_shares(
    found: FloatArray, truth: FloatArray, counts: tuple[int, ...] | None = None
) -> FloatArray:
    """Of each query the share of its true neighbours that the best candidates hold.

    A candidate counts if its exact score reaches that of the last true neighbour: equal scores
    in another order are no miss.

    Args:
        found: Exact scores [query, candidate], -inf where there is none.
        truth: Exact scores [query, k] of the true neighbours, best first.
        counts: How many candidates count; all where none is named.

    Returns:
        Shares [query, count], 1 where there are no neighbours.

    >>> recall_shares(np.array([[0.9, 0.1, 0.8]]), np.array([[0.9, 0.8]]), (1, 3)).tolist()
    [[0.5, 1.0]]
    """
    counts = counts or (found.shape[1],)
    k = truth.shape[1]
    if k == 0:
        return np.ones((len(truth), len(counts)), np.float32)
    floor = truth[:, -1:] - TIE * np.abs(truth).max(axis=1, keepdims=True)
    is_hit = found >= floor
    hits = [np.minimum(is_hit[:, :count].sum(axis=1), k) / k for count in counts]
    return np.stack(hits, axis=1).astype(np.float32)


def _shares(
    index: VectorIndex, ids: Ids, vectors: FloatArray, rows: Ids, truth: Hits
) -> FloatArray:
    most = min(N_CANDIDATES[-1] + 1, len(index))
    asked = index.prepared(np.asarray(vectors[rows]))
    candidates = index.candidates(asked, most).ids
    exact = np.full(candidates.shape, -np.inf, np.float32)
    for i, row in enumerate(rows):
        others = candidates[i][(candidates[i] >= 0) & (candidates[i] != ids[row])]
        stored = np.asarray(vectors[np.searchsorted(ids, others)])
        exact[i, : len(others)] = scores(stored, asked[i], index.metric)
    return recall_shares(exact, truth.scores, N_CANDIDATES)


def _steps(index: VectorIndex) -> list[Effort]:
    """Efforts from the least to the greatest."""
    if index.kind == "hnsw":
        return [Effort(ef_search=2**i) for i in range(5, 13)]
    numbers = {round(2 ** (i / 2)) for i in range(64)}
    return [Effort(n_probe=n) for n in sorted({*numbers, index.n_lists}) if n <= index.n_lists]


def _first(n: int, is_enough: Callable[[int], bool]) -> int:
    """The first of n steps that is enough, where every one above it is too; else the last."""
    low, high = 0, n - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle) else (middle + 1, high)
    return low


def _low(shares: FloatArray) -> float:
    """The lower end of an interval of the mean."""
    if not len(shares):
        return 1.0
    return float(shares.mean() - Z * shares.std() / np.sqrt(len(shares)))
