"""Exact search and lists of nearest neighbours over arrays, on a CPU or a device, by torch.

Nobody needs a GPU build of FAISS for these. Vectors may be a memory map: they are read in
blocks, so memory grows with the number of queries, not with the number of vectors. Scores and
the order of equal ones are those of ``core.metrics``.

Products of matrices in float32 name candidates; the scores of these are summed again in
float64, as ``core.metrics`` sums them. A bound of the rounding (Higham 2002, section 3.1) tells
whether another row could be among the k best. Where it could, as among copies, the query is
compared again in float64, and equal scores are told apart by their rows: 64-bit keys, the
score above, the row below, as ``topk`` itself keeps no order among equals.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from usad_workbench.core.errors import ShapeError
from usad_workbench.core.metrics import SPARE_ROUNDINGS, Metric, check_k, check_metric
from usad_workbench.core.progress import Progress, no_progress
from usad_workbench.indexes.hits import FloatArray, Hits, Ids

SPARE_HITS = 16
"""Candidates beyond those asked for, whose exact scores may be the better ones."""
BLOCK_QUERIES = 1024
BLOCK_ROWS = {"cpu": 8192, "cuda": 65_536}
"""Rows that are compared at once: their products with 1024 queries are 34 MB, 268 on a device."""
RESCORED_VALUES = 1 << 23
"""Values of candidates that are summed in float64 at once: 64 MB."""
LARGEST = float(np.finfo(np.float32).max)
SMALLEST = 1e-30
"""More than products lose that are too small for float32."""


def exact_search(
    vectors: FloatArray,
    queries: FloatArray,
    k: int,
    *,
    metric: Metric = "cosine",
    device: str | torch.device = "cpu",
) -> Hits:
    """The k nearest rows of each query, best first, equal scores in the order of the rows.

    Args:
        vectors: Shape [row, dim]; a memory map is read in blocks.
        queries: Shape [query, dim].
        k: How many; fewer come back where there are fewer rows.
        metric: ``cosine``, ``inner_product``, or ``l2``, whose scores are negative distances.
            The cosine of a vector of zeros with anything is 0, on either side.
        device: Where torch computes.

    Returns:
        Rows as ids, and scores, each [query, k].

    Raises:
        ConfigError: a ``k`` below 1, or no such metric.
        ShapeError: queries of another width.

    >>> exact_search(np.eye(3, dtype=np.float32), np.array([[0, 1, 2]], np.float32), 2).ids
    array([[2, 1]])
    """
    return _search(_Job(vectors, queries, None, k, metric, device), no_progress)


def neighbour_lists(
    vectors: FloatArray,
    k: int,
    *,
    metric: Metric = "cosine",
    rows: Ids | None = None,
    device: str | torch.device = "cpu",
    progress: Progress = no_progress,
) -> Hits:
    """The k nearest other rows of each row; the row itself is left out, its copies are not.

    Args:
        vectors: Shape [row, dim]; a memory map is read in blocks.
        k: How many; fewer come back where there are fewer others.
        metric: ``cosine``, ``inner_product``, or ``l2``, whose scores are negative distances.
        rows: Whose neighbours to list; those of all rows where none are named.
        device: Where torch computes.
        progress: Called after each block of rows.

    Returns:
        Rows as ids, and scores, each [row, k].

    Raises:
        ConfigError: a ``k`` below 1, or no such metric.

    >>> line = np.array([[0], [1], [3]], np.float32)
    >>> neighbour_lists(line, 1, metric="l2").ids.tolist()
    [[1], [0], [1]]
    """
    own = np.arange(len(vectors)) if rows is None else np.asarray(rows, np.int64)
    return _search(_Job(vectors, vectors, own, k, metric, device), progress)


class _Job:
    """Vectors to compare with, and queries, each read in blocks onto the device."""

    def __init__(
        self,
        vectors: FloatArray,
        queries: FloatArray,
        own: Ids | None,
        k: int,
        metric: str,
        device: str | torch.device,
    ) -> None:
        if vectors.ndim != 2 or queries.ndim != 2 or queries.shape[1] != vectors.shape[1]:
            raise ShapeError(
                f"Found vectors of shape {vectors.shape} and queries of shape {queries.shape}, "
                "expected [row, dim] and [query, dim]."
            )
        self.vectors, self.queries, self.own = vectors, queries, own
        self.metric = check_metric(metric)
        self.device = torch.device(device)
        self.n_queries = len(queries) if own is None else len(own)
        self.k = max(0, min(check_k(k), len(vectors) - (own is not None)))
        self.block_rows = BLOCK_ROWS.get(self.device.type, BLOCK_ROWS["cuda"])
        # Distances do not change with the origin; their products in float32 are best at the mean.
        self.origin = np.zeros(vectors.shape[1], np.float32)
        if self.metric == "l2" and len(vectors):
            self.origin = vectors[: self.block_rows].mean(axis=0, dtype=np.float64)
            self.origin = self.origin.astype(np.float32)

    def blocks(self) -> Iterator[slice]:
        """The rows of the vectors, in blocks."""
        for start in range(0, len(self.vectors), self.block_rows):
            yield slice(start, min(start + self.block_rows, len(self.vectors)))

    def compared(self, rows: slice | Ids) -> torch.Tensor:
        """Rows of the vectors as products compare them, float32 on the device."""
        return self._prepared(self.vectors[rows])

    def asked(self, numbers: Ids) -> torch.Tensor:
        """Queries by their numbers, as products compare them."""
        return self._prepared(self.as_given(numbers))

    def as_given(self, numbers: Ids) -> FloatArray:
        """Queries by their numbers."""
        return self.queries[numbers if self.own is None else self.own[numbers]]

    def own_rows(self, numbers: Ids) -> torch.Tensor | None:
        """The rows that the queries are themselves; none where they are none."""
        return None if self.own is None else torch.from_numpy(self.own[numbers]).to(self.device)

    def _prepared(self, block: FloatArray) -> torch.Tensor:
        if self.metric == "l2":
            block = block - self.origin
        values = torch.from_numpy(np.array(block, np.float32)).to(self.device)
        return _unit(values) if self.metric == "cosine" else values


@dataclass
class _Lists:
    """The best so far of one block of queries."""

    numbers: Ids
    own: torch.Tensor | None
    keys: list[torch.Tensor] = field(default_factory=list)
    rows: list[torch.Tensor] = field(default_factory=list)

    def take(self, found: torch.Tensor, first: int, n: int) -> None:
        """Keeps the n best of what is there and of new keys [query, row] from row ``first`` on."""
        keys, rows = found.topk(min(n, found.shape[1]), dim=1)
        self.keys.append(keys)
        self.rows.append(rows + first)
        joined, at = torch.cat(self.keys, 1), torch.cat(self.rows, 1)
        best, order = joined.topk(min(n, joined.shape[1]), dim=1)
        self.keys, self.rows = [best], [at.gather(1, order)]


def _search(job: _Job, progress: Progress) -> Hits:
    ids = np.empty((job.n_queries, job.k), np.int64)
    scores = np.empty((job.n_queries, job.k), np.float32)
    if not ids.size:
        return Hits(ids, scores)
    with torch.inference_mode(), _whole_float32():
        again = []
        for numbers, rows, floor in _candidates(job, progress):
            ids[numbers], scores[numbers] = _rescored(job, numbers, rows)
            if rows.shape[1] < len(job.vectors) - (job.own is not None):
                again.append(numbers[~(scores[numbers, -1] > floor)])
        _search_wide(job, np.concatenate([*again, np.empty(0, np.int64)]), ids, scores)
    return Hits(ids, scores)


def _candidates(
    job: _Job, progress: Progress
) -> Iterator[tuple[Ids, Ids, npt.NDArray[np.float64]]]:
    """Numbers of queries, their candidates [query, n], and what no other row's score passes."""
    n = min(job.k + SPARE_HITS, len(job.vectors) - (job.own is not None))
    starts = range(0, job.n_queries, BLOCK_QUERIES)
    numbers = [np.arange(s, min(s + BLOCK_QUERIES, job.n_queries)) for s in starts]
    lists = [_Lists(q, job.own_rows(q)) for q in numbers]
    longest = 0.0
    for done, rows in enumerate(job.blocks(), start=1):
        block = job.compared(rows)
        squares = block.square().sum(1)
        longest = max(longest, float(squares.max().sqrt()))
        for one in lists:
            queries = job.asked(one.numbers)
            products = queries @ block.T
            if job.metric == "l2":
                products = 2 * products - squares - queries.square().sum(1, keepdim=True)
            one.take(_without_own(products, one.own, rows.start), rows.start, n)
        progress(done, -(-len(job.vectors) // job.block_rows), "neighbours")
    for one in lists:
        lengths = job.asked(one.numbers).double().norm(dim=1).cpu().numpy()
        last = one.keys[0][:, -1].double().cpu().numpy()
        yield one.numbers, one.rows[0].cpu().numpy(), _most(job, last, lengths, longest)


def _most(
    job: _Job, last: npt.NDArray[np.float64], lengths: npt.NDArray[np.float64], longest: float
) -> npt.NDArray[np.float64]:
    """What the score of a row that is no candidate can be at most, by the last candidate's."""
    rounding = 2 * (job.vectors.shape[1] + SPARE_ROUNDINGS) * float(np.finfo(np.float32).eps)
    scale = {"cosine": np.ones_like(lengths), "inner_product": lengths * longest}.get(
        job.metric, (lengths + longest) ** 2
    )
    high = np.full_like(lengths, np.inf)  # where products left the range of float32
    is_known = (scale < LARGEST / 4) & np.isfinite(last)
    high[is_known] = last[is_known] + rounding * scale[is_known] + SMALLEST
    if job.metric != "l2":
        return high
    least: npt.NDArray[np.float64] = np.sqrt(np.maximum(-high, 0)) * (1 - rounding)
    return -least


def _without_own(
    products: torch.Tensor, own: torch.Tensor | None, first: int, never: float = -torch.inf
) -> torch.Tensor:
    """Products [query, row] where no query meets its own row."""
    if products.is_floating_point():  # beyond the range of float32: compared in float64 later
        products.nan_to_num_(never)
    if own is not None:
        column = own - first
        is_here = (column >= 0) & (column < products.shape[1])
        products[is_here.nonzero()[:, 0], column[is_here]] = never
    return products


def _search_wide(job: _Job, numbers: Ids, ids: Ids, scores: FloatArray) -> None:
    """Fills in the hits of some queries, compared in float64 and told apart by their rows."""
    n = min(job.k + SPARE_HITS, len(job.vectors) - (job.own is not None))
    for start in range(0, len(numbers), BLOCK_QUERIES):
        some = numbers[start : start + BLOCK_QUERIES]
        queries = _asked_wide(job, some, job.origin)
        one = _Lists(some, job.own_rows(some))
        for rows in job.blocks():
            block = _wide(job, job.vectors[rows], job.origin)
            products = queries @ block.T
            if job.metric == "l2":
                products = 2 * products - block.square().sum(1)
                products -= queries.square().sum(1, keepdim=True)
                products = -products.neg_().clamp_(min=0).sqrt_()
            keys = _keys(products.clamp_(-LARGEST, LARGEST).float(), rows.start)
            one.take(_without_own(keys, one.own, rows.start, -(2**63)), rows.start, n)
        ids[some], scores[some] = _rescored(job, some, one.rows[0].cpu().numpy())


def _keys(scores: torch.Tensor, first: int) -> torch.Tensor:
    """Whole numbers in the order of scores [query, row], equal scores in that of their rows."""
    bits = (scores + 0.0).view(torch.int32)  # one zero, not two
    bits = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).long()
    rows = torch.arange(first, first + scores.shape[1], device=scores.device)
    return (bits << 32) + (0xFFFFFFFF - rows)


def _rescored(job: _Job, numbers: Ids, rows: Ids) -> tuple[Ids, FloatArray]:
    """The k best of candidates [query, n] by scores summed in float64, row by row."""
    found = np.empty(rows.shape, np.float32)
    step = max(1, RESCORED_VALUES // (rows.shape[1] * job.vectors.shape[1]))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        stored = _wide(job, job.vectors[rows[part].ravel()]).view(*rows[part].shape, -1)
        queries = _asked_wide(job, numbers[part])[:, None]
        if job.metric == "l2":
            values = -(stored - queries).square_().sum(-1).sqrt_()
        else:
            values = (stored * queries).sum(-1)
        limit = 1.0 if job.metric == "cosine" else LARGEST
        found[part] = values.clamp_(-limit, limit).float().cpu().numpy()
    order = np.lexsort((rows, -found), axis=1)[:, : job.k]
    return np.take_along_axis(rows, order, 1), np.take_along_axis(found, order, 1)


def _wide(job: _Job, block: FloatArray, origin: FloatArray | None = None) -> torch.Tensor:
    """Rows in float64, at length one for the cosine, from the origin for distances."""
    wide = torch.from_numpy(np.array(block, np.float32)).to(job.device).double()
    if job.metric == "cosine":
        wide = _divided(wide)
    if job.metric == "l2" and origin is not None:
        wide -= torch.from_numpy(origin).to(job.device)
    return wide


def _asked_wide(job: _Job, numbers: Ids, origin: FloatArray | None = None) -> torch.Tensor:
    """Queries by their numbers likewise; for the cosine their length is one in float32."""
    given = job.as_given(numbers)
    if job.metric != "cosine":
        return _wide(job, given, origin)
    return _unit(torch.from_numpy(np.array(given, np.float32)).to(job.device)).double()


def _unit(values: torch.Tensor) -> torch.Tensor:
    """Rows at length one in float32; a zero row stays zero."""
    return _divided(values.double()).float()


def _divided(wide: torch.Tensor) -> torch.Tensor:
    lengths = wide.norm(dim=1, keepdim=True)
    return wide.div_(torch.where(lengths > 0, lengths, 1.0))


@contextmanager
def _whole_float32() -> Iterator[None]:
    """Products in float32 as they are: neither TF32 nor bfloat16, whatever the caller has set."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
