"""Embeds a workspace's segments by workers on a Ray cluster.

This process, the driver, alone opens the workspace. It cuts what is missing into shards, hands
each to a worker, and adopts the part that comes of it, as one transaction. Killed at any moment
it leaves finished parts behind: the same command adopts them before it hands out the rest.
"""

import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

from usad_workbench.core.distributed.audio_locations import AudioRoot
from usad_workbench.core.distributed.cluster import (
    Event,
    Resources,
    Workers,
    cluster_share,
    connected,
)
from usad_workbench.core.distributed.shards import SHARD_SEGMENTS, ShardQueue, cut
from usad_workbench.core.distributed.worker import WorkerRecord, WorkerSettings
from usad_workbench.core.embedding import Outcome
from usad_workbench.core.embedding_group import EmbedRequest
from usad_workbench.core.embedding_job import EmbeddingJob, EmbedReport, layers_of_pooling
from usad_workbench.core.encoders.trust import is_trusted
from usad_workbench.core.errors import (
    Cancelled,
    ConfigError,
    DamagedFileError,
    FileError,
    ProvenanceError,
    StoreError,
    UsadError,
    WorkerError,
    wrap_errors,
)
from usad_workbench.core.locks import FileLock, LocksUnknownError, describe_holder
from usad_workbench.core.models.encoder import Pooling
from usad_workbench.core.models.spec import Precision
from usad_workbench.core.progress import Progress, no_progress
from usad_workbench.core.storage.importing import Failure
from usad_workbench.core.storage.segment_audio import SegmentAudio
from usad_workbench.core.storage.spaces import CODE_VERSION
from usad_workbench.core.storage.vector_parts import Part, PartOrigin, PartStore
from usad_workbench.core.storage.vector_writer import VectorWriter
from usad_workbench.core.storage.workspace import Workspace

PARTS = "parts"
"""The folder of a workspace that parts are left in where no other place is named."""
_VISIBLE_WITHIN_S = 30.0
"""On a shared folder others see a new file at once or after a while."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class RayConfig:
    """Where and how workers work."""

    address: str
    """``local``, ``auto``, ``HOST:PORT`` or ``ray://HOST:PORT``."""
    parts: str | None = None
    """Folder or URL where workers leave parts; a folder of the workspace by default."""
    audio_roots: tuple[AudioRoot, ...] = ()
    """Where workers find what lies below folders of this machine."""
    n_workers: int | None = None
    """By default one for each GPU of the cluster, or for each CPU."""
    device: str = "auto"
    """A torch device of the workers; ``auto`` takes GPUs where the cluster has some."""
    shard_segments: int = SHARD_SEGMENTS
    """At most so many segments in a shard."""


def embed_on_ray(
    workspace: Workspace,
    encoder: str,
    config: RayConfig,
    *,
    layers: Sequence[int] | None = None,
    pooling: Pooling = "mean",
    replace: bool = False,
    precision: Precision = "float32",
    progress: Progress = no_progress,
) -> EmbedReport:
    """Embeds the segments that have no vectors yet, by workers on a Ray cluster.

    Args:
        workspace: Where clips come from and vectors go; workers never open it.
        encoder: Its name. Each worker loads it from what its own machine has: the weights that
            `usad encoders get` fetched there, or a folder that all machines see.
        config: The cluster, and where parts and audio lie.
        layers: All by default; negative counts from the end.
        pooling: ``native`` stores the encoder's own utterance-level output as layer L.
        replace: As for ``embed``.
        precision: As for ``embed``.
        progress: Called after each shard, in segments.

    Returns:
        Counts, failures by name and time. A segment that fails, or that ends each worker which
        touches it, stops nothing.

    Raises:
        MissingExtraError: Ray, or what the URL of the parts needs, is not installed.
        ConfigError: no such cluster, or parts that this process does not see.
        ProvenanceError: the workspace holds vectors of other weights under this name.
        StoreError: another process embeds this encoder here in the same way.
        WorkerError: workers die one after the other, and no part comes of it.
        UsadError: no worker can load the encoder.
    """
    request = EmbedRequest(layers=layers, pooling=pooling, replace=replace, precision=precision)
    parts_url = _parts_url(workspace, config)
    PartStore(parts_url)  # a URL of no known kind is said before anything starts
    with connected(config.address):
        settings = WorkerSettings(
            encoder=encoder,
            device=config.device,
            precision=precision,
            trust_remote_code=is_trusted(),
            parts_url=parts_url,
        )
        with Workers(settings, _resources(workspace, config)) as workers:
            job = _job(workspace, workers, config, parts_url, request)
            started = time.perf_counter()
            with _alone(workspace, job.origin):
                job.complete(replace, progress)
                job.clear()
            return job.report(time.perf_counter() - started)


