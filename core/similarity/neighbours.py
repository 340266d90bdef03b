"""Mutual k-NN alignment: do two encoders keep the same neighbours, clip by clip?

Neighbours are those of the largest cosine, without centring (the definition that
published values use), never the clip itself and never a clip of its own cluster: a
speaker's other clips are near in every encoder and say nothing. Search inside one domain.
Ties go to the lower row, after rounding to 12 digits, so that equal clips are ties on
every machine. A zero vector has cosine 0 with everything.
"""

import math

import numpy as np
from numpy.typing import NDArray

from usad_workbench.core.arrays import (
    SPREAD_FLOOR,
    Ids,
    Indices,
    Matrix,
    Vectors,
    check_aligned,
    cluster_codes,
    finite_vectors,
)
from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.similarity.distances import cosine_similarity, normalise_rows

DEFAULT_K = 10
"""Neighbours per clip, as in Huh et al. 2024 (there with 1024 clips)."""
TIE_DIGITS = 12
BLOCK_ROWS, BLOCK_CANDIDATES = 1024, 5000
"""Clips that are compared with clips at once: their scores take 41 MB."""


def neighbour_overlap(
    x: Vectors, y: Vectors, k: int = DEFAULT_K, clusters: Ids | None = None
) -> Matrix:
    """For each clip, the share of its k neighbours that both encoders agree on.

    Sorted, this is the list of the least faithful clips.

    Args:
        x: Embeddings `[clip, dim]` of one encoder's layer.
        y: Embeddings `[clip, dim]` of another, the same clips in the same order.
        k: Neighbours per clip.
        clusters: Cluster id of each clip; clips of one cluster are no neighbours.

    Returns:
        Shares `[clip]` in [0, 1].

    Raises:
        ShapeError: other numbers of clips, or a clip with fewer than k possible neighbours.
        DegenerateError: values that are not finite, or all clips in one direction.

    Source: Huh et al. 2024, sec. 3 and appendix A (mutual nearest-neighbour metric).

    >>> x = np.random.default_rng(0).normal(size=(30, 5))
    >>> float(neighbour_overlap(x, x[:, ::-1], k=3).mean())
    1.0
    """
    near_x, near_y = neighbours_in_both(x, y, k, clusters)
    shared = near_x[:, :, None] == near_y[:, None, :]
    return np.asarray(np.sum(shared, axis=(1, 2)) / k)


def neighbours_in_both(
    x: Vectors, y: Vectors, k: int, clusters: Ids | None
) -> tuple[Indices, Indices]:
    """The k nearest clips of each clip in either encoder, each `[clip, k]`, nearest first.

    Raises:
        ShapeError: other numbers of clips, or a clip with fewer than k possible neighbours.
        DegenerateError: values that are not finite, or all clips in one direction.
    """
    x, y = check_aligned(x, y, min_clips=2)
    codes = cluster_codes(clusters, len(x))
    return nearest_neighbours(x, k, codes, "x"), nearest_neighbours(y, k, codes, "y")


def mutual_knn(x: Vectors, y: Vectors, k: int = DEFAULT_K, clusters: Ids | None = None) -> float:
    """Mean share of neighbours that both encoders agree on.

    Local and robust to outliers, where CKA is global and is not. By chance it is
    ``chance_overlap``; hubs raise that, so trust the permutation null more.

    Args:
        x: Embeddings `[clip, dim]` of one encoder's layer.
        y: Embeddings `[clip, dim]` of another, the same clips in the same order.
        k: Neighbours per clip.
        clusters: Cluster id of each clip; clips of one cluster are no neighbours.

    Returns:
        A share in [0, 1].

    Raises:
        ShapeError: other numbers of clips, or a clip with fewer than k possible neighbours.
        DegenerateError: values that are not finite, or all clips in one direction.

    Source: Huh et al. 2024, appendix A.

    >>> x = np.random.default_rng(0).normal(size=(30, 5))
    >>> mutual_knn(x, 2 * x, k=3)
    1.0
    """
    return float(neighbour_overlap(x, y, k, clusters).mean())


def chance_overlap(n_clips: int, k: int = DEFAULT_K, clusters: Ids | None = None) -> float:
    """The overlap that unrelated encoders without hubs would have.

    k / (clips - 1), or with clusters the mean of k / (clips outside the own cluster).

    Raises:
        ShapeError: a clip with fewer than k possible neighbours.

    >>> round(chance_overlap(301, k=10), 4)
    0.0333
    """
    codes = cluster_codes(clusters, n_clips)
    _check_candidates(codes, k)
    return float(np.mean(k / (n_clips - np.bincount(codes)[codes])))


