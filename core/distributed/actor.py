"""What Ray is handed: a class in a module that imports nothing.

Ray keeps a class, and with it all that its module has imported, until the interpreter is gone.
DuckDB would complain on standard error of every command that it was leaked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from usad_workbench.core.distributed.shards import Shard
    from usad_workbench.core.distributed.worker import WorkerRecord, WorkerSettings
    from usad_workbench.core.storage.vector_parts import PartOrigin


class WorkerActor:
    """An ``EmbeddingWorker`` in a process of Ray."""

    def __init__(self, settings: WorkerSettings) -> None:
        from usad_workbench.core.distributed.worker import EmbeddingWorker

        self._worker = EmbeddingWorker(settings)

    def load(self) -> WorkerRecord:
        """Loads the encoder."""
        return self._worker.load()

    def embed(self, shard: Shard, origin: PartOrigin) -> str:
        """Makes the part of a shard, and gives its name."""
        return self._worker.embed(shard, origin)
