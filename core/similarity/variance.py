"""Variance partitioning: how much of the student is a linear mixture of its teachers.

Ridge regressions of the student on every teacher, on all of them and on all but one, out of fold
by cluster. What only one teacher explains is unique to it, what several explain is shared, the
rest is residual. Few clips make the residual an upper bound of what is new and the shared part a
lower bound: ``r2_calibration`` says by how much. Each teacher is centred and scaled to a mean
square of 1 with training rows, so that a teacher's units do not matter.

What the intervals hold is the share that can be predicted from this many clips. A teacher of
which the student has nothing gets a share slightly below 0: it costs predictions. An interval
above 0 is therefore strong evidence; one below is none against.

Intervals count a pair of clusters, one trained on and the other tested on, once: a third of the
way from the bootstrap of out-of-fold errors to leaving clusters out of both. How often each of
them holds: ``docs/statistics.md``, "Variance partitioning".
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.special import stdtrit

from usad_workbench.core.arrays import (
    SPREAD_FLOOR,
    Ids,
    Indices,
    Matrix,
    Vectors,
    as_vectors,
    cluster_codes,
)
from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.similarity._grouped_ridge import Errors, Kernel, out_of_fold
from usad_workbench.core.similarity.cka import MIN_CLIPS
from usad_workbench.core.similarity.resampling import (
    Interval,
    jackknife_groups,
    too_few_clusters,
)

MOST_CELLS = 3
"""Up to this many teachers every cell of the partition is given, 7 fits; above, those of one
and two teachers."""
SUPPRESSION = -0.02
"""A share below this is suppression or too few clips, no sampling error."""
Subset = tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Partition:
    """Shares of the student's variance, out of fold. Not clipped: chance takes them below 0."""

    total: Interval
    """R2 of all teachers together."""
    unique: Mapping[str, Interval]
    """What is lost without each teacher."""
    alone: Mapping[str, float]
    """R2 of each teacher alone."""
    shared: float
    """Explained, and by no single teacher only."""
    cells: Mapping[str, float]
    """Cells by name, as ``a+b``: all up to three teachers, of one and two teachers above."""
    residual: float
    retention: Mapping[str, float]
    """The other way: R2 of each teacher from the student."""
    nonlinear_total: float
    """R2 with a Gaussian kernel on all teachers; above ``total``: a nonlinear mixture."""
    clip_gain: Mapping[str, Matrix]
    """What each clip adds to each unique share `[clip]`; the sum is the share."""
    n_clips: int
    n_clusters: int
    reason: str


@dataclass(kw_only=True, eq=False)
class Blocks:
    """Teachers as blocks that are centred and scaled with the rows that are trained on."""

    teachers: Mapping[str, Matrix]
    _parts: dict[tuple[str, bytes], Matrix] = field(default_factory=dict)

    def kernel(self, names: Sequence[str]) -> Kernel:
        """The Gram matrix of some teachers side by side."""

        def of(train: Indices) -> Matrix:
            return np.asarray(sum(self._gram(name, train) for name in names))

        return of

    def gaussian(self, names: Sequence[str]) -> Kernel:
        """A Gaussian kernel on some teachers side by side, as wide as their median distance."""

        def of(train: Indices) -> Matrix:
            gram = np.asarray(sum(self._gram(name, train) for name in names))
            norms = np.diag(gram)
            distance = np.maximum(norms[:, None] + norms[None, :] - 2 * gram, 0.0)
            width = float(np.median(distance[np.ix_(train, train)]))
            return np.asarray(np.exp(-distance / max(width, 1e-300)))

        return of

    def _gram(self, name: str, train: Indices) -> Matrix:
        key = (name, train.tobytes())
        if key not in self._parts:
            x = self.teachers[name]
            centred = x - x[train].mean(axis=0)
            spread = float(np.mean(np.sum(centred[train] ** 2, axis=1)))
            self._parts[key] = centred @ centred.T / max(spread, 1e-300)
        return self._parts[key]


