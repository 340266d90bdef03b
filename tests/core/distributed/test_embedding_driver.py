"""The driver beside workers of this process: what it adopts, refuses and says, without Ray."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import fsspec
import numpy as np
import pytest

from usad_workbench.core.distributed import embedding
from usad_workbench.core.distributed.audio_locations import AudioRoot
from usad_workbench.core.distributed.cluster import Event, Resources
from usad_workbench.core.distributed.embedding import RayConfig, embed_on_ray
from usad_workbench.core.distributed.shards import Shard
from usad_workbench.core.distributed.worker import EmbeddingWorker, WorkerSettings
from usad_workbench.core.embedding import embed
from usad_workbench.core.errors import ConfigError, StoreError, UsadError, WeightsError
from usad_workbench.core.storage.importing import SourceClip, import_clips
from usad_workbench.core.storage.vector_parts import PartOrigin
from usad_workbench.core.storage.workspace import Workspace

ENCODER = "log-mel-statistics"
PARTS = "memory://parts"


class WorkersHere:
    """Two workers, one call at a time in this process."""

    def __init__(self, settings: WorkerSettings, resources: Resources) -> None:
        self.settings = settings
        self.n_workers = 2
        self.calls: list[tuple[EmbeddingWorker, Shard | None, PartOrigin | None]] = []
        self.n_started = 0
        self.start()
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    @property
    def n_busy(self) -> int:
        return len(self.calls)

    @property
    def n_embedding(self) -> int:
        return sum(shard is not None for _, shard, _ in self.calls)

    def start(self) -> None:
        self.n_started += 1
        self.calls.append((EmbeddingWorker(self.settings), None, None))

    def hand(self, worker: EmbeddingWorker, shard: Shard, origin: PartOrigin) -> None:
        self.calls.append((worker, shard, origin))

    def stop(self, worker: EmbeddingWorker) -> None:
        pass

    def events(self) -> list[Event]:
        worker, shard, origin = self.calls.pop(0)
        result: Any
        try:
            result = (
                worker.load() if shard is None or origin is None else worker.embed(shard, origin)
            )
        except UsadError as error:
            result = error
        return [Event(worker=worker, shard=shard, result=result)]


@pytest.fixture(autouse=True)
def workers_here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    @contextmanager
    def connected(address: str) -> Iterator[None]:
        yield

    monkeypatch.setattr(embedding, "connected", connected)
    monkeypatch.setattr(embedding, "Workers", WorkersHere)
    monkeypatch.setattr(
        embedding, "cluster_share", lambda *_: Resources(n_workers=2, cpus=1, gpus=0.0)
    )
    yield
    memory = fsspec.filesystem("memory")
    for folder in ("/parts", "/sounds", "/elsewhere"):
        if memory.exists(folder):
            memory.rm(folder, recursive=True)


def config(**changes: Any) -> RayConfig:
    return replace(
        RayConfig(address="local", parts=PARTS, device="cpu", shard_segments=4), **changes
    )


def assert_equal_to_embedding_here(
    workspace: Workspace, tones: list[SourceClip], folder: Path
) -> None:
    here = Workspace.create(folder)
    import_clips(here, tones)
    embed(here, ENCODER)
    for layer in here.layers(ENCODER):
        mine, theirs = (w.embeddings(ENCODER, layer) for w in (workspace, here))
        np.testing.assert_array_equal(mine.segment_ids, theirs.segment_ids)
        # Other clips share a batch, which costs the last bit of some values.
        np.testing.assert_allclose(mine.vectors, theirs.vectors, rtol=3e-7, atol=1e-7)


def test_workers_are_told_of_a_folder_in_full(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their working folder is not that of the command."""
    told: list[str] = []

    def workers(settings: WorkerSettings, resources: Resources) -> WorkersHere:
        told.append(settings.parts_url)
        return WorkersHere(settings, resources)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(embedding, "Workers", workers)
    assert embed_on_ray(workspace, ENCODER, config(parts="shared")).n_done == 30
    assert told == [str(tmp_path / "shared")]


