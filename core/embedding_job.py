"""A piece of embedding: one encoder, one workspace, whoever computes.

What does not depend on where vectors come from is here: which segments are asked for, that a
replacement is a swap, and what is reported and noted at the end.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from usad_workbench.core.errors import ProvenanceError
from usad_workbench.core.models.encoder import Pooling, resolve_layers
from usad_workbench.core.models.spec import EncoderSpec
from usad_workbench.core.progress import Progress
from usad_workbench.core.storage.failures import set_failures
from usad_workbench.core.storage.importing import Failure
from usad_workbench.core.storage.segment_audio import SegmentAudio
from usad_workbench.core.storage.spaces import (
    EncoderRecord,
    pending_segments,
    register_encoder,
    replacing,
    stored_segments,
    take_place,
)
from usad_workbench.core.storage.vector_writer import VectorWriter
from usad_workbench.core.storage.workspace import Workspace


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbedReport:
    """What embedding with one encoder did."""

    n_done: int
    """Segments that got vectors; not those that were deleted meanwhile."""
    n_skipped: int
    """Segments that had all asked layers already."""
    failed: list[Failure] = field(default_factory=list)
    """Segments without a vector, each with its reason."""
    audio_seconds: float
    """Of the segments that went through the encoder."""
    seconds: float
    """Of work, loading the encoder not included."""

    @property
    def rtf(self) -> float:
        """Real-time factor: seconds of work per second of audio; 0 if nothing was done."""
        return self.seconds / self.audio_seconds if self.audio_seconds else 0.0


def layers_of_pooling(
    layers: Sequence[int] | None, spec: EncoderSpec, pooling: Pooling
) -> tuple[int, ...]:
    """The layers that are asked for, from 0; the encoder's own output stands as the last one.

    Raises:
        UnknownNameError: a layer that does not exist.
    """
    wanted = resolve_layers(layers, spec.n_layers)
    return (spec.n_layers,) if pooling == "native" else wanted


@dataclass(kw_only=True, eq=False)
class PieceOfWork:
    """The embedding of one workspace with one encoder, whoever gives the vectors."""

    workspace: Workspace
    record: EncoderRecord
    layers: tuple[int, ...]
    pooling: Pooling
    n_done: int = 0
    n_skipped: int = 0
    audio_seconds: float = 0.0
    failed: list[Failure] = field(default_factory=list)
    is_refused: bool = False
    """Whether a replacement would lose stored vectors: then nothing is to be computed."""

    @contextmanager
    def under_way(self, replace: bool) -> Iterator[str | None]:
        """Registers the encoder, or replaces; notes failures in the workspace at the end.

        Yields:
            The run that vectors go to where they are to replace those that are stored.

        Raises:
            ProvenanceError: the workspace holds vectors of other weights or another precision
                under this name, or this model folder under another.
        """
        _refuse_second_name(self.workspace, self.record)
        if replace:
            with replacing(self.workspace) as run:
                self.is_refused = self.refuses(self.without_audio(run))
                yield run
                if not self.is_refused:
                    self.take_place(run)
        else:
            register_encoder(self.workspace, self.record)
            yield None
        failed = {failure.path: failure.reason for failure in self.failed}
        set_failures(self.workspace, f"embed {self.record.spec.name}", failed)

    def report(self, seconds: float) -> EmbedReport:
        """What was done, in so many seconds of work."""
        return EmbedReport(
            n_done=self.n_done,
            n_skipped=self.n_skipped,
            failed=self.failed,
            audio_seconds=self.audio_seconds,
            seconds=seconds,
        )

    def pending(self, run: str | None) -> list[SegmentAudio]:
        """The segments that miss a layer; counts the others as skipped."""
        rows, total = pending_segments(
            self.workspace, self.record.spec.name, self.layers, self.pooling, run
        )
        self.n_skipped = total - len(rows)
        return _segments_of(rows)

    @contextmanager
    def storing(self, run: str | None) -> Iterator[VectorWriter]:
        """What stores vectors beside the work; in the end ``n_done`` is what it has stored."""
        writer = VectorWriter(self.workspace, self.record, self.pooling, run)
        try:
            with writer:
                yield writer
        finally:
            self.n_done = writer.n_stored

    def take_place(self, run: str) -> None:
        """Puts the vectors of a run in the place of the stored ones, unless one would be lost."""
        name = self.record.spec.name
        new = stored_segments(self.workspace, name, run)
        lost = set(np.setdiff1d(stored_segments(self.workspace, name), new).tolist())
        if not self.refuses(lost) and self.n_done:
            take_place(self.workspace, self.record, run)

    def without_audio(self, run: str) -> set[int]:
        """Segments with stored vectors whose audio is not there any more, each named."""
        spec = self.record.spec
        rows, _ = pending_segments(self.workspace, spec.name, self.layers, self.pooling, run)
        stored = stored_segments(self.workspace, spec.name)
        is_gone = {
            path: not self.workspace.audio_path(path).is_file()
            for path in pc.unique(rows["path"]).to_pylist()
        }
        gone = pa.array([path for path, gone in is_gone.items() if gone], pa.string())
        is_lost = pc.and_(
            pc.is_in(rows["path"], value_set=gone),
            pc.is_in(rows["segment_id"], value_set=pa.array(stored)),
        )
        lost = _segments_of(rows.filter(is_lost).sort_by("segment_id"))
        self.failed += [Failure(path=one.name, reason="Its audio is gone.") for one in lost]
        not_asked = np.setdiff1d(stored, rows["segment_id"].to_numpy())
        return {*not_asked.tolist(), *(one.segment_id for one in lost)}

    def refuses(self, lost: set[int]) -> bool:
        """Whether stored vectors would be lost; if so, ``failed`` says it."""
        if lost:
            reason = (
                f"{len(lost)} segments that have stored vectors could not be embedded anew, so all "
                "stored vectors stay. Put their audio back, or import into another workspace."
            )
            self.failed.append(Failure(path=self.record.spec.name, reason=reason))
            self.n_done = 0
        return bool(lost)


@dataclass(kw_only=True, eq=False)
class EmbeddingJob(PieceOfWork, ABC):
    """A piece of work that gets its vectors by itself."""

    @abstractmethod
    def run(self, progress: Progress, run: str | None) -> None:
        """Embeds what is missing: of what is stored, or of a run that is to replace it."""

    def complete(self, replace: bool, progress: Progress) -> None:
        """Registers the encoder and runs, or replaces; notes failures in the workspace."""
        with self.under_way(replace) as run:
            if not self.is_refused:
                self.run(progress, run)


def _segments_of(rows: pa.Table) -> list[SegmentAudio]:
    """Rows of ``pending_segments``; segments of one file share its path and hash."""
    return [
        SegmentAudio(*row)
        for row in zip(
            rows["segment_id"].to_pylist(),
            _shared(rows["path"]),
            rows["start_s"].to_pylist(),
            rows["end_s"].to_pylist(),
            _shared(rows["audio_sha256"]),
            strict=True,
        )
    ]


def _shared(column: pa.ChunkedArray) -> list[Any]:
    """A column of text in which equal texts are one object."""
    different = pc.unique(column)
    texts = different.to_pylist()
    return [texts[place] for place in pc.index_in(column, value_set=different).to_pylist()]


def _refuse_second_name(workspace: Workspace, record: EncoderRecord) -> None:
    """One model folder by two paths would be two controls that agree."""
    name = record.spec.name
    if not name.startswith("hf:"):
        return
    others = workspace.read(
        "SELECT encoder, weights_sha256 FROM encoders WHERE encoder <> ?", [name]
    )
    for other, sha256 in others.itertuples(index=False):
        if other.startswith("hf:") and sha256 == record.weights_sha256:
            raise ProvenanceError(
                f"{name} is the model that this workspace holds as {other} (weights "
                f"{sha256[:12]}). Call it so: under two names it would count twice."
            )