def embed_all_on_ray(
    workspace: Workspace, encoders: Sequence[str], config: RayConfig, **how: Any
) -> dict[str, Outcome]:
    """Embeds with several encoders by workers, one after the other, on one connection.

    Args:
        workspace: As for ``embed_on_ray``.
        encoders: Their names.
        config: As for ``embed_on_ray``.
        how: Its other arguments.

    Returns:
        By name the report of each, or the error that kept it from any work; the others go on.
    """
    outcomes: dict[str, Outcome] = {}
    with connected(config.address):
        for name in dict.fromkeys(encoders):
            try:
                with wrap_errors(name):
                    outcomes[name] = embed_on_ray(workspace, name, config, **how)
            except Cancelled:
                raise
            except UsadError as error:
                outcomes[name] = error
    return outcomes


def _parts_url(workspace: Workspace, config: RayConfig) -> str:
    """Where parts lie, in full: a worker has a working folder of its own."""
    url = config.parts or str(workspace.folder / PARTS)
    return url if "://" in url else os.path.abspath(url)


def _resources(workspace: Workspace, config: RayConfig) -> Resources:
    """What the cluster offers, with no more workers than there are segments."""
    offered = cluster_share(config.device, config.n_workers)
    (n_segments,) = workspace.read("SELECT count(*) AS n FROM segments").n
    return replace(offered, n_workers=max(min(offered.n_workers, int(n_segments)), 1))


def _job(
    workspace: Workspace,
    workers: Workers,
    config: RayConfig,
    parts_url: str,
    request: EmbedRequest,
) -> "_RayJob":
    """The job, once one worker has told what the encoder is."""
    first, loaded = _first(workers)
    record = loaded.encoder
    wanted = layers_of_pooling(request.layers, record.spec, request.pooling)
    origin = PartOrigin(
        encoder=record.spec.name,
        weights_sha256=record.weights_sha256,
        code_version=loaded.code_version,
        precision=record.precision,
        segmentation=workspace.segmentation.name,
        layers=wanted,
        pooling=request.pooling,
        replaces=request.replace,
    )
    return _RayJob(
        workspace=workspace,
        record=record,
        layers=wanted,
        pooling=request.pooling,
        origin=origin,
        parts=PartStore(parts_url),
        workers=workers,
        idle=[first],
        config=config,
    )


def _first(workers: Workers) -> tuple[Any, WorkerRecord]:
    """A worker that has loaded its encoder, and what it has loaded.

    Raises:
        UsadError: what the last one said, where none can.
    """
    deaths = ShardQueue([], workers.n_workers)
    while True:
        for event in workers.events():
            if isinstance(event.result, WorkerRecord):
                if event.result.code_version != CODE_VERSION:
                    raise ProvenanceError(
                        f"The workers' version of this package makes vectors of code version "
                        f"{event.result.code_version}, here it is {CODE_VERSION}. Install the same "
                        "version on all machines."
                    )
                return event.worker, event.result
            if isinstance(event.result, UsadError):
                workers.stop(event.worker)
                if not workers.n_busy:
                    raise event.result
                logger.warning("A worker cannot load its encoder: %s", event.result)
            else:
                deaths.died(None)
                workers.start()


