"""Vectors that were made elsewhere, from Parquet: ``clip_id, encoder, layer, vector``.

DuckDB reads the file, sorts it by encoder, clip and layer, and hands it on in batches, so a
file larger than memory is no trouble. A clip comes with all layers of its encoder or not at
all. The weights of such an encoder are not known: the hash of its vectors stands in their
place, so that other vectors under the same name are refused and the same ones skipped.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast, get_args

import duckdb
import numpy as np

from usad_workbench.core.errors import ConfigError, UnknownNameError, did_you_mean
from usad_workbench.core.models.spec import EncoderSpec, Role
from usad_workbench.core.progress import Progress, no_progress
from usad_workbench.core.storage.distillation import set_distillation
from usad_workbench.core.storage.importing import BATCH_CLIPS, Failure
from usad_workbench.core.storage.spaces import (
    EncoderRecord,
    append_vectors,
    register_encoder,
    replacing,
    stored_segments,
    take_place,
    unregister_encoder,
)
from usad_workbench.core.storage.vectors_file import (
    Vector,
    clips_of,
    count_clips,
    layer_widths,
    open_vectors,
)
from usad_workbench.core.storage.workspace import FloatArray, Workspace


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbeddingsReport:
    """What an import of vectors did."""

    encoders: list[str]
    n_rows: int
    """Vectors that are new."""
    n_skipped: int
    """Vectors that were there already."""
    failed: list[Failure]


def import_embeddings(
    workspace: Workspace,
    source: str | Path,
    *,
    role: str,
    domain: str | None = None,
    teachers: Sequence[str] = (),
    replace: bool = False,
    progress: Progress = no_progress,
) -> EmbeddingsReport:
    """Adds encoders whose vectors are in a Parquet file; one without a single good clip is not.

    Args:
        workspace: Its clips are those that the vectors belong to, one vector for each clip
            and layer; a clip must be one segment.
        source: The file.
        role: student, teacher, control or baseline.
        domain: Home domain of the encoders; any where none.
        teachers: Who taught the students of the file, in stage 1, each on its home domain.
        replace: Puts the file's vectors in the place of those that are stored, all at once when
            they are complete, and removes what was computed from the old ones. Where a clip
            that has a stored vector fails, the stored ones of its encoder stay, and this is
            said in ``failed``; clips that the file leaves out are the file's own choice.
        progress: Called after each batch of clips.

    Raises:
        ConfigError: no such file, missing columns, layers of several widths, another role.
        UnknownNameError: a teacher that the workspace does not have.
        ProvenanceError: other vectors are stored under the name of an encoder, and they
            are not to be replaced.
    """
    taught = check_origin(workspace, role, teachers)
    segments = _segments(workspace)
    encoders: list[str] = []
    failed: list[Failure] = []
    n_rows = n_skipped = 0
    with open_vectors(Path(source)) as file:
        for name, dims in layer_widths(file).items():
            record = _record(file, name, dims, cast(Role, role), domain)
            job = _EncoderImport(workspace=workspace, record=record, dims=dims, segments=segments)
            is_stored = (job.replace if replace else job.add)(file, progress)
            failed += job.failed
            if not is_stored:
                continue
            encoders.append(name)
            n_rows += job.n_clips * len(dims)
            n_skipped += job.n_skipped * len(dims)
            if taught or role != "student":
                set_distillation(workspace, name, taught)
    return EmbeddingsReport(encoders=encoders, n_rows=n_rows, n_skipped=n_skipped, failed=failed)


@dataclass(kw_only=True, eq=False)
class _EncoderImport:
    """The import of one encoder."""

    workspace: Workspace
    record: EncoderRecord
    dims: dict[int, int]
    segments: dict[str, list[int]]
    failed: list[Failure] = field(default_factory=list)
    _failing: set[int] = field(default_factory=set)
    """Segments of the clips that failed."""
    n_clips: int = 0
    n_skipped: int = 0

    def add(self, file: duckdb.DuckDBPyConnection, progress: Progress) -> bool:
        """Adds what is not stored yet; whether the workspace has any vector of it then.

        Batches are seen as they come, like those of an encoder that is being embedded: a
        killed import goes on where it was, and ``usad check`` names what is missing.
        """
        register_encoder(self.workspace, self.record)
        self._run(file, progress, None)
        if len(stored_segments(self.workspace, self.name)):
            return True
        unregister_encoder(self.workspace, self.name)  # no trace of it is left then
        return False

    def replace(self, file: duckdb.DuckDBPyConnection, progress: Progress) -> bool:
        """Puts the file's vectors in the place of the stored ones; whether they took it."""
        with replacing(self.workspace) as run:
            self._run(file, progress, run)
            lost = self._failing & set(stored_segments(self.workspace, self.name).tolist())
            if lost:
                self.failed.append(
                    Failure(
                        path=self.name,
                        reason=f"{len(lost)} clips that have stored vectors failed, so all stored "
                        "vectors stay. Mend these clips in the file, or leave them out of it.",
                    )
                )
            elif self.n_clips:
                take_place(self.workspace, self.record, run)
            return not lost and self.n_clips > 0

    @property
    def name(self) -> str:
        """The name of the encoder."""
        return self.record.spec.name

    def _run(self, file: duckdb.DuckDBPyConnection, progress: Progress, run: str | None) -> None:
        """Adds clip by clip, in batches of one transaction each."""
        stored = set(stored_segments(self.workspace, self.name, run).tolist())
        total = count_clips(file, self.name)
        batch: dict[int, list[Vector]] = {}
        for done, (clip_id, layers) in enumerate(clips_of(file, self.name), start=1):
            reason = self._fault(clip_id, layers)
            segments = self.segments.get(clip_id, [])
            if reason:
                self.failed.append(Failure(path=f"{self.name}: {clip_id}", reason=reason))
                self._failing.update(segments)
            elif segments[0] in stored:
                self.n_skipped += 1
            else:
                batch[segments[0]] = [vector for _, vector in layers]
            if len(batch) == BATCH_CLIPS or done == total:
                self._append(batch, run)
                batch = {}
                progress(done, total, f"import {self.name}")

    def _fault(self, clip_id: str, layers: Sequence[tuple[int, Vector]]) -> str:
        """Why a clip cannot be taken; empty where it can."""
        if clip_id not in self.segments:
            return "the workspace has no such clip; add it with --clips"
        if len(self.segments[clip_id]) > 1:
            return (
                f"the clip has {len(self.segments[clip_id])} segments, expected one: make a "
                "workspace whose window holds whole clips"
            )
        numbers = [layer for layer, _ in layers]
        if numbers != list(self.dims):
            return f"layers {numbers}, expected each of {list(self.dims)} once"
        if not all(np.isfinite(vector).all() for _, vector in layers):
            return "values that are not finite"
        return ""

    def _append(self, batch: dict[int, list[Vector]], run: str | None) -> None:
        if not batch:
            return
        ids = np.array(list(batch), dtype=np.int64)
        vectors: dict[int, FloatArray] = {
            layer: np.stack([clip[place] for clip in batch.values()])
            for place, layer in enumerate(self.dims)
        }
        append_vectors(self.workspace, self.record, "mean", ids, vectors, run)
        self.n_clips += len(batch)


