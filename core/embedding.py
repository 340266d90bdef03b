"""Per-layer embeddings of every segment of a workspace that has none yet.

Reading and resampling of the next portion runs in a thread beside the forward pass.
A portion is committed as one transaction with all its layers, so a killed run loses
that portion at most and the same command finishes the work.

Other audio under an old name is named and not embedded as the old clip (``storage.clip_audio``).
"""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from usad_workbench.core.audio.reading import read_audio
from usad_workbench.core.clips import Clip, ClipBatch
from usad_workbench.core.errors import (
    DeviceMemoryError,
    EncoderError,
    ProvenanceError,
    UsadError,
)
from usad_workbench.core.models.encoder import Encoder, Pooling, resolve_layers
from usad_workbench.core.models.memory import halve_until_it_fits
from usad_workbench.core.progress import Progress, no_progress
from usad_workbench.core.storage.clip_audio import unchanged
from usad_workbench.core.storage.importing import Failure
from usad_workbench.core.storage.spaces import (
    EncoderRecord,
    append_vectors,
    pending_segments,
    register_encoder,
    replacing,
    stored_segments,
    take_place,
)
from usad_workbench.core.storage.tables import set_failures
from usad_workbench.core.storage.workspace import FloatArray, Workspace

PORTION_S = 240.0
"""Seconds of audio between two commits; at a real-time factor of 0.03 that is 7 s of work."""
PORTION_SEGMENTS = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbedReport:
    """What an embedding run did."""

    n_done: int
    n_skipped: int
    """Segments that had all asked layers already."""
    failed: list[Failure] = field(default_factory=list)
    audio_seconds: float
    seconds: float

    @property
    def rtf(self) -> float:
        """Real-time factor: seconds of work per second of audio; 0 if nothing was done."""
        return self.seconds / self.audio_seconds if self.audio_seconds else 0.0


@dataclass(frozen=True, slots=True)
class _Segment:
    segment_id: int
    path: str
    start_s: float
    end_s: float
    audio_sha256: str | None

    @property
    def duration_s(self) -> float:
        return self.end_s - self.start_s

    @property
    def name(self) -> str:
        return f"{self.path} [{self.start_s:g} s to {self.end_s:g} s]"


def embed(
    workspace: Workspace,
    encoder: Encoder,
    *,
    layers: Sequence[int] | None = None,
    pooling: Pooling = "mean",
    replace: bool = False,
    progress: Progress = no_progress,
) -> EmbedReport:
    """Embeds what is not embedded yet, and notes who taught a student that has it on record.

    Args:
        workspace: Where clips come from and vectors go.
        encoder: Any encoder of the contract.
        layers: All by default; negative counts from the end.
        pooling: ``native`` stores the encoder's own utterance-level output as layer L.
        replace: Embeds everything anew, and puts it in the place of what is stored of this
            encoder, all at once at the end. Where a segment that has a stored vector fails, the
            stored ones stay, and this is said in ``failed``; where its audio is gone, before
            anything is computed.
        progress: Called after each portion, in segments.

    Returns:
        Counts, failures by name and time; a segment that fails stops nothing.

    Raises:
        ProvenanceError: the workspace holds vectors of other weights under this name, or this
            model folder under another.
        UnknownNameError: a layer that does not exist.
    """
    started = time.perf_counter()
    wanted = resolve_layers(layers, encoder.spec.n_layers)
    if pooling == "native":
        wanted = (encoder.spec.n_layers,)
    record = EncoderRecord(spec=encoder.spec, weights_sha256=encoder.weights_sha256)
    _refuse_second_name(workspace, record)
    job = _Job(workspace=workspace, encoder=encoder, record=record, layers=wanted, pooling=pooling)
    if replace:
        with replacing(workspace) as run:
            if not job.refuses(job.without_audio(run)):
                job.run(progress, run)
                job.take_place(run)
    else:
        register_encoder(workspace, record)
        job.run(progress, None)
    failed = {one.path: one.reason for one in job.failed}
    set_failures(workspace, f"embed {encoder.spec.name}", failed)
    return EmbedReport(
        n_done=job.n_done,
        n_skipped=job.n_skipped,
        failed=job.failed,
        audio_seconds=job.audio_seconds,
        seconds=time.perf_counter() - started,
    )