def cknna(x: Vectors, y: Vectors, k: int = DEFAULT_K, clusters: Ids | None = None) -> float:
    """CKA on shared neighbours only: a second opinion on ``mutual_knn``.

    Jumps when a neighbour changes and has no tidy range; 1 for equal geometries. Rows are
    scaled to length 1 first, as for ``mutual_knn``.

    Args:
        x: Embeddings `[clip, dim]` of one encoder's layer.
        y: Embeddings `[clip, dim]` of another, the same clips in the same order.
        k: Neighbours per clip, at least 2.
        clusters: Cluster id of each clip; clips of one cluster are no neighbours.

    Returns:
        A value without unit; 1 for equal geometries.

    Raises:
        ShapeError: as for ``neighbour_overlap``, or fewer than 4 clips.
        DegenerateError: as for ``neighbour_overlap``, or no local geometry at all.

    Source: Huh et al. 2024, appendix A (CKNNA), HSIC_1 of Song et al. 2012 eq. 5.

    >>> x = np.random.default_rng(0).normal(size=(30, 5))
    >>> round(cknna(x, 2 * x, k=3), 6)
    1.0
    """
    x, y = check_aligned(x, y, min_clips=4)
    codes = cluster_codes(clusters, len(x))
    if k < 2:
        raise ShapeError(f"CKNNA with k={k} is always 0 or undefined, expected k of 2 or more.")
    mask_x = neighbour_mask(nearest_neighbours(x, k, codes, "x"))
    mask_y = neighbour_mask(nearest_neighbours(y, k, codes, "y"))
    gram_x, gram_y = cosine_similarity(x), cosine_similarity(y)
    norm_x = _masked_hsic1(gram_x, gram_x, mask_x)
    norm_y = _masked_hsic1(gram_y, gram_y, mask_y)
    if norm_x <= 0 or norm_y <= 0:
        raise DegenerateError(
            f"With k={k} one side has no local geometry, expected neighbours that are nearer "
            "than others. Use a larger k or more clips."
        )
    return _masked_hsic1(gram_x, gram_y, mask_x & mask_y) / math.sqrt(norm_x * norm_y)


def _masked_hsic1(gram_x: Matrix, gram_y: Matrix, mask: NDArray[np.bool_]) -> float:
    n = len(mask)
    # A neighbour relation goes one way, so these matrices are not symmetric, and their HSIC_1 is
    # the published formula, no mean over clips. Within clusters both are 0: nothing is compared.
    a, b = np.where(mask, gram_x, 0.0), np.where(mask, gram_y, 0.0)
    total = float(np.sum(a * b.T)) + float(a.sum() * b.sum()) / ((n - 1) * (n - 2))
    total -= 2 * float(a.sum(axis=0) @ b.sum(axis=1)) / (n - 2)
    return total / (n * (n - 3))


def nearest_neighbours(
    x: Vectors,
    k: int,
    clusters: Ids | None = None,
    name: str = "x",
    queries: Indices | None = None,
    origin: Matrix | None = None,
) -> Indices:
    """The k nearest clips of every clip by cosine, nearest first, `[clip, k]`.

    Exact: compares all pairs, a block of clips with a block of clips at a time, so that nothing
    of the size clips × clips exists.

    Args:
        x: Embeddings `[clip, dim]`.
        k: Neighbours per clip.
        clusters: Cluster id of each clip; clips of one cluster are no neighbours.
        name: What error messages call the embeddings.
        queries: Row numbers of the clips whose neighbours are wanted, among all clips; then
            `[query, k]`. Every clip where none.
        origin: A vector `[dim]` that is taken from every row first.

    Raises:
        ShapeError: a clip with fewer than k possible neighbours.
        DegenerateError: values that are not finite, or all clips in one direction.

    >>> nearest_neighbours(np.array([[1.0, 0], [1, 0.1], [0, 1], [0.1, 1]]), 1)[:, 0].tolist()
    [1, 0, 3, 2]
    """
    array = finite_vectors(x, name, min_clips=2)
    n, width = len(array), max(k, BLOCK_CANDIDATES)
    codes = cluster_codes(clusters, n)
    _check_candidates(codes, k)
    rows = np.arange(n) if queries is None else queries
    unit = _unit_rows(array[rows], origin)
    found = np.empty((len(unit), k), dtype=np.intp)
    best = np.empty((len(unit), k))
    spread = 0.0
    for start in range(0, n, width):
        is_all = queries is None and n <= width
        near = unit if is_all else _unit_rows(array[start : start + width], origin)
        spread = max(spread, float(np.abs(near - unit[0]).max()))
        for first in range(0, len(unit), BLOCK_ROWS):
            block = slice(first, first + BLOCK_ROWS)
            is_own = codes[rows[block], None] == codes[None, start : start + width]
            score = unit[block] @ near.T
            if start == 0:
                best[block], found[block] = _first_nearest(score, is_own, k)
            else:
                _keep_nearest(best[block], found[block], score, is_own, start)
    if spread <= SPREAD_FLOOR:
        raise DegenerateError(
            f"All {n} rows of {name} point in one direction, expected embeddings that "
            "differ: their neighbours are undefined. Leave this layer out."
        )
    return found


