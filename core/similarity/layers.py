"""Layers × layers: which student layer is nearest to which teacher layer, in one domain.

A value alone says nothing: the matrix comes with what the same clips give when rows are
exchanged within their cluster, and with an interval over clusters.

``null_q95`` is each pair's own level: 95% of its permuted values (the observed one counted
in) lie at or below it. Draw it beside the value. ``p_value`` is the chance that *any* layer
pair stands out from its own null as far as this one does. It comes from the maximum over
the pairs, so the best of many pairs needs no further correction within its matrix; q-values
over teachers and domains are ``benjamini_hochberg`` of these. Pairs are compared in standard
deviations of their own null: within clusters the nulls of two pairs lie at different
heights, and the maximum of raw values would only ever test the highest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from usad_workbench.core.arrays import (
    Ids,
    Indices,
    Matrix,
    Vectors,
    as_vectors,
    cluster_codes,
)
from usad_workbench.core.errors import DegenerateError, ShapeError, UnknownNameError, did_you_mean
from usad_workbench.core.similarity._cka_layers import CkaLayers, prepare_gram
from usad_workbench.core.similarity._cluster_hsic import MIN_CLUSTERS
from usad_workbench.core.similarity._knn_layers import KnnLayers, list_width, prepare_lists
from usad_workbench.core.similarity.cka import MIN_CLIPS, standardised
from usad_workbench.core.similarity.neighbours import DEFAULT_K
from usad_workbench.core.similarity.resampling import (
    exchange_warning,
    jackknife_groups,
    jackknife_limits,
    pair_variance,
    permutations_within,
    strata,
    too_few_clusters,
)
from usad_workbench.core.similarity.significance import max_statistic

Measure = Literal["debiased_linear_cka", "standardised_linear_cka", "mutual_knn"]
"""Names of the measures as they stand in tables."""
MAX_CLIPS = 1000
"""More clips of one domain cost clips² in time and memory and hardly sharpen the value."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerMatrix:
    """One measure of every layer pair of two encoders in one domain.

    All arrays are `[student_layer, teacher_layer]`, in the order that the layers came in.
    NaN: not defined, and ``reason`` says why.
    """

    measure: Measure
    values: Matrix
    ci_low: Matrix
    ci_high: Matrix
    """95% delete-one-cluster jackknife, pairs of clusters counted once, t with clusters - 1 degrees
    of freedom."""
    null_q95: Matrix
    """Each pair's own null level."""
    p_value: Matrix
    """Over all pairs: the maximum statistic."""
    n_clips: int
    """Clips that were used, after thinning to ``max_clips``."""
    n_clusters: int
    null_kind: str
    reason: str
    """What is missing or weak and why; empty where nothing is."""
    jackknife_values: NDArray[np.float64] | None
    """`[group, student_layer, teacher_layer]`, for intervals of differences.

    Groups are the clusters in the order of their ids (as text, if
    they are no integers), above 100 clusters groups of
    them (``jackknife_groups``).
    """

    best_pair_parts: Matrix | None = None
    """What each pair of groups adds to the best value `[group, group]`, for the same; see
    ``resampling.pair_variance``."""

    @property
    def best(self) -> tuple[int, int]:
        """Positions (student, teacher) of the largest value. A maximum: compare with maxima."""
        return _best(self.values)


def layer_similarity(
    student_layers: Sequence[Vectors],
    teacher_layers: Sequence[Vectors],
    clusters: Ids,
    *,
    measure: Measure = "debiased_linear_cka",
    k: int = DEFAULT_K,
    n_permutations: int = 200,
    seed: int = 0,
    max_clips: int = MAX_CLIPS,
) -> LayerMatrix:
    """Every student layer against every teacher layer on the clips of one domain.

    The permutations are the same for all layer pairs and, with equal clusters and seed, for
    all teachers and measures. A layer without geometry gives NaN and a reason, and so does CKA
    of fewer than 4 clusters: only clips of different clusters are compared.

    Args:
        student_layers: One array `[clip, dim]` for each layer.
        teacher_layers: The same of a teacher or control, same clips, same order.
        clusters: Cluster id of each clip (speaker, track or recording).
        measure: Which measure.
        k: Neighbours per clip, for ``mutual_knn``.
        n_permutations: Size of the null; 0 for none.
        seed: Of permutations and of the thinning.
        max_clips: Larger domains are thinned to whole clusters that fit.

    Returns:
        Matrices `[student layer, teacher layer]` of values, their null quantiles and p-values,
        and the clips and clusters that they rest on.

    Raises:
        ShapeError: no layers, other numbers of clips, fewer than 4, or too few for ``k``.
        DegenerateError: values that are not finite.
        UnknownNameError: no such measure.

    Source: Groeger et al. 2026 (arXiv:2602.14486) for the calibration by permutations,
    Westfall and Young 1993 for the maximum of standardised statistics.

    >>> x = np.random.default_rng(0).normal(size=(40, 6))
    >>> found = layer_similarity([x], [x[:, ::-1]], list(range(40)), n_permutations=99)
    >>> float(found.values.round(6)[0, 0]), float(found.p_value[0, 0])
    (1.0, 0.01)
    """
    if measure not in get_args(Measure):
        raise UnknownNameError(
            f"Unknown measure {measure!r}. {did_you_mean(measure, get_args(Measure))}"
        )
    n_all = _common_clips(student_layers, teacher_layers)
    codes = cluster_codes(clusters, n_all)
    # Thinned before anything is converted: a domain may hold a million clips.
    rows = thin_clusters(codes, max_clips, seed)
    notes = [note for note in [describe_thinning(len(rows), n_all)] if note]
    student = _checked(student_layers, "student", rows)
    teacher = _checked(teacher_layers, "teacher", rows)
    codes = np.unique(codes[rows], return_inverse=True)[1].astype(np.intp)
    work = _Work(measure=measure, k=k, codes=codes, groups=jackknife_groups(codes, len(rows)))
    return work.run(student, teacher, n_permutations, seed, notes)