def test_audio_and_parts_in_an_object_store(
    workspace: Workspace, tones: list[SourceClip], tmp_path: Path
) -> None:
    memory = fsspec.filesystem("memory")
    for source in tones:
        memory.pipe_file(f"/sounds/{source.path.name}", source.path.read_bytes())
    memory.pipe_file("/sounds/tone03.wav", tones[4].path.read_bytes())
    roots = (AudioRoot(folder=str(tones[0].path.parent), url="memory://sounds"),)
    report = embed_on_ray(workspace, ENCODER, config(audio_roots=roots))
    assert report.n_done == 29
    (failure,) = report.failed
    assert failure.path.startswith(str(tones[3].path))
    assert "has changed since it was imported" in failure.reason
    assert [path for path in memory.find("/parts") if path.endswith("parquet")] == []
    again = embed_on_ray(workspace, ENCODER, config())
    assert (again.n_done, again.n_skipped, again.failed) == (1, 29, [])
    assert_equal_to_embedding_here(workspace, tones, tmp_path / "here")


def test_damaged_parts_are_made_again_and_foreign_ones_named(
    workspace: Workspace,
    tones: list[SourceClip],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    memory = fsspec.filesystem("memory")
    with monkeypatch.context() as patched:  # a driver that ends before it adopts anything
        patched.setattr(embedding._RayJob, "_adopt_made", lambda *_: None)
        embed_on_ray(workspace, ENCODER, config())
    assert workspace.spaces().empty
    whole, damaged, *_ = sorted(memory.find("/parts"))
    folder, _, name = whole.rpartition("/")
    foreign = f"{folder[:-16]}{0:016}/{name}"
    memory.pipe_file(foreign, memory.cat_file(whole))
    memory.pipe_file(damaged, memory.cat_file(damaged)[:-40])
    made: list[int] = []
    monkeypatch.setattr(
        EmbeddingWorker,
        "embed",
        lambda self, shard, origin, embed=EmbeddingWorker.embed: (
            made.append(len(shard)) or embed(self, shard, origin)
        ),
    )
    with caplog.at_level(logging.WARNING):
        report = embed_on_ray(workspace, ENCODER, config())
    assert (report.n_done, report.failed) == (30, [])
    assert sum(made) == 4
    assert "no whole part" in caplog.text
    assert "are not adopted" in caplog.text
    assert memory.find("/parts") == [foreign]
    assert_equal_to_embedding_here(workspace, tones, tmp_path / "here")


def test_a_worker_with_other_weights_gets_no_work(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    loaded = []
    load = EmbeddingWorker.load

    def load_another(self: EmbeddingWorker) -> Any:
        record = load(self)
        loaded.append(self)
        other = replace(record.encoder, weights_sha256="f" * 64)
        return record if len(loaded) == 1 else replace(record, encoder=other)

    monkeypatch.setattr(EmbeddingWorker, "load", load_another)
    with caplog.at_level(logging.WARNING):
        report = embed_on_ray(workspace, ENCODER, config())
    assert (report.n_done, len(loaded)) == (30, 2)
    assert "weights ffffffffffff" in caplog.text


def test_no_weights_anywhere_is_the_error_of_the_command(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("USAD_CACHE_DIR", str(tmp_path / "empty"))
    with pytest.raises(WeightsError, match="usad encoders get musicnn"):
        embed_on_ray(workspace, "musicnn", config())


def test_workers_that_cannot_write_end_the_work(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> str:
        raise StoreError("the bucket is not yours")

    monkeypatch.setattr(EmbeddingWorker, "embed", refuse)
    with pytest.raises(StoreError, match="not yours"):
        embed_on_ray(workspace, ENCODER, config())


def test_parts_that_only_workers_see_are_told_of(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding, "_VISIBLE_WITHIN_S", 0.0)
    start = WorkersHere.__init__

    def elsewhere(self: WorkersHere, settings: WorkerSettings, resources: Resources) -> None:
        start(self, replace(settings, parts_url="memory://elsewhere"), resources)

    monkeypatch.setattr(WorkersHere, "__init__", elsewhere)
    with pytest.raises(ConfigError, match="not to be seen"):
        embed_on_ray(workspace, ENCODER, config())


def test_a_second_driver_is_refused(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def progress(done: int, total: int, what: str) -> None:
        with pytest.raises(StoreError, match="already"):
            embed_on_ray(workspace, ENCODER, config())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed_on_ray(workspace, ENCODER, config(), progress=progress)
    assert embed_on_ray(workspace, ENCODER, config()).n_done == 30
    assert [path.name for path in workspace.folder.iterdir()] == ["workspace.duckdb"]
