"""Debiased CKA of every layer pair in every domain, for as many clips as memory holds.

The values only: nulls and intervals need clips × clips and stay with ``layer_similarity`` on a
sample. Clips of one cluster are not compared (``cka``). Both forms of a cell's sum are exact, and the one with fewer operations is taken: products
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
    cluster_codes,
    id_array,
)
from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.similarity._cluster_hsic import MIN_CLUSTERS, hsic_of_layers
from usad_workbench.core.similarity.cka import MIN_CLIPS, NORM_FLOOR


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ObservedCube:
    """Debiased CKA of all layer pairs in all domains."""

    values: NDArray[np.float64]
    """`[domain, student_layer, teacher_layer]`; NaN where ``reasons`` says why."""
    domains: list[str]
    n_clips: list[int]
    """Clips of each domain."""
    n_clusters: list[int]
    reasons: list[str]
    """Layers without geometry in each domain; empty where there are none."""


def observed_cube(
    student_layers: Sequence[Vectors],
    teacher_layers: Sequence[Vectors],
    domains: Ids,
    clusters: Ids | None = None,
) -> ObservedCube:
    """Every student layer against every teacher layer, domain by domain.

    Args:
        student_layers: One array `[clip, dim]` for each layer.
        teacher_layers: The same of another encoder, same clips, same order.
        domains: Domain of each clip; a similarity over several is one of their differences.
        clusters: Cluster id of each clip; clips of one cluster are not compared. None: every
            clip is its own cluster.

    Returns:
        Domains in rising order. One with fewer than 4 clusters has NaN and a reason.

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
    distinct, domain_codes = np.unique(names, return_inverse=True)
    codes = cluster_codes(clusters, len(names))
    values = np.full((len(distinct), len(student_layers), len(teacher_layers)), np.nan)
    reasons, n_clusters = [], []
    for domain in range(len(distinct)):
        rows = np.flatnonzero(domain_codes == domain)
        own_codes = np.unique(codes[rows], return_inverse=True)[1].astype(np.intp)
        n_clusters.append(int(own_codes.max()) + 1)
        if n_clusters[-1] < MIN_CLUSTERS:
            reasons.append(f"{n_clusters[-1]} clusters, at least {MIN_CLUSTERS} are needed")
            continue
        values[domain], reason = _domain(student_layers, teacher_layers, rows, own_codes)
        reasons.append(reason)
    return ObservedCube(
        values=values,
        domains=[str(name) for name in distinct],
        n_clips=np.bincount(domain_codes).tolist(),
        n_clusters=n_clusters,
        reasons=reasons,
    )


def _domain(
    student: Sequence[Vectors], teacher: Sequence[Vectors], rows: Indices, codes: Indices
) -> tuple[Matrix, str]:
    notes: list[str] = []
    ours = _centred_layers(student, rows, "student", notes)
    teachers = _centred_layers(teacher, rows, "teacher", notes)
    values = np.full((len(student), len(teacher)), np.nan)
    if ours and teachers:
        found = hsic_of_layers(list(ours.values()), list(teachers.values()), codes)
        norms_s = _norms(list(ours), found.students, found.student_floors, "student", notes)
        norms_t = _norms(list(teachers), found.teachers, found.teacher_floors, "teacher", notes)
        values[np.ix_(list(ours), list(teachers))] = found.pairs / np.outer(norms_s, norms_t)
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


def _norms(
    places: list[int], own: Matrix, floors: Matrix, side: str, notes: list[str]
) -> NDArray[np.float64]:
    """Roots of HSIC of each layer with itself; NaN and a note where it is nothing but rounding."""
    flat = own <= NORM_FLOOR * floors
    notes.extend(_no_geometry(f"{side} layer {places[i]}") for i in np.flatnonzero(flat))
    return np.sqrt(np.where(flat, np.nan, own))


def _no_geometry(name: str) -> str:
    return f"{name} has no geometry: its clips cannot be told apart"