def null_kind(n_permutations: int) -> str:
    """How the null was made, in the words of the table column ``null_kind``.

    >>> null_kind(200)
    'rows within cluster, max over layer pairs, 200 permutations'
    """
    if n_permutations == 0:
        return "none"
    return f"rows within cluster, max over layer pairs, {n_permutations} permutations"


def describe_thinning(n_clips: int, n_all: int) -> str:
    """What is said of a value that rests on a sample of the clips; empty where on all.

    >>> describe_thinning(1000, 20000)
    '1000 of 20000 clips, in whole clusters'
    """
    return "" if n_clips == n_all else f"{n_clips} of {n_all} clips, in whole clusters"


def thin_clusters(clusters: Ids, max_clips: int, seed: int = 0) -> Indices:
    """Rows of at most ``max_clips`` clips in whole clusters, in rising order.

    Clusters are drawn in a seeded order, those that do not fit any more are passed over.
    Where no cluster fits, single rows are drawn.

    Raises:
        ShapeError: fewer than 4 clips asked for.

    >>> thin_clusters(["a", "a", "b", "b", "c", "c"], 4).tolist() in (
    ...     [0, 1, 2, 3], [0, 1, 4, 5], [2, 3, 4, 5])
    True
    """
    if max_clips < MIN_CLIPS:
        raise ShapeError(
            f"max_clips is {max_clips}, expected at least {MIN_CLIPS}. Raise the limit."
        )
    codes = cluster_codes(clusters, len(clusters))
    if len(codes) <= max_clips:
        return np.arange(len(codes))
    rng = np.random.default_rng(seed)
    sizes = np.bincount(codes)
    chosen, room = [], max_clips
    for cluster in rng.permutation(len(sizes)):
        if sizes[cluster] <= room:
            chosen.append(cluster)
            room -= int(sizes[cluster])
    if room > max_clips - MIN_CLIPS:
        return np.sort(rng.choice(len(codes), size=max_clips, replace=False))
    return np.flatnonzero(np.isin(codes, chosen))


@dataclass(frozen=True, kw_only=True)
class _Pairs:
    """The layers that have a geometry, and how to put their values back in place."""

    computer: CkaLayers | KnnLayers | None
    student: Indices
    teacher: Indices
    shape: tuple[int, int]

    @property
    def inner(self) -> tuple[int, int]:
        return len(self.student), len(self.teacher)

    def spread(self, values: NDArray[Any]) -> Matrix:
        full = np.full((*values.shape[:-2], *self.shape), np.nan)
        full[..., self.student[:, None], self.teacher[None, :]] = values
        return full


