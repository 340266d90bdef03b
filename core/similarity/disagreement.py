"""Which encoder is nearest, by each family of measures, and whether the families agree.

No single measure wins everywhere (Klabunde et al. 2025, ReSi: 24 measures, 6 tests), so
families are shown side by side: spectral (debiased CKA, plain and of standardised dims),
neighbourhood (mutual k-NN, order and distances of neighbours), shape (angular Procrustes),
distances (RSA, distance correlation), canonical correlations (SVCCA) and ridge predictions (GULP).
PWCCA has no part: it puts the layers of an encoder into the wrong order several times as often as
these (``docs/statistics.md``, "Which measure to believe").
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from usad_workbench.core.arrays import Ids, Vectors
from usad_workbench.core.errors import DegenerateError, ShapeError
from usad_workbench.core.similarity.canonical_correlation import CLIPS_PER_DIM, svcca
from usad_workbench.core.similarity.cka import debiased_linear_cka, standardised_linear_cka
from usad_workbench.core.similarity.distance_correlation import distance_correlation
from usad_workbench.core.similarity.gulp import gulp_distance
from usad_workbench.core.similarity.neighbour_order import rank_similarity, second_order_cosine
from usad_workbench.core.similarity.neighbours import DEFAULT_K, mutual_knn
from usad_workbench.core.similarity.procrustes import angular_procrustes_distance
from usad_workbench.core.similarity.rsa import rsa_spearman

Reading = Callable[[Vectors, Vectors], float]
FAMILIES = {
    "debiased_linear_cka": "spectral",
    "standardised_linear_cka": "spectral",
    "mutual_knn": "neighbourhood",
    "rank_similarity": "neighbourhood",
    "second_order_cosine": "neighbourhood",
    "angular_procrustes": "shape",
    "rsa_spearman": "distances",
    "distance_correlation": "distances",
    "svcca": "canonical correlation",
    "gulp": "ridge prediction",
}
DISTANCES = ("angular_procrustes", "gulp")
"""Small is near."""
NEED_CLIPS_PER_DIM = ("svcca",)
"""Take no part in the warning with fewer than 20 clips per dim."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NearestByMeasure:
    """Who is nearest by each measure."""

    nearest: dict[str, str]
    """Measure to encoder; measures that are undefined for some encoder are missing."""
    values: dict[str, dict[str, float]]
    """Measure to encoder to value; distances of ``DISTANCES``, else similarities."""
    families: dict[str, str]
    """Family to encoder, of measures that have enough clips; none in it where its measures
    disagree."""
    warning: str
    """Empty where all families agree and there are enough clips."""


def readings(k: int = DEFAULT_K, clusters: Ids | None = None) -> dict[str, Reading]:
    """The measures by name, each a function of two embeddings of the same clips.

    >>> sorted(readings()) == sorted(FAMILIES)
    True
    """
    return {
        "debiased_linear_cka": lambda x, y: debiased_linear_cka(x, y, clusters),
        "standardised_linear_cka": lambda x, y: standardised_linear_cka(x, y, clusters),
        "mutual_knn": lambda x, y: mutual_knn(x, y, k, clusters),
        "rank_similarity": lambda x, y: rank_similarity(x, y, k, clusters),
        "second_order_cosine": lambda x, y: second_order_cosine(x, y, k, clusters),
        "angular_procrustes": angular_procrustes_distance,
        "rsa_spearman": lambda x, y: rsa_spearman(x, y, clusters),
        "distance_correlation": lambda x, y: distance_correlation(x, y, clusters),
        "svcca": lambda x, y: svcca(x, y).value,
        "gulp": gulp_distance,
    }


def nearest_by_measure(
    student: Vectors,
    encoders: Mapping[str, Vectors],
    *,
    k: int = DEFAULT_K,
    clusters: Ids | None = None,
) -> NearestByMeasure:
    """The encoder that is nearest to the student, by every measure.

    Args:
        student: Embeddings `[clip, dim]`.
        encoders: The same clips of others, by name.
        k: Neighbours per clip.
        clusters: Cluster id of each clip; clips of one cluster are no neighbours and, where a
            measure compares pairs of clips, are not compared.

    Raises:
        DegenerateError: no encoder, or no measure that is defined for all of them.

    >>> x, y = np.random.default_rng(0).normal(size=(2, 200, 4))
    >>> found = nearest_by_measure(x, {"copy": x + .1 * y, "other": y})
    >>> set(found.nearest.values()), found.warning
    ({'copy'}, '')
    """
    values: dict[str, dict[str, float]] = {}
    missing: dict[str, str] = {}
    for measure, reading in readings(k, clusters).items():
        try:
            values[measure] = {name: reading(student, y) for name, y in encoders.items()}
        except (ShapeError, DegenerateError) as error:
            missing[measure] = str(error)
    if not encoders or not values:
        raise DegenerateError(
            f"No measure is defined for all of {list(encoders)}, expected one. "
            f"{next(iter(missing.values()), 'Name an encoder.')}"
        )
    nearest = {measure: _nearest(measure, by_encoder) for measure, by_encoder in values.items()}
    n_clips = len(student)
    n_dims = max(np.shape(one)[1] for one in (student, *encoders.values()))
    is_enough = n_clips >= CLIPS_PER_DIM * n_dims
    judged = {m: who for m, who in nearest.items() if is_enough or m not in NEED_CLIPS_PER_DIM}
    families: dict[str, set[str]] = {}
    for measure, who in judged.items():
        families.setdefault(FAMILIES[measure], set()).add(who)
    agreed = {family: who.pop() for family, who in families.items() if len(who) == 1}
    return NearestByMeasure(
        nearest=nearest,
        values=values,
        families=agreed,
        warning=_warning(judged, missing, n_clips, n_dims),
    )


def _nearest(measure: str, by_encoder: Mapping[str, float]) -> str:
    sign = -1.0 if measure in DISTANCES else 1.0
    return max(by_encoder, key=lambda name: sign * by_encoder[name])


def _warning(
    judged: Mapping[str, str], missing: Mapping[str, str], n_clips: int, n_dims: int
) -> str:
    notes = []
    by_encoder: dict[str, list[str]] = {}
    for measure, who in judged.items():
        by_encoder.setdefault(who, []).append(measure)
    if len(by_encoder) > 1:
        split = "; ".join(f"{who} by {', '.join(names)}" for who, names in by_encoder.items())
        notes.append(f"measures disagree on the nearest: {split}")
    if n_clips < n_dims:
        notes.append(
            f"{n_clips} clips for {n_dims} dims: angular Procrustes, GULP and canonical "
            "correlations are partly chance"
        )
    if missing:
        notes.append(f"not defined here: {', '.join(missing)}")
    return "; ".join(notes)