@contextmanager
def _alone(workspace: Workspace, origin: PartOrigin) -> Iterator[None]:
    """Keeps a second driver of the same work away: each would take the other's parts."""
    path = workspace.folder / f".{origin.folder}.lock"
    try:
        lock = FileLock.take(path)
    except LocksUnknownError:
        yield
        return
    if lock is None:
        raise StoreError(
            f"{describe_holder(path)} embeds {origin.encoder} into this workspace by workers "
            "already. Wait until it has ended; the same command then does what is left."
        )
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        lock.release()


@dataclass(kw_only=True, eq=False)
class _RayJob(EmbeddingJob):
    """The embedding of one workspace with one encoder by workers."""

    origin: PartOrigin
    parts: PartStore
    workers: Workers
    idle: list[Any]
    config: RayConfig
    missing: dict[int, SegmentAudio] = field(default_factory=dict)
    """What misses a layer and no part had so far, by number."""
    n_handed: int = 0
    """Segments that were handed over to be stored."""
    handed: list[tuple[int, str]] = field(default_factory=list)
    """Parts whose vectors may not be committed yet, each with how many were handed over by then."""
    adopted: list[str] = field(default_factory=list)
    """Parts that are not needed once the replacement has taken its place."""
    last_error: UsadError | None = None
    """Of a worker that was left out."""

    def run(self, progress: Progress, run: str | None) -> None:
        """Adopts the parts that are there, and lets workers make those of what is missing."""
        self.missing = {segment.segment_id: segment for segment in self.pending(run)}
        total = len(self.missing)
        what = f"embed {self.record.spec.name}"
        with self.storing(run) as writer:
            self._adopt_found(writer)
            n_seen = total - len(self.missing)
            progress(n_seen, total, what)
            segments = [self._located(segment) for segment in self.missing.values()]
            n_bytes = 4 * sum(self.record.spec.dims[layer] for layer in self.layers)
            shards = cut(segments, self.workers.n_workers, self.config.shard_segments, n_bytes)
            queue = ShardQueue(shards, self.workers.n_workers)
            while queue or self.workers.n_embedding:
                for event in self._next_events(queue):
                    if isinstance(event.result, str) and event.shard:
                        self._adopt_made(event.result, writer)
                        n_seen += len(event.shard)
                    elif self._lost(event, queue):
                        n_seen += 1
                    progress(n_seen, total, what)
        self._remove_stored(writer)

    def clear(self) -> None:
        """Removes parts that are in the workspace; those of a refused replacement stay."""
        if self.n_done or not self.origin.replaces:
            self.parts.remove(self.origin, self.adopted)
            if self.config.parts is None:
                with suppress(OSError):  # others' parts are in there
                    (self.workspace.folder / PARTS).rmdir()

    def _next_events(self, queue: ShardQueue) -> list[Event]:
        """What has happened; whoever has nothing to do by then has the next shard in hand.

        Raises:
            UsadError: there is nobody left.
        """
        self._hand_out(queue)
        if not self.workers.n_busy:
            raise self.last_error or WorkerError("No worker is left.")
        events = list(self.workers.events())
        for event in events:
            if isinstance(event.result, str):
                queue.done()
                self.idle.append(event.worker)
            elif isinstance(event.result, WorkerRecord) and self._is_same(event.result):
                self.idle.append(event.worker)
        self._hand_out(queue)
        return events

    def _hand_out(self, queue: ShardQueue) -> None:
        while queue and self.idle:
            self.workers.hand(self.idle.pop(), queue.take(), self.origin)

    def _is_same(self, loaded: WorkerRecord) -> bool:
        """Whether a worker has loaded what the first one has."""
        return loaded.encoder == self.record and loaded.code_version == self.origin.code_version

    def _lost(self, event: Event, queue: ShardQueue) -> bool:
        """Sees to a worker that died or cannot go on; whether a segment is given up."""
        if event.result is None:
            self.workers.start()
            segment = queue.died(event.shard)
            if segment is None:
                return False
            name = self.missing[segment.segment_id].name
            reason = "Every worker that was handed it died. Look for what is odd about its audio."
            self.failed.append(Failure(path=name, reason=reason))
            return True
        if isinstance(event.result, WorkerRecord):
            if self._is_same(event.result):
                return False
            found = event.result.encoder.weights_sha256[:12]
            self.last_error = ProvenanceError(
                f"A worker has {self.record.spec.name} with weights {found} and code version "
                f"{event.result.code_version}, the first one {self.record.weights_sha256[:12]} and "
                f"{self.origin.code_version}. It gets no work: install the same on all machines."
            )
        elif isinstance(event.result, UsadError):
            self.last_error = event.result
            if event.shard is not None:
                queue.put_back(event.shard)
        logger.warning("A worker is left out: %s", self.last_error)
        self.workers.stop(event.worker)
        return False

    def _adopt_found(self, writer: VectorWriter) -> None:
        """Adopts what an earlier command has left, and tells of what is not adopted."""
        for name in self.parts.names(self.origin):
            try:
                part = self.parts.read(self.origin, name)
            except DamagedFileError as error:
                logger.warning("%s", error)
                self.parts.remove(self.origin, [name])
            except ProvenanceError as error:
                logger.warning("%s", error)
            else:
                # Its failures are tried again.
                self._adopt(name, replace(part, failed={}), writer)
        if foreign := self.parts.foreign(self.origin):
            logger.warning(
                "Parts of %s in %s are not adopted: they are of other weights, precision, "
                "segmentation, layers or pooling, or of a replacement. Remove them, or give their "
                "command again: %s",
                self.record.spec.name,
                self.parts.url,
                ", ".join(foreign),
            )

    def _adopt_made(self, name: str, writer: VectorWriter) -> None:
        """Adopts the part that a worker has just made.

        Raises:
            ConfigError: it is not to be seen from here.
        """
        ends = time.monotonic() + _VISIBLE_WITHIN_S
        while True:
            try:
                part = self.parts.read(self.origin, name)
                break
            except FileError as error:
                if time.monotonic() > ends:
                    raise ConfigError(
                        f"A worker has left the part {name} in {self.parts.url}, and from here it "
                        f"is not to be seen: {error} Name a folder that all machines share or a "
                        "URL with --parts."
                    ) from error
                time.sleep(1.0)
        self._adopt(name, part, writer)

    def _adopt(self, name: str, part: Part, writer: VectorWriter) -> None:
        ids, vectors = part.of(self.missing)
        if len(ids) < len(part.segments):
            logger.info(
                "%d vectors of the part %s are of no use", len(part.segments) - len(ids), name
            )
        writer.add(ids, vectors)
        for number in ids.tolist():
            del self.missing[number]
        self.n_handed += len(ids)
        self.audio_seconds += part.audio_seconds
        self.failed += [
            Failure(path=self.missing[number].name, reason=reason)
            for number, reason in part.failed.items()
            if number in self.missing
        ]
        self.handed.append((self.n_handed, name))
        self._remove_stored(writer)

    def _remove_stored(self, writer: VectorWriter) -> None:
        """Removes the parts whose vectors are committed; of a replacement they are kept."""
        stored = [name for n, name in self.handed if n <= writer.n_committed]
        self.handed = self.handed[len(stored) :]
        if self.origin.replaces:
            self.adopted += stored
        else:
            self.parts.remove(self.origin, stored)

    def _located(self, segment: SegmentAudio) -> SegmentAudio:
        path = str(self.workspace.audio_path(segment.path))
        for root in self.config.audio_roots:
            path = root.locate(path)
        return replace(segment, path=path)