def partition_variance(
    student: Vectors, teachers: Mapping[str, Vectors], clusters: Ids
) -> Partition:
    """What each teacher explains of the student alone, what several share, what is left.

    Args:
        student: Embeddings `[clip, dim]`.
        teachers: The same clips of each teacher.
        clusters: Cluster id of each clip: whole clusters are predicted from others.

    Raises:
        ShapeError: no teachers, other numbers of clips, fewer than 4 clips.
        DegenerateError: values that are not finite, an encoder whose rows are all equal, or
            fewer than 2 clusters.

    Source: commonality analysis (Newton and Spurrell 1967) with ridge regression out of fold;
    blocks as in banded ridge (Dupré la Tour et al. 2022, NeuroImage 264:119728).

    >>> rng = np.random.default_rng(0)
    >>> a, b, new = (rng.normal(size=(400, 10)) for _ in range(3))
    >>> student = np.hstack([a, .5 ** .5 * b, .5 ** .5 * new])
    >>> found = partition_variance(student, {"a": a, "b": b}, np.arange(400) // 4)
    >>> 0.47 < found.unique["a"].value < 0.53, 0.22 < found.unique["b"].value < 0.28
    (True, True)
    """
    arrays, codes = checked_blocks(student, teachers, clusters)
    x = arrays.pop("")
    blocks = Blocks(teachers=arrays)
    names = tuple(teachers)
    groups = jackknife_groups(codes, len(codes))
    without = {name: tuple(other for other in names if other != name) for name in names}
    resampled = {names, *without.values()}
    errors = {
        subset: out_of_fold(
            blocks.kernel(subset), [x], codes, groups if subset in resampled else None
        )
        for subset in _subsets(names)
    }
    r2 = {subset: float(one.r2()[0]) for subset, one in errors.items()} | {(): 0.0}
    total = errors[names]
    backwards = out_of_fold(Blocks(teachers={"": x}).kernel([""]), list(arrays.values()), codes)
    gaussian = out_of_fold(blocks.gaussian(names), [x], codes)
    unique = {name: _interval(errors.get(without[name]), total, groups, codes) for name in names}
    sst = float(total.total.sum())
    return Partition(
        total=_interval(None, total, groups, codes),
        unique=unique,
        alone={name: r2[name,] for name in names},
        shared=r2[names] - sum(one.value for one in unique.values()),
        cells=_cells(names, r2),
        residual=1.0 - r2[names],
        retention=dict(zip(names, backwards.r2().tolist(), strict=True)),
        nonlinear_total=float(gaussian.r2()[0]),
        clip_gain={n: _saved(errors.get(without[n]), total) / sst for n in names},
        n_clips=len(codes),
        n_clusters=int(codes.max()) + 1,
        reason=too_few_clusters(int(codes.max()) + 1),
    )


def checked_blocks(
    student: Vectors, teachers: Mapping[str, Vectors], clusters: Ids
) -> tuple[dict[str, Matrix], Indices]:
    """The arrays in float64, the student under the empty name, and cluster codes.

    Raises:
        ShapeError: as ``partition_variance``.
        DegenerateError: as ``partition_variance``.
    """
    if not teachers:
        raise ShapeError("There are no teachers, expected at least one. Name them.")
    arrays = {
        name: as_vectors(x, name or "the student", MIN_CLIPS)
        for name, x in {"": student, **teachers}.items()
    }
    sizes = {len(x) for x in arrays.values()}
    if len(sizes) != 1:
        raise ShapeError(
            f"The encoders have {sorted(sizes)} clips, expected the same clips in all. Select the "
            "clips that all have."
        )
    for name, x in arrays.items():
        if np.std(x, axis=0).max() <= SPREAD_FLOOR * max(1.0, float(np.abs(x).max())):
            raise DegenerateError(
                f"All {len(x)} rows of {name or 'the student'} are equal, expected embeddings that "
                "differ. Leave this encoder out."
            )
    codes = cluster_codes(clusters, len(arrays[""]))
    if codes.max() < 1:
        raise DegenerateError(
            "All clips belong to one cluster, expected at least 2: nothing can be predicted on a "
            "cluster that was not trained on. Add clips of others."
        )
    return arrays, codes


def _subsets(names: Subset) -> list[Subset]:
    """All teachers, all but one or two, each alone; every subset where there are few."""
    sizes = range(1, len(names) + 1)
    if len(names) > MOST_CELLS:
        sizes_of_interest = {1, len(names) - 2, len(names) - 1, len(names)}
        return [
            s for n in sizes if n in sizes_of_interest for s in itertools.combinations(names, n)
        ]
    return [s for n in sizes for s in itertools.combinations(names, n)]


def _saved(fewer: Errors | None, more: Errors) -> Matrix:
    """Squared error of each clip that the larger set saves `[clip]`."""
    before = more.total[0] if fewer is None else fewer.residual[0]
    return np.asarray(before - more.residual[0])


def _interval(fewer: Errors | None, more: Errors, groups: Indices, codes: Indices) -> Interval:
    """What the larger set explains beyond the smaller, with its t interval over clusters."""
    saved, of_all = _saved(fewer, more), more.total[0]
    value = float(saved.sum() / of_all.sum())
    n_clusters = int(codes.max()) + 1
    reason = too_few_clusters(n_clusters)
    half = math.nan
    if not reason:
        left_out = more.left_out_r2()[0] - (0.0 if fewer is None else fewer.left_out_r2()[0])
        n = len(left_out)
        jackknife = (n - 1) / n * float(np.sum((left_out - left_out.mean()) ** 2))
        shifts = np.bincount(groups, weights=saved - value * of_all) / of_all.sum()
        tested = n / (n - 1) * float(np.sum(shifts**2))
        variance = tested + max(jackknife - tested, 0.0) / 3
        half = float(stdtrit(n - 1, 0.975)) * math.sqrt(variance)
    return Interval(
        value=value,
        ci_low=value - half,
        n_clusters=n_clusters,
        reason=reason,
        ci_high=value + half if math.isnan(half) else min(value + half, 1.0),  # R2 is at most 1
    )


def _cells(names: Subset, r2: Mapping[Subset, float]) -> dict[str, float]:
    """Cells of the partition by Möbius inversion over their teachers."""
    cells = {}
    largest = len(names) if len(names) <= MOST_CELLS else 2
    for size in range(1, largest + 1):
        for cell in itertools.combinations(names, size):
            rest = [name for name in names if name not in cell]
            share = 0.0
            for n in range(size + 1):
                for part in itertools.combinations(cell, n):
                    subset = tuple(name for name in names if name in rest or name in part)
                    share -= (-1) ** n * r2[subset]
            cells["+".join(cell)] = share
    return cells
