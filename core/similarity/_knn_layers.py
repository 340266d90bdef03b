"""Mutual k-NN of all layer pairs at once: values, leave-one-group-out, permutation null.

Permuting rows within strata leaves the excluded same-cluster pairs where they are, so the
neighbours of permuted rows are the permuted neighbours: nothing is searched again.

Leave-one-group-out counts twice what pairs of groups add, which is most of it here, and it is
taken out once (``resampling.pair_variance``). What was tried instead: ``docs/statistics.md``,
"Mutual k-NN".
"""

import numpy as np
from numpy.typing import NDArray

from usad_workbench.core.arrays import Indices, Matrix
from usad_workbench.core.similarity.neighbours import nearest_neighbours

Lists = NDArray[np.intp]
"""Neighbours `[layer, clip, place]`, nearest first."""


def list_width(k: int, codes: Indices, groups: Indices) -> int:
    """How many neighbours to keep, so that k are left when any one group is left out."""
    available = len(codes) - int(np.bincount(codes).max())
    return max(k, min(k + int(np.bincount(groups).max()), available))


def prepare_lists(x: Matrix, name: str, width: int, codes: Indices) -> Indices:
    """The neighbours `[clip, width]` of one layer, nearest first.

    Raises:
        DegenerateError: all clips of the layer in one direction.
    """
    return nearest_neighbours(x, width, codes, name)


class KnnLayers:
    """The layers of two encoders on the same clips, ready for mutual k-NN of every pair."""

    def __init__(self, student: list[Indices], teacher: list[Indices], k: int) -> None:
        """Takes what ``prepare_lists`` gave for each layer."""
        self._student, self._teacher = np.stack(student), np.stack(teacher)
        self._k, self._n, self._width = k, *self._student.shape[1:]

    def values(self) -> Matrix:
        """`[student_layer, teacher_layer]`."""
        return np.asarray(self.null(np.arange(self._n)[None, :])[0])

    def null(self, orders: Indices) -> Matrix:
        """Values with the student's rows permuted, `[permutation, student_layer, ...]`."""
        n, k = self._n, self._k
        member = np.zeros((len(self._teacher), n * n), dtype=np.uint8)
        for layer, lists in enumerate(self._teacher[:, :, :k]):
            member[layer, (np.arange(n)[:, None] * n + lists).ravel()] = 1
        out = np.empty((len(orders), len(self._student), len(member)))
        for number, order in enumerate(orders):
            # Row i is row order[i] of the data, and so are its neighbours.
            inverse = np.argsort(order)
            lists = inverse[self._student[:, order, :k]]
            places = (np.arange(n)[None, :, None] * n + lists).reshape(len(lists), n * k)
            for layer, table in enumerate(member):
                hits = np.count_nonzero(table.take(places), axis=1)
                out[number, :, layer] = hits / (n * k)
        return out

    def pair_parts(self, groups: Indices) -> NDArray[np.float64]:
        """What each pair of groups adds to the values `[group, group, student_layer, ...]`.

        Args:
            groups: Group of each clip, whole clusters `[clip]`.
        """
        n, k, n_groups = self._n, self._k, int(groups.max()) + 1
        parts = np.empty((n_groups, n_groups, len(self._student), len(self._teacher)))
        for i, lists in enumerate(self._student[:, :, :k]):
            pairs = (groups[:, None] * n_groups + groups[lists]).ravel()
            for j, others in enumerate(self._teacher[:, :, :k]):
                is_shared = np.any(lists[:, :, None] == others[:, None, :], axis=2).ravel()
                hits = np.bincount(pairs[is_shared], minlength=n_groups**2) / (n * k)
                sums = hits.reshape(n_groups, n_groups)
                parts[:, :, i, j] = (sums + sums.T) / 2
        return parts

    def left_out(self, groups: Indices) -> Matrix:
        """Values without each group in turn, `[group, student_layer, teacher_layer]`."""
        n_groups, n, k = int(groups.max()) + 1, self._n, self._k
        student, teacher = self._student, self._teacher
        ranks = np.full((len(teacher), n * n), self._width, dtype=np.int32)
        for layer, lists in enumerate(teacher):
            places = np.arange(n)[:, None] * n + lists
            ranks[layer, places.ravel()] = np.tile(np.arange(self._width), n)
        out = np.full((n_groups, len(student), len(teacher)), np.nan)
        for group in range(n_groups):
            kept = np.flatnonzero(groups != group)
            chosen = _first_kept(student, kept, groups, group, k)
            cutoffs = _cutoffs(teacher, kept, groups, group, k)
            if chosen is None or cutoffs is None:
                continue
            places = (kept[None, :, None] * n + chosen).reshape(len(student), -1)
            for layer, table in enumerate(ranks):
                limit = np.repeat(cutoffs[layer], k)
                hits = np.count_nonzero(table.take(places) <= limit, axis=1)
                out[group, :, layer] = hits / (len(kept) * k)
        return out


def _survivors(
    lists: Lists, kept: Indices, groups: Indices, group: int, k: int
) -> tuple[Lists, NDArray[np.bool_]]:
    """The lists of the kept rows, and which of their places are kept and among the first k."""
    width = min(lists.shape[2], k + int(np.sum(groups == group)))
    lists = lists[:, kept, :width]
    stays = groups[lists] != group
    return lists, stays & (np.cumsum(stays, axis=2) <= k)


def _first_kept(lists: Lists, kept: Indices, groups: Indices, group: int, k: int) -> Lists | None:
    """The first k neighbours outside the group; none where some row has too few."""
    lists, first = _survivors(lists, kept, groups, group, k)
    if np.any(first.sum(axis=2) < k):
        return None
    return lists[first].reshape(len(lists), len(kept), k)


def _cutoffs(
    lists: Lists, kept: Indices, groups: Indices, group: int, k: int
) -> NDArray[np.intp] | None:
    """The place of the k-th neighbour outside the group `[layer, row]`."""
    _, first = _survivors(lists, kept, groups, group, k)
    if np.any(first.sum(axis=2) < k):
        return None
    return np.asarray(first.shape[2] - 1 - np.argmax(first[:, :, ::-1], axis=2))
