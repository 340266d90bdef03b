"""What every encoder answered on the tasks of a diagnosis: stored, or read anew.

``usad evaluate`` keeps the answers of all encoders and systems; a selection of clips takes its
part of them, from probes that trained on more. Where they are missing or from other weights,
they are made here with the cheap protocol: cosine k-NN at the layer chosen on training
folds, one split, on the clips of this diagnosis alone.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from usad_workbench.core.arrays import Matrix
from usad_workbench.core.diagnosis.data import DiagnosisData
from usad_workbench.core.evaluation.predictions import (
    Predictions,
    predictions_of,
    stored_predictions,
)
from usad_workbench.core.evaluation.systems import SYSTEMS
from usad_workbench.core.evaluation.tasks import Task
from usad_workbench.core.probes import ProbeName, evaluate_best_layer

STORED: tuple[ProbeName, ...] = ("linear", "knn")
"""Which protocol is read where both are stored: the better reader of an embedding."""
NOT_STORED = (
    "predictions were made for this diagnosis with one split of k-NN: run `usad evaluate` for "
    "linear probes, three splits, and systems such as the routers"
)

TaskPredictions = Mapping[str, Predictions]
"""By encoder or system, all of one task, one protocol and the same folds."""


def task_predictions(data: DiagnosisData, task: Task) -> TaskPredictions:
    """The answers of all encoders of a diagnosis on one task, and of systems that are stored.

    Args:
        data: Of one student; several panels ask for the same.
        task: On the clips of this diagnosis.

    Raises:
        ShapeError: vectors that do not fit together.
        DegenerateError: values that are not finite.
    """
    if task.name not in data.predictions:
        data.predictions[task.name] = predict_task(data, task, data.encoders, SYSTEMS)
    return data.predictions[task.name]


def predict_task(
    data: DiagnosisData, task: Task, encoders: Sequence[str], systems: Sequence[str] = ()
) -> TaskPredictions:
    """The answers of these encoders on one task, and of those systems that are stored.

    Args:
        data: Whose workspace and clips.
        task: On the clips of this diagnosis.
        encoders: All stored with one protocol and the same splits, or all made anew.
        systems: Not made anew.

    Raises:
        ShapeError: vectors that do not fit together.
        DegenerateError: values that are not finite.
    """
    for protocol in STORED:
        stored = stored_predictions(data.workspace, task, [*encoders, *systems], protocol)
        seeds = {tuple(prediction.seeds) for prediction in stored.values()}
        if set(encoders) <= set(stored) and len(seeds) == 1:
            return stored
    rows = data.rows_of_clips(task.clip_ids)
    made = {}
    for name in encoders:
        layers = [data.vectors(name, layer, rows) for layer in data.layers(name)]
        result = evaluate_best_layer(
            layers,
            task.labels.tolist(),
            task.groups.tolist(),
            None,
            "knn",
            task.metric,
            seeds=(0,),
        )
        made[name] = predictions_of(name, [name], task, result, (0,))
    return made


def are_stored(predictions: TaskPredictions) -> bool:
    """Whether they come from ``usad evaluate``: those made here have one split."""
    return all(
        len(prediction.seeds) > 1 or prediction.protocol == "linear"
        for prediction in predictions.values()
    )


def both_wrong(a: Predictions, b: Predictions) -> Matrix:
    """Clips that both get wrong `[clip]`: 1 in the same way, 0.5 in another, mean over seeds.

    NaN where at least one is right in all seeds.
    """
    same = a.labels.astype(str) == b.labels.astype(str)
    shared = np.where(~a.right & ~b.right, np.where(same, 1.0, 0.5), 0.0).mean(axis=0)
    return np.where(shared > 0, shared, np.nan)
