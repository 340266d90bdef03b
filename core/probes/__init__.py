"""Frozen probes: small supervised readouts on stored embeddings.

No models, no storage: everything here runs on stored vectors. torch is imported by the
shallow networks alone, when the first is fitted.
"""

from usad_workbench.core.probes.evaluate import (
    ProbeName,
    ProbeResult,
    evaluate_best_layer,
    evaluate_predictions,
    evaluate_probe,
    resampling_units,
    select_layer,
)
from usad_workbench.core.probes.folds import Fold, grouped_folds
from usad_workbench.core.probes.head import evaluate_head
from usad_workbench.core.probes.knn import KnnProbe
from usad_workbench.core.probes.linear import LinearProbe
from usad_workbench.core.probes.metrics import Metric
from usad_workbench.core.probes.paired import (
    PairedTask,
    mean_paired_difference,
    paired_difference,
)

__all__ = [
    "Fold",
    "KnnProbe",
    "LinearProbe",
    "Metric",
    "PairedTask",
    "ProbeName",
    "ProbeResult",
    "evaluate_best_layer",
    "evaluate_head",
    "evaluate_predictions",
    "evaluate_probe",
    "grouped_folds",
    "mean_paired_difference",
    "paired_difference",
    "resampling_units",
    "select_layer",
]