def check_origin(
    workspace: Workspace, role: str, teachers: Sequence[str]
) -> list[tuple[str, str | None, int]]:
    """Who taught encoders of a role: rows of (teacher, home domain, stage).

    Raises:
        ConfigError: another role, or teachers of one that is no student.
        UnknownNameError: a teacher that the workspace does not have.
    """
    if role not in get_args(Role):
        raise ConfigError(f"Found role {role!r}, expected one of {', '.join(get_args(Role))}.")
    if teachers and role != "student":
        raise ConfigError(f"Found teachers for a {role}, expected them for students only.")
    homes = dict(workspace.encoders()[["encoder", "domain"]].values.tolist())
    for name in teachers:
        if name not in homes:
            raise UnknownNameError(
                f"The workspace has no teacher {name!r}. {did_you_mean(name, homes)} Import the "
                "teachers before their students."
            )
    return [(name, homes[name] if isinstance(homes[name], str) else None, 1) for name in teachers]


def _record(
    file: duckdb.DuckDBPyConnection,
    encoder: str,
    dims: dict[int, int],
    role: Role,
    domain: str | None,
) -> EncoderRecord:
    """What is known of an encoder from its vectors alone; layers without vectors have width 0."""
    digest = hashlib.sha256()
    for clip_id, layers in clips_of(file, encoder):
        digest.update(clip_id.encode())
        for layer, vector in layers:
            digest.update(layer.to_bytes(4) + vector.tobytes())
    depth = max(dims)
    spec = EncoderSpec(
        name=encoder,
        role=role,
        domain=domain,
        n_layers=depth,
        dims=tuple(dims.get(layer, 0) for layer in range(depth + 1)),
        frame_rates_hz=(0.0,) * (depth + 1),
        sample_rate_hz=0,
        n_params=None,
        licence="unknown",
        citation="imported vectors",
    )
    return EncoderRecord(spec=spec, weights_sha256=digest.hexdigest())


def _segments(workspace: Workspace) -> dict[str, list[int]]:
    rows = workspace.read("SELECT clip_id, segment_id FROM segments ORDER BY segment_id")
    segments: dict[str, list[int]] = {}
    for clip_id, segment_id in zip(rows.clip_id, rows.segment_id, strict=True):
        segments.setdefault(str(clip_id), []).append(int(segment_id))
    return segments
