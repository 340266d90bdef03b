"""A worker: it loads one encoder, and makes parts of the shards that it is handed.

It never opens the workspace: it is told where audio lies and leaves parts where it is told.
Nothing of Ray is in here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from usad_workbench.core.distributed.audio_locations import AudioFetcher
from usad_workbench.core.distributed.shards import Shard
from usad_workbench.core.embedding_workers import record_of
from usad_workbench.core.encoders.registry import load_encoder
from usad_workbench.core.encoders.trust import trusting_remote_code
from usad_workbench.core.errors import UsadError, WorkerError, wrap_errors
from usad_workbench.core.models.encoder import Encoder, FloatArray, Pooling
from usad_workbench.core.models.spec import Precision
from usad_workbench.core.portions import embed_portion
from usad_workbench.core.storage.segment_audio import SegmentAudio, read_ahead
from usad_workbench.core.storage.spaces import CODE_VERSION, EncoderRecord
from usad_workbench.core.storage.vector_parts import Part, PartOrigin, PartStore


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerSettings:
    """What all workers of a piece of work are told."""

    encoder: str
    """Its name, as in ``usad encoders list``, with a prefix or of a plugin."""
    device: str
    precision: Precision
    trust_remote_code: bool
    parts_url: str


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerRecord:
    """What a worker has loaded; that of all workers has to be equal."""

    encoder: EncoderRecord
    code_version: str


class EmbeddingWorker:
    """Embeds shards with one encoder, which is loaded once."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._encoder: Encoder | None = None
        self._parts = PartStore(settings.parts_url)
        self._fetcher = AudioFetcher()

    def load(self) -> WorkerRecord:
        """Loads the encoder from what this machine has of it.

        Raises:
            UsadError: this machine does not have its weights, package or device.
        """
        with trusting_remote_code(self._settings.trust_remote_code), wrap_errors():
            self._encoder = load_encoder(
                self._settings.encoder, self._settings.device, precision=self._settings.precision
            )
        return WorkerRecord(encoder=record_of(self._encoder), code_version=CODE_VERSION)

    def embed(self, shard: Shard, origin: PartOrigin) -> str:
        """Makes the part of a shard and leaves it with the others.

        Returns:
            Its name.

        Raises:
            UsadError: it cannot be written.
        """
        if self._encoder is None:
            raise WorkerError("This worker has no encoder yet: `load` comes before `embed`.")
        part = part_of(self._encoder, shard, origin, self._fetcher)
        self._parts.write(shard.name, part)
        return shard.name


def part_of(encoder: Encoder, shard: Shard, origin: PartOrigin, fetcher: AudioFetcher) -> Part:
    """The vectors of a shard's segments, and why some have none.

    Args:
        encoder: Loaded.
        shard: Its segments have absolute paths or URLs.
        origin: What the part says that it was made with.
        fetcher: Of files behind URLs.
    """
    asked = {segment.segment_id: segment for segment in shard.segments}
    here: list[SegmentAudio] = []
    failed: dict[int, str] = {}
    for segment, local in zip(shard.segments, fetcher.local(shard.segments), strict=True):
        if isinstance(local, UsadError):
            failed[segment.segment_id] = str(local)
        else:
            here.append(local)
    numbers = {segment.name: segment.segment_id for segment in here}
    segments: list[SegmentAudio] = []
    made: list[Mapping[int, FloatArray]] = []
    audio_seconds = 0.0
    pooling = cast(Pooling, origin.pooling)
    for portion, clips in read_ahead(Path("/"), encoder.spec.sample_rate_hz, here):
        embedded = embed_portion(encoder, portion, clips, origin.layers, pooling)
        failed |= {numbers[failure.path]: failure.reason for failure in embedded.failed}
        segments += [asked[segment.segment_id] for segment in embedded.segments]
        made += [embedded.vectors] if embedded.segments else []
        audio_seconds += embedded.audio_seconds
    return Part(
        origin=origin,
        segments=segments,
        vectors={
            layer: np.concatenate([vectors[layer] for vectors in made])
            for layer in origin.layers
            if made
        },
        failed=failed,
        audio_seconds=audio_seconds,
    )