def _unit_rows(rows: Vectors, origin: Matrix | None) -> Matrix:
    return normalise_rows(rows if origin is None else rows - origin)


def _first_nearest(score: Matrix, is_own: NDArray[np.bool_], k: int) -> tuple[Matrix, Indices]:
    """Scores and columns of the k nearest `[row, k]`."""
    score = np.round(score, TIE_DIGITS)
    score[is_own] = -np.inf
    columns = top_columns(score, k)
    return np.take_along_axis(score, columns, axis=1), columns


def _keep_nearest(
    best: Matrix, found: Indices, score: Matrix, is_own: NDArray[np.bool_], start: int
) -> None:
    """Puts clips that are nearer than those found so far into their place, both `[row, k]`.

    What is not above the last score that was kept cannot be nearer, nor can an equal one: ties go
    to the lower row.
    """
    k = found.shape[1]
    rows, columns = np.nonzero((score > best[:, -1:]) & ~is_own)
    if len(rows) == 0:
        return
    places = np.concatenate([np.repeat(np.arange(len(best)), k), rows])
    scores = np.concatenate([best.ravel(), np.round(score[rows, columns], TIE_DIGITS)])
    clips = np.concatenate([found.ravel(), columns + start])
    order = np.lexsort((clips, -scores, places))
    sizes = k + np.bincount(rows, minlength=len(best))
    kept = order[(np.cumsum(sizes) - sizes)[:, None] + np.arange(k)]
    best[:], found[:] = scores[kept], clips[kept]


def top_columns(score: Matrix, k: int) -> Indices:
    """Columns of the k largest scores of each row, largest first, ties by column.

    Faster than sorting whole rows, and unlike a partial sort the same for equal scores.

    >>> top_columns(np.array([[1.0, 3.0, 3.0, 2.0]]), 2).tolist()
    [[1, 2]]
    """
    if k >= score.shape[1]:
        return np.argsort(-score, axis=1, kind="stable")[:, :k]
    threshold = np.partition(score, score.shape[1] - k, axis=1)[:, [-k]]
    above = score > threshold
    level = score == threshold
    room = k - above.sum(axis=1, keepdims=True)
    chosen = above | (level & (np.cumsum(level, axis=1) <= room))
    columns = np.nonzero(chosen)[1].reshape(len(score), k)
    order = np.argsort(-np.take_along_axis(score, columns, axis=1), axis=1, kind="stable")
    return np.take_along_axis(columns, order, axis=1)


def neighbour_mask(neighbours: Indices) -> NDArray[np.bool_]:
    """`[clip, clip]`: whether the column is among the row's neighbours.

    >>> neighbour_mask(np.array([[1], [0]])).tolist()
    [[False, True], [True, False]]
    """
    n = len(neighbours)
    mask = np.zeros((n, n), dtype=np.bool_)
    mask[np.arange(n)[:, None], neighbours] = True
    return mask


def _check_candidates(codes: Indices, k: int) -> None:
    candidates = len(codes) - np.bincount(codes).max()
    if not 1 <= k <= candidates:
        raise ShapeError(
            f"k={k} neighbours of {len(codes)} clips: some clip has only {candidates} clips "
            "outside its cluster, expected at least k. Use a smaller k or more clips."
        )