@dataclass(kw_only=True, eq=False)
class _Job:
    """The embedding of one workspace with one encoder."""

    workspace: Workspace
    encoder: Encoder
    record: EncoderRecord
    layers: tuple[int, ...]
    pooling: Pooling
    n_done: int = 0
    n_skipped: int = 0
    audio_seconds: float = 0.0
    failed: list[Failure] = field(default_factory=list)

    def run(self, progress: Progress, run: str | None) -> None:
        """Embeds what is missing: of what is stored, or of a run that is to replace it."""
        spec = self.encoder.spec
        rows, total = pending_segments(self.workspace, spec.name, self.layers, self.pooling, run)
        pending = [_Segment(*row) for row in rows]
        self.n_skipped = total - len(pending)
        n_seen = 0
        for portion, clips in _read_ahead(self.workspace.folder, spec.sample_rate_hz, pending):
            self.failed += [c for c in clips if isinstance(c, Failure)]
            good = [(s, c) for s, c in zip(portion, clips, strict=True) if isinstance(c, Clip)]
            if good:
                self._store(good, run)
            n_seen += len(portion)
            progress(n_seen, len(pending), f"embed {spec.name}")

    def _store(self, good: list[tuple[_Segment, Clip]], run: str | None) -> None:
        good, vectors, refused = _embed_portion(self.encoder, good, self.layers, self.pooling)
        self.failed += refused
        if not good:
            return
        segments = [segment for segment, _ in good]
        is_finite = np.all([np.isfinite(v).all(axis=1) for v in vectors.values()], axis=0)
        self.failed += [
            Failure(path=s.name, reason="The encoder gave values that are not finite.")
            for s, ok in zip(segments, is_finite, strict=True)
            if not ok
        ]
        ids = np.array([s.segment_id for s in segments], dtype=np.int64)[is_finite]
        if len(ids):
            kept = {layer: values[is_finite] for layer, values in vectors.items()}
            append_vectors(self.workspace, self.record, self.pooling, ids, kept, run)
        self.n_done += len(ids)
        self.audio_seconds += sum(s.duration_s for s in segments)

    def take_place(self, run: str) -> None:
        """Puts the vectors of a run in the place of the stored ones, unless one would be lost."""
        name = self.record.spec.name
        lost = stored_segments(self.workspace, name) - stored_segments(self.workspace, name, run)
        if not self.refuses(lost) and self.n_done:
            take_place(self.workspace, self.record, run)

    def without_audio(self, run: str) -> set[int]:
        """Segments with stored vectors whose audio is not there any more, each named."""
        spec = self.encoder.spec
        rows, _ = pending_segments(self.workspace, spec.name, self.layers, self.pooling, run)
        stored = stored_segments(self.workspace, spec.name)
        asked = {one.segment_id: one for one in (_Segment(*row) for row in rows)}
        is_there = {path: self.workspace.audio_path(path).is_file() for _, path, *_ in rows}
        lost = {one for one in stored if one not in asked or not is_there[asked[one].path]}
        self.failed += [
            Failure(path=asked[one].name, reason="Its audio is gone.")
            for one in sorted(lost)
            if one in asked
        ]
        return lost

    def refuses(self, lost: set[int]) -> bool:
        """Whether stored vectors would be lost, which is said."""
        if lost:
            reason = (
                f"{len(lost)} segments that have stored vectors could not be embedded anew, so all "
                "stored vectors stay. Put their audio back, or import into another workspace."
            )
            self.failed.append(Failure(path=self.record.spec.name, reason=reason))
            self.n_done = 0
        return bool(lost)


def _refuse_second_name(workspace: Workspace, record: EncoderRecord) -> None:
    """One model folder by two paths would be two controls that agree."""
    name = record.spec.name
    if not name.startswith("hf:"):
        return
    known = workspace.read(
        "SELECT encoder, weights_sha256 FROM encoders WHERE encoder <> ?", [name]
    )
    for other, sha256 in known.itertuples(index=False):
        if other.startswith("hf:") and sha256 == record.weights_sha256:
            raise ProvenanceError(
                f"{name} is the model that this workspace holds as {other} (weights "
                f"{sha256[:12]}). Call it so: under two names it would count twice."
            )


