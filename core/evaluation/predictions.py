"""The table ``predictions``: what every system predicted for every clip, out of fold.

Whoever asks which clips are wrong, and for whom, reads them here: all systems of one task
and protocol were tested on the same folds.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from usad_workbench.core.evaluation.tasks import Task
from usad_workbench.core.probes import ProbeName, ProbeResult
from usad_workbench.core.storage.row_types import columns_of
from usad_workbench.core.storage.rows import replace_arrow
from usad_workbench.core.storage.scores import ClipPrediction
from usad_workbench.core.storage.workspace import Workspace


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Predictions:
    """What one system predicted for the clips of one task."""

    system: str
    members: Sequence[str]
    """The encoders that it is made of."""
    task: Task
    protocol: ProbeName
    seeds: Sequence[int]
    labels: NDArray[Any]
    """Predicted labels `[seed, clip]`, in the order of the task's clips."""

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether each was right `[seed, clip]`."""
        right: NDArray[np.bool_] = self.labels.astype(str) == self.task.labels.astype(str)
        return right


def predictions_of(
    system: str, members: Sequence[str], task: Task, result: ProbeResult, seeds: Sequence[int]
) -> Predictions:
    """The predictions of an evaluated system."""
    return Predictions(
        system=system,
        members=members,
        task=task,
        protocol=result.protocol,
        seeds=seeds,
        labels=np.atleast_2d(result.predictions),
    )


def store_predictions(workspace: Workspace, predictions: Sequence[Predictions]) -> None:
    """Writes predictions, replacing those of the same systems, tasks and protocols."""
    if not predictions:
        return
    weights = _weights_of_encoders(workspace)
    rows = pa.concat_tables([_arrow_rows(of_system, weights) for of_system in predictions])
    with workspace.database.write() as connection:
        replace_arrow(
            connection, "predictions", ClipPrediction, rows, by=("encoder", "task", "protocol")
        )


def stored_predictions(
    workspace: Workspace, task: Task, systems: Sequence[str], protocol: ProbeName
) -> dict[str, Predictions]:
    """The stored predictions of systems for the clips of a task, which may be a part of those.

    Systems with a clip that was not predicted, or predicted from other weights, are left out.
    """
    rows = workspace.read(
        "SELECT encoder, seed, clip_id, predicted, fingerprint FROM predictions "
        "WHERE task = ? AND protocol = ?",
        [task.name, protocol],
    )
    weights = _weights_of_encoders(workspace)
    by_system = {}
    for system, of_system in rows[rows.encoder.isin(systems)].groupby("encoder"):
        fingerprint = of_system.fingerprint.iloc[0]
        members = fingerprint.split("|")[1:]
        table = of_system.pivot(index="seed", columns="clip_id", values="predicted")
        is_complete = set(task.clip_ids) <= set(table.columns)
        if fingerprint != _fingerprint(members, weights) or not is_complete:
            continue
        by_system[str(system)] = Predictions(
            system=str(system),
            members=members,
            task=task,
            protocol=protocol,
            seeds=[int(seed) for seed in table.index],
            labels=table[task.clip_ids].to_numpy(dtype=object),
        )
    return {name: by_system[name] for name in systems if name in by_system}


def _arrow_rows(predictions: Predictions, weights: dict[str, str]) -> pa.Table:
    """Rows of ``ClipPrediction`` as columns: there is one for every seed and clip."""
    n_seeds, n_clips = predictions.labels.shape
    n = n_seeds * n_clips
    values = {
        "encoder": [predictions.system] * n,
        "task": [predictions.task.name] * n,
        "protocol": [predictions.protocol] * n,
        "seed": np.repeat(np.asarray(predictions.seeds), n_clips),
        "clip_id": list(predictions.task.clip_ids) * n_seeds,
        "predicted": [str(label) for label in predictions.labels.ravel()],
        "correct": predictions.right.ravel(),
        "fingerprint": [_fingerprint(predictions.members, weights)] * n,
    }
    types = [(column.name, column.arrow_type) for column in columns_of(ClipPrediction)]
    return pa.table(values, schema=pa.schema(types))


def _weights_of_encoders(workspace: Workspace) -> dict[str, str]:
    """Encoder to the hash of its weights."""
    encoders = workspace.encoders()
    return dict(zip(encoders.encoder.astype(str), encoders.weights_sha256.astype(str), strict=True))


def _fingerprint(members: Sequence[str], weights: dict[str, str]) -> str:
    """The weights behind a system and the names of its encoders."""
    joined = "".join(weights.get(name, "") for name in members)
    return "|".join([hashlib.sha256(joined.encode()).hexdigest()[:16], *members])
