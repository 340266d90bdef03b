"""Debiased CKA of every layer pair in every domain, for as many clips as memory holds.

The values only: nulls and intervals need clips × clips and stay with ``layer_similarity`` on
a sample. Here nothing of that size exists: one student layer times all teacher layers side by
side is one product `[dim, layers × dim]`, whose blocks are summed to HSIC_1. O(clips × dim ×
dim) for each layer pair, memory 8 bytes × clips × dim × (teacher's layers + 1).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.similarity._arrays import (
    Ids,
    Indices,
    Matrix,
    Vectors,
    as_vectors,
    centred_unit,
    id_array,
)
from usad_workbench.core.similarity.cka import MIN_CLIPS, NORM_FLOOR, equidistant


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ObservedCube:
    """Debiased CKA of all layer pairs in all domains."""

    values: NDArray[np.float64]
    """`[domain, student_layer, teacher_layer]`; NaN where ``reasons`` says why."""
    domains: list[str]
    n_clips: list[int]
    """Of each domain."""
    reasons: list[str]
    """Of each domain: layers without geometry; empty where there are none."""


def observed_cube(
    student_layers: Sequence[Vectors], teacher_layers: Sequence[Vectors], domains: Ids
) -> ObservedCube:
    """Every student layer against every teacher layer, domain by domain.

    Args:
        student_layers: One array `[clip, dim]` for each layer.
        teacher_layers: The same of another encoder, same clips, same order.
        domains: Domain of each clip; a similarity over several is one of their differences.

    Returns:
        Domains in rising order. One with fewer than 4 clips has NaN and a reason.

    Raises:
        ShapeError: no layers, or other numbers of clips.
        DegenerateError: values that are not finite.

    Source: as for ``debiased_linear_cka``, which each cell equals.

    >>> x = np.random.default_rng(0).normal(size=(40, 6))
    >>> found = observed_cube([x], [x, x[:, :3]], ["speech"] * 20 + ["music"] * 20)
    >>> found.domains, found.values.shape, found.values[:, 0, 0].round(9).tolist()
    (['music', 'speech'], (2, 1, 2), [1.0, 1.0])
    """
    names = id_array(domains)
    sizes = {len(layer) for layer in (*student_layers, *teacher_layers)}
    if not student_layers or not teacher_layers or sizes != {len(names)}:
        raise ShapeError(
            f"The layers have {sorted(sizes)} clips and there are {len(names)} domains, expected at "
            "least one layer each and the same clips in all. Select the clips that all have."
        )
    known, codes = np.unique(names, return_inverse=True)
    values = np.full((len(known), len(student_layers), len(teacher_layers)), np.nan)
    reasons = []
    for place in range(len(known)):
        rows = np.flatnonzero(codes == place)
        if len(rows) < MIN_CLIPS:
            reasons.append(f"{len(rows)} clips, at least {MIN_CLIPS} are needed")
            continue
        values[place], reason = _domain(student_layers, teacher_layers, rows)
        reasons.append(reason)
    return ObservedCube(
        values=values,
        domains=[str(one) for one in known],
        n_clips=np.bincount(codes).tolist(),
        reasons=reasons,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Layer:
    """One layer of one domain: its place, what it measures of itself, and its rows."""

    place: int
    centred: Matrix
    squares: Matrix
    self_hsic1: float


def _domain(
    student: Sequence[Vectors], teacher: Sequence[Vectors], rows: Indices
) -> tuple[Matrix, str]:
    notes: list[str] = []
    values = np.full((len(student), len(teacher)), np.nan)
    theirs = [
        one for place, x in enumerate(teacher) if (one := _layer(x, rows, "teacher", place, notes))
    ]
    if not theirs:
        return values, "; ".join(notes)
    wide = np.hstack([one.centred for one in theirs])
    starts = np.cumsum([0, *(one.centred.shape[1] for one in theirs[:-1])])
    places = [one.place for one in theirs]
    squares = np.stack([one.squares for one in theirs])
    norms = np.array([one.self_hsic1 for one in theirs])
    # The rows stand in ``wide``: twice would be twice the memory.
    theirs.clear()
    for place, x in enumerate(student):
        mine = _layer(x, rows, "student", place, notes)
        if mine is None:
            continue
        product = mine.centred.T @ wide
        cross = np.add.reduceat(np.einsum("ij,ij->j", product, product), starts)
        values[place, places] = _hsic1(cross, mine.squares, squares) / np.sqrt(
            mine.self_hsic1 * norms
        )
    return values, "; ".join(notes)


def _layer(x: Vectors, rows: Indices, side: str, place: int, notes: list[str]) -> _Layer | None:
    """The layer in one domain; none, with a note, where its clips cannot be told apart."""
    name = f"{side} layer {place}"
    array = as_vectors(np.asarray(x)[rows], name, MIN_CLIPS)
    try:
        centred = centred_unit(array, name)
        squares = np.einsum("ij,ij->i", centred, centred)
        # The product of a matrix with itself costs half; it is made once.
        product = centred.T @ centred
        cross = float(np.einsum("ij,ij->", product, product))
        self_hsic1 = float(_hsic1(np.array([cross]), squares, squares[None])[0])
        n = len(rows)
        if self_hsic1 <= NORM_FLOOR * cross / (n * (n - 3)):
            raise equidistant(n, name)
    except DegenerateError:
        notes.append(f"{name} has no geometry: its clips cannot be told apart")
        return None
    return _Layer(place=place, centred=centred, squares=squares, self_hsic1=self_hsic1)


def _hsic1(cross: Matrix, a: Matrix, b: Matrix) -> Matrix:
    """HSIC_1 of one layer with several: as in ``cka``, from the sums of the blocks."""
    n, ab = len(a), b @ a
    total = cross - ab + a.sum() * b.sum(axis=1) / ((n - 1) * (n - 2)) - 2 * ab / (n - 2)
    return np.asarray(total / (n * (n - 3)))