@dataclass(frozen=True, kw_only=True)
class _Work:
    """One measure on one set of clips."""

    measure: Measure
    k: int
    codes: Indices
    groups: Indices

    def run(
        self,
        student: list[Matrix],
        teacher: list[Matrix],
        n_permutations: int,
        seed: int,
        notes: list[str],
    ) -> LayerMatrix:
        pairs = self.prepare(student, teacher, notes)
        null_q95, p_value = self.null(pairs, n_permutations, seed, notes)
        values, left_out, parts, low, high = self.interval(pairs, notes)
        best = None if parts is None else _best(values)
        return LayerMatrix(
            measure=self.measure,
            values=pairs.spread(values),
            ci_low=pairs.spread(low),
            ci_high=pairs.spread(high),
            null_q95=pairs.spread(null_q95),
            p_value=pairs.spread(p_value),
            n_clips=len(self.codes),
            n_clusters=int(self.codes.max()) + 1,
            null_kind=null_kind(n_permutations),
            reason="; ".join(notes),
            jackknife_values=left_out if left_out is None else pairs.spread(left_out),
            best_pair_parts=None if parts is None or best is None else parts[:, :, *best],
        )

    def prepare(self, student: list[Matrix], teacher: list[Matrix], notes: list[str]) -> _Pairs:
        n_clusters = int(self.codes.max()) + 1
        if self.measure == "mutual_knn" or n_clusters >= MIN_CLUSTERS:
            (ready_s, places_s), (ready_t, places_t) = (
                self._side(layers, side, notes)
                for layers, side in ((student, "student"), (teacher, "teacher"))
            )
        else:
            notes.append(f"no value: {n_clusters} clusters, at least {MIN_CLUSTERS} are needed")
            ready_s, places_s, ready_t, places_t = [], [], [], []
        computer: CkaLayers | KnnLayers | None = None
        if ready_s and ready_t:
            if self.measure == "mutual_knn":
                computer = KnnLayers(ready_s, ready_t, self.k)
            else:
                computer = CkaLayers(ready_s, ready_t, self.codes)
        return _Pairs(
            computer=computer,
            student=np.asarray(places_s, dtype=np.intp),
            teacher=np.asarray(places_t, dtype=np.intp),
            shape=(len(student), len(teacher)),
        )

    def _side(
        self, layers: list[Matrix], side: str, notes: list[str]
    ) -> tuple[list[Any], list[int]]:
        ready: list[NDArray[Any]] = []
        places: list[int] = []
        for position, layer in enumerate(layers):
            name = f"{side} layer {position}"
            try:
                ready.append(self._prepared(layer, name))
                places.append(position)
            except DegenerateError:
                notes.append(f"{name} has no geometry: its clips cannot be told apart")
        return ready, places

    def _prepared(self, layer: Matrix, name: str) -> NDArray[Any]:
        if self.measure == "mutual_knn":
            width = list_width(self.k, self.codes, self.groups)
            return prepare_lists(layer, name, width, self.codes)
        if self.measure == "standardised_linear_cka":
            layer = standardised(layer, name, self.codes)
        return prepare_gram(layer, name, self.codes)

    def null(
        self, pairs: _Pairs, n_permutations: int, seed: int, notes: list[str]
    ) -> tuple[Matrix, Matrix]:
        if n_permutations == 0 or pairs.computer is None:
            return np.full(pairs.inner, np.nan), np.full(pairs.inner, np.nan)
        stratum = strata(self.codes, len(self.codes))
        warning = exchange_warning(stratum, n_permutations)
        if warning:
            notes.append(warning)
        orders = permutations_within(stratum, n_permutations, seed)
        # The observed value goes through the same float32 as the null it is compared with.
        orders = np.vstack([np.arange(len(stratum)), orders])
        return max_statistic(pairs.computer.null(orders))

    def interval(
        self, pairs: _Pairs, notes: list[str]
    ) -> tuple[Matrix, NDArray[np.float64] | None, NDArray[np.float64] | None, Matrix, Matrix]:
        """Values, those without each group, parts of pairs of groups, and limits."""
        none = np.full(pairs.inner, np.nan)
        if pairs.computer is None:
            return none, None, None, none, none
        values = pairs.computer.values()
        reason = too_few_clusters(int(self.codes.max()) + 1)
        if reason:
            notes.append(reason)
            return values, None, None, none, none
        left_out = pairs.computer.left_out(self.groups)
        if np.any(np.isnan(left_out)):
            notes.append("no interval for some pairs: without one cluster too few clips are left")
        parts = pairs.computer.pair_parts(self.groups)
        limits = jackknife_limits(values, left_out, largest=1.0, of_pairs=pair_variance(parts))
        return values, left_out, parts, *limits


def _best(values: Matrix) -> tuple[int, int]:
    if np.all(np.isnan(values)):
        return 0, 0
    largest = int(np.nanargmax(values))
    return largest // values.shape[1], largest % values.shape[1]


def _common_clips(student: Sequence[Vectors], teacher: Sequence[Vectors]) -> int:
    """The number of clips that all layers have."""
    sizes = [[len(layer) for layer in side] for side in (student, teacher)]
    if not sizes[0] or not sizes[1] or len({*sizes[0], *sizes[1]}) != 1:
        raise ShapeError(
            f"The student's layers have {sizes[0]} clips, the teacher's {sizes[1]}, expected at "
            "least one layer each and the same clips in all. Select the clips that all have."
        )
    return sizes[0][0]


def _checked(layers: Sequence[Vectors], side: str, rows: Indices) -> list[Matrix]:
    return [
        as_vectors(np.asarray(layer)[rows], f"{side} layer {position}", MIN_CLIPS)
        for position, layer in enumerate(layers)
    ]