def _embed_portion(
    encoder: Encoder,
    good: list[tuple[_Segment, Clip]],
    layers: tuple[int, ...],
    pooling: Pooling,
) -> tuple[list[tuple[_Segment, Clip]], dict[int, FloatArray], list[Failure]]:
    """What could be embedded, its vectors per layer, and the clips on which the encoder fails."""
    try:
        return good, pooled_vectors(encoder, [clip for _, clip in good], layers, pooling), []
    except (DeviceMemoryError, EncoderError):
        # One by one, so that only these clips are lost.
        pass
    kept, parts, failed = [], [], []
    for segment, clip in good:
        try:
            parts.append(pooled_vectors(encoder, [clip], layers, pooling))
            kept.append((segment, clip))
        except (DeviceMemoryError, EncoderError) as error:
            failed.append(Failure(path=segment.name, reason=str(error)))
    vectors = {layer: np.concatenate([part[layer] for part in parts]) for layer in layers if parts}
    return kept, vectors, failed


def pooled_vectors(
    encoder: Encoder, clips: Sequence[Clip], layers: tuple[int, ...], pooling: Pooling
) -> dict[int, FloatArray]:
    """Pooled vectors per layer, rows in the order of the clips.

    A batch that the device has no memory for is halved until it fits.

    Raises:
        DeviceMemoryError: a single clip that does not fit.
        EncoderError: a clip on which the encoder fails.
    """
    lengths = [len(clip.samples) for clip in clips]

    def pooled(batch: list[int]) -> tuple[FloatArray, ...]:
        features = encoder.features(ClipBatch.from_clips([clips[i] for i in batch]), layers)
        return tuple(v.float().cpu().numpy() for v in features.pooled(pooling))

    order: list[int] = []
    parts: list[tuple[FloatArray, ...]] = []
    try:
        batches = encoder.batches(lengths)
        for batch, made in halve_until_it_fits(pooled, batches, lengths, encoder.device):
            order += batch
            parts.append(made)
    except torch.OutOfMemoryError as error:
        longest_s = max(clip.duration_s for clip in clips)
        raise DeviceMemoryError(
            f"{encoder.spec.name} runs out of memory on {encoder.device} with a single clip of at "
            f"most {longest_s:.1f} s. Cut the clips into segments, or use --device cpu."
        ) from error
    back = np.argsort(np.array(order))
    return {
        layer: np.concatenate([part[i] for part in parts])[back] for i, layer in enumerate(layers)
    }


def _read_ahead(
    folder: Path, sample_rate_hz: int, pending: Sequence[_Segment]
) -> Iterator[tuple[list[_Segment], list[Clip | Failure]]]:
    """Portions with their audio, the next one being read while this one is worked on."""

    def read(portion: list[_Segment]) -> list[Clip | Failure]:
        return [_read(folder, segment, sample_rate_hz) for segment in portion]

    portions = list(_portions(pending))
    with ThreadPoolExecutor(max_workers=1) as pool:
        ahead = [pool.submit(read, portion) for portion in portions[:1]]
        for i, portion in enumerate(portions):
            clips = ahead.pop().result()
            if i + 1 < len(portions):
                ahead.append(pool.submit(read, portions[i + 1]))
            yield portion, clips


def _portions(pending: Sequence[_Segment]) -> Iterator[list[_Segment]]:
    portion: list[_Segment] = []
    seconds = 0.0
    for segment in pending:
        if portion and (
            seconds + segment.duration_s > PORTION_S or len(portion) == PORTION_SEGMENTS
        ):
            yield portion
            portion, seconds = [], 0.0
        portion.append(segment)
        seconds += segment.duration_s
    if portion:
        yield portion


def _read(folder: Path, segment: _Segment, sample_rate_hz: int) -> Clip | Failure:
    """The audio of a segment, if its file still holds what was imported."""
    try:
        return read_audio(
            unchanged(folder / segment.path, segment.audio_sha256),
            sample_rate_hz=sample_rate_hz,
            start_s=segment.start_s,
            end_s=segment.end_s,
        )
    except UsadError as error:
        return Failure(path=segment.name, reason=str(error))
