"""Embeddings of a benchmark's files, kept in a workspace of its own beside the user's.

The same store and the same ``embed`` as for any collection: a killed run resumes where it
was, what belongs to other weights is refused, a file that changed is embedded again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from usad_workbench.core.embedding import embed
from usad_workbench.core.evaluation.benchmarks.task import BenchmarkTask
from usad_workbench.core.models.encoder import Encoder
from usad_workbench.core.probes.folds import Codes
from usad_workbench.core.progress import Progress, no_progress
from usad_workbench.core.storage.clip_vectors import mean_of_segments
from usad_workbench.core.storage.importing import Failure, SourceClip, import_clips
from usad_workbench.core.storage.workspace import FloatArray, Workspace


@dataclass(frozen=True, slots=True)
class SegmentVectors:
    """One layer of one encoder, segment by segment, for some clips in their order."""

    vectors: FloatArray
    """`[segment, dim]`."""
    clips: Codes
    """Place of the clip of each segment."""

    @property
    def has_several(self) -> bool:
        """Whether a clip has more than one segment, so that frame level means something."""
        return len(self.clips) > len(np.unique(self.clips))

    def mean(self) -> FloatArray:
        """One vector for each clip, `[clip, dim]`: the mean of its segments."""
        return mean_of_segments(self.vectors, self.clips)


def read_layer(
    workspace: Workspace, encoder: str, layer: int, clip_ids: Sequence[str]
) -> SegmentVectors:
    """The segments of some clips in one layer.

    Args:
        workspace: Holds the embeddings.
        encoder: Name.
        layer: Number.
        clip_ids: Which clips, in which order; each must be embedded.

    Raises:
        UnknownNameError: no such embeddings.
    """
    stored = workspace.embeddings(encoder, layer)
    clip_of = pd.Index(list(clip_ids)).get_indexer(stored.clip_ids)
    kept = clip_of >= 0
    return SegmentVectors(stored.vectors[kept], clip_of[kept].astype(np.intp))


def read_layers(
    workspace: Workspace, encoder: str, clip_ids: Sequence[str]
) -> dict[int, SegmentVectors]:
    """Every stored layer of an encoder."""
    return {
        layer: read_layer(workspace, encoder, layer, clip_ids)
        for layer in workspace.layers(encoder)
    }


def embed_task(
    folder: Path, task: BenchmarkTask, encoder: Encoder, progress: Progress = no_progress
) -> tuple[Workspace, list[Failure]]:
    """Embeds a task's files with one encoder, those that are not embedded yet.

    Args:
        folder: Of the benchmark's own workspace; made if it is not there.
        task: Whose files.
        encoder: Any of the contract.
        progress: Called in files and segments.

    Returns:
        The workspace, whose clips are named by ``clip_ids``, and what failed.
    """
    workspace = Workspace.create(folder)
    stored_ids = set(workspace.read("SELECT clip_id FROM clips").clip_id)
    sources = [
        SourceClip(path=item.path, fields={"clip_id": clip_id, "cluster_id": item.cluster})
        for item, clip_id in zip(task.items, clip_ids(task), strict=True)
        if clip_id not in stored_ids
    ]
    imported = import_clips(workspace, sources, domain=task.name, progress=progress)
    report = embed(workspace, encoder, progress=progress)
    return workspace, [*imported.failed, *report.failed]


def clip_ids(task: BenchmarkTask) -> list[str]:
    """What the clips of a task are called: path, size and time of change of the file."""
    return [_clip_id(item.path) for item in task.items]


def _clip_id(path: Path) -> str:
    status = path.stat()
    return f"{path.resolve()} {status.st_size} {status.st_mtime_ns}"
