"""Measures: functions of two arrays of embeddings of the same clips.

No models, no storage, no torch: everything here runs on stored vectors.
"""

from usad_workbench.core.similarity.cka import (
    debiased_linear_cka,
    hsic1_gram,
    standardised_linear_cka,
    u_centre,
)
from usad_workbench.core.similarity.comparison import (
    EncoderRole,
    NearestTeacher,
    jackknife_difference,
    nearest_teachers,
)
from usad_workbench.core.similarity.distances import (
    cosine_similarity,
    normalise_rows,
    squared_euclidean_distance,
)
from usad_workbench.core.similarity.layers import LayerMatrix, Measure, layer_similarity
from usad_workbench.core.similarity.neighbours import (
    chance_overlap,
    cknna,
    mutual_knn,
    nearest_neighbours,
    neighbour_overlap,
)
from usad_workbench.core.similarity.resampling import (
    MIN_CLUSTERS,
    Interval,
    jackknife_interval,
    permutations_within,
    strata,
)
from usad_workbench.core.similarity.significance import (
    benjamini_hochberg,
    describe_level,
    family_p_values,
    holm,
    is_significant,
)

__all__ = [
    "MIN_CLUSTERS",
    "EncoderRole",
    "Interval",
    "LayerMatrix",
    "Measure",
    "NearestTeacher",
    "benjamini_hochberg",
    "chance_overlap",
    "cknna",
    "cosine_similarity",
    "debiased_linear_cka",
    "describe_level",
    "family_p_values",
    "holm",
    "hsic1_gram",
    "is_significant",
    "jackknife_difference",
    "jackknife_interval",
    "layer_similarity",
    "mutual_knn",
    "nearest_neighbours",
    "nearest_teachers",
    "neighbour_overlap",
    "normalise_rows",
    "permutations_within",
    "squared_euclidean_distance",
    "standardised_linear_cka",
    "strata",
    "u_centre",
]
