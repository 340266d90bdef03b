"""The table ``predictions``: what every system said of every clip, out of fold.

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
from usad_workbench.core.storage.probe_tables import replace_predictions
from usad_workbench.core.storage.workspace import Workspace


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Predictions:
    """What one system said of the clips of one task."""

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


def store_predictions(workspace: Workspace, found: Sequence[Predictions]) -> None:
    """Writes predictions, replacing those of the same systems, tasks and protocols."""
    prints = _fingerprints(workspace)
    parts = [_table(one, prints) for one in found]
    if parts:
        replace_predictions(workspace, pa.concat_tables(parts))


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
    prints = _fingerprints(workspace)
    found = {}
    for system, mine in rows[rows.encoder.isin(systems)].groupby("encoder"):
        members = mine.fingerprint.iloc[0].split("|")[1:]
        if mine.fingerprint.iloc[0] != _fingerprint(members, prints):
            continue
        table = mine.pivot(index="seed", columns="clip_id", values="predicted")
        if not set(task.clip_ids) <= set(table.columns):
            continue
        found[str(system)] = Predictions(
            system=str(system),
            members=members,
            task=task,
            protocol=protocol,
            seeds=[int(seed) for seed in table.index],
            labels=table[task.clip_ids].to_numpy(dtype=object),
        )
    return {name: found[name] for name in systems if name in found}


def _table(one: Predictions, prints: dict[str, str]) -> pa.Table:
    n_seeds, n_clips = one.labels.shape
    n = n_seeds * n_clips
    return pa.table(
        {
            "encoder": [one.system] * n,
            "task": [one.task.name] * n,
            "protocol": [one.protocol] * n,
            "seed": np.repeat(np.asarray(one.seeds, dtype=np.int32), n_clips),
            "clip_id": list(one.task.clip_ids) * n_seeds,
            "predicted": [str(label) for label in one.labels.ravel()],
            "correct": one.right.ravel(),
            "fingerprint": [_fingerprint(one.members, prints)] * n,
        }
    )


def _fingerprints(workspace: Workspace) -> dict[str, str]:
    """Encoder to the hash of its weights."""
    known = workspace.encoders()
    return dict(zip(known.encoder.astype(str), known.weights_sha256.astype(str), strict=True))


def _fingerprint(members: Sequence[str], prints: dict[str, str]) -> str:
    """The weights behind a system and the names of its encoders."""
    weights = "".join(prints.get(name, "") for name in members)
    return "|".join([hashlib.sha256(weights.encode()).hexdigest()[:16], *members])
