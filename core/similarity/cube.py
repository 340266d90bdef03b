"""Debiased CKA of every layer pair in every domain, for as many clips as memory holds.

The values only: nulls and intervals need clips × clips and stay with ``layer_similarity`` on a
sample. Both forms of a cell's sum are exact, and the one with fewer operations is taken: products
of features, dim × dim for each pair of layers, or products of Gram matrices in blocks of clips,
which cost clips × clips for each layer and next to nothing for each pair. Timings:
``docs/statistics.md``, "Debiased CKA".

Memory: 8 bytes × clips of a domain × dims of all layers; nothing of the size clips × clips
exists.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from usad_workbench.core.arrays import (
    Ids,
    Indices,
    Matrix,
    Vectors,
    as_vectors,
    centred_unit,
    id_array,
)
from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.similarity._cross_products import cross_products
from usad_workbench.core.similarity.cka import MIN_CLIPS, NORM_FLOOR


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ObservedCube:
    """Debiased CKA of all layer pairs in all domains."""

    values: NDArray[np.float64]
    """`[domain, student_layer, teacher_layer]`; NaN where ``reasons`` says why."""
    domains: list[str]
    n_clips: list[int]
    """Clips of each domain."""
    reasons: list[str]
    """Layers without geometry in each domain; empty where there are none."""


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
    distinct, codes = np.unique(names, return_inverse=True)
    values = np.full((len(distinct), len(student_layers), len(teacher_layers)), np.nan)
    reasons = []
    for domain in range(len(distinct)):
        rows = np.flatnonzero(codes == domain)
        if len(rows) < MIN_CLIPS:
            reasons.append(f"{len(rows)} clips, at least {MIN_CLIPS} are needed")
            continue
        values[domain], reason = _domain(student_layers, teacher_layers, rows)
        reasons.append(reason)
    return ObservedCube(
        values=values,
        domains=[str(name) for name in distinct],
        n_clips=np.bincount(codes).tolist(),
        reasons=reasons,
    )


def _domain(
    student: Sequence[Vectors], teacher: Sequence[Vectors], rows: Indices
) -> tuple[Matrix, str]:
    notes: list[str] = []
    ours = _centred_layers(student, rows, "student", notes)
    teachers = _centred_layers(teacher, rows, "teacher", notes)
    values = np.full((len(student), len(teacher)), np.nan)
    if ours and teachers:
        products = cross_products(list(ours.values()), list(teachers.values()))
        norms_s = _self_hsic1(ours, products.students, "student", notes)
        norms_t = _self_hsic1(teachers, products.teachers, "teacher", notes)
        cross = _hsic1(products.pairs, _squares(ours), _squares(teachers))
        values[np.ix_(list(ours), list(teachers))] = cross / np.sqrt(np.outer(norms_s, norms_t))
    return values, "; ".join(notes)


def _centred_layers(
    layers: Sequence[Vectors], rows: Indices, side: str, notes: list[str]
) -> dict[int, Matrix]:
    """Centred rows of one domain by the layer's place; a note where all rows are equal."""
    centred = {}
    for position, layer in enumerate(layers):
        name = f"{side} layer {position}"
        array = as_vectors(np.asarray(layer)[rows], name, MIN_CLIPS)
        try:
            centred[position] = centred_unit(array, name)
        except DegenerateError:
            notes.append(_no_geometry(name))
    return centred


def _self_hsic1(
    layers: dict[int, Matrix], own: Matrix, side: str, notes: list[str]
) -> NDArray[np.float64]:
    """HSIC_1 of each layer with itself; NaN and a note where it is nothing but rounding."""
    squares = _squares(layers)
    n = squares.shape[1]
    values = np.array(
        [_hsic1(own[i : i + 1, None], one, one)[0, 0] for i, one in enumerate(squares[:, None])]
    )
    flat = values <= NORM_FLOOR * own / (n * (n - 3))
    notes.extend(_no_geometry(f"{side} layer {list(layers)[i]}") for i in np.flatnonzero(flat))
    return np.where(flat, np.nan, values)


def _no_geometry(name: str) -> str:
    return f"{name} has no geometry: its clips cannot be told apart"


def _squares(layers: dict[int, Matrix]) -> Matrix:
    """Squared norms `[layer, clip]`."""
    return np.stack([np.einsum("ij,ij->i", x, x) for x in layers.values()])


def _hsic1(cross: Matrix, a: Matrix, b: Matrix) -> Matrix:
    """HSIC_1 `[layer, layer]` as in ``cka``, from the sums of products and squared norms."""
    n, ab = a.shape[1], a @ b.T
    totals = np.outer(a.sum(axis=1), b.sum(axis=1))
    total = cross - ab + totals / ((n - 1) * (n - 2)) - 2 * ab / (n - 2)
    return np.asarray(total / (n * (n - 3)))
