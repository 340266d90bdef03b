"""Reads batches ahead of the training, in processes of their own where wanted.

Audio, augmentation and cached targets are read in the background. Teachers that run at every step
do so in the training process, on its device. A step's batch follows from the seed and the step
alone, whoever reads it.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch.utils.data import DataLoader, Dataset

from usad_workbench.core.clips import Samples
from usad_workbench.core.errors import AudioError, UsadError
from usad_workbench.core.parallel import end_with_parent
from usad_workbench.training.augment import Augmentation
from usad_workbench.training.batches import MicroBatch, read_micro_batch, split_batch
from usad_workbench.training.data import Corpus
from usad_workbench.training.distributed import World
from usad_workbench.training.recipe import Recipe
from usad_workbench.training.sampler import BatchSampler
from usad_workbench.training.targets import OnlineTargets, TargetSource

logger = logging.getLogger(__name__)

_PREFETCH = 4
"""Batches that each process is ahead."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Batch:
    """A step's batch as one training process has it."""

    pieces: tuple[int, ...]
    """Pieces of all processes."""
    parts: tuple[MicroBatch, ...]
    """Micro-batches of this process."""

    def pin_memory(self) -> "Batch":
        """A copy in pinned memory, from where a device takes it without waiting; torch calls this."""
        return replace(self, parts=tuple(part.pin_memory() for part in self.parts))


class Loader:
    """Batches of a run, each read once in the order of the steps."""

    def __init__(
        self,
        recipe: Recipe,
        corpus: Corpus,
        targets: Mapping[str, TargetSource],
        world: World,
    ) -> None:
        self.n_steps, self.n_loaders = recipe.optimiser.n_steps, recipe.data.n_loaders
        self.pins = world.device.type == "cuda"
        self.targets = targets
        self.reader = _Reader(recipe, corpus, targets, world)
        self._iterator: Iterator[Batch | UsadError] = iter(())
        self._next = -1

    def pieces(self, step: int) -> list[int]:
        """The pieces of a step's batch, over all processes."""
        return self.reader.sampler.batch(step)

    def read(self, step: int) -> Batch:
        """A step's batch, on the CPU but for targets that are computed now.

        Raises:
            CheckpointError: cached targets or audio that are damaged.
            TrainingError: targets that half precision cannot hold.
        """
        if step != self._next:
            self._iterator = self._start(step)
        self._next = step + 1
        batch = next(self._iterator)
        if isinstance(batch, UsadError):
            raise batch
        for clip_id, reason in (failure for part in batch.parts for failure in part.failed):
            logger.warning("step %d goes without %s: %s", step, clip_id, reason)
        return replace(batch, parts=tuple(map(self._with_targets, batch.parts)))

    def _start(self, step: int) -> Iterator[Batch | UsadError]:
        loader = DataLoader(
            self.reader,
            batch_size=None,  # an item is a batch already
            sampler=range(step, max(self.n_steps, step + 1)),
            num_workers=self.n_loaders,
            prefetch_factor=_PREFETCH if self.n_loaders else None,
            pin_memory=self.pins,
            worker_init_fn=_end_with_parent if self.n_loaders else None,
            generator=torch.Generator(),  # so that it draws no seed from the run's
        )
        return iter(loader)

    def _with_targets(self, part: MicroBatch) -> MicroBatch:
        targets = dict(part.targets)
        for name, source in self.targets.items():
            if isinstance(source, OnlineTargets):
                targets[name] = source.of_clips(part.clips(self.reader.corpus))
        return replace(part, targets={name: targets[name] for name in self.targets})


def _end_with_parent(worker: int) -> None:
    # torch's own watch looks between two batches only: one that waits to hand over never does.
    end_with_parent()


class _Reader(Dataset[Batch | UsadError]):
    """What a step needs from disk, by step."""

    def __init__(
        self,
        recipe: Recipe,
        corpus: Corpus,
        targets: Mapping[str, TargetSource],
        world: World,
    ) -> None:
        self.corpus, self.rank, self.n_processes = corpus, world.rank, world.size
        self.cached = {n: s for n, s in targets.items() if not isinstance(s, OnlineTargets)}
        self.accumulate = recipe.optimiser.accumulate
        self.augmentation = Augmentation(recipe.data, recipe.run.seed)
        shares = {at: source.share for at, source in enumerate(recipe.data.sources)}
        self.sampler = BatchSampler(
            [piece.duration_s for piece in corpus.pieces],
            corpus.sources,
            batch_s=recipe.data.batch_s,
            share=shares if any(shares.values()) else None,
            seed=recipe.run.seed,
        )

    def __getitem__(self, step: int) -> Batch | UsadError:
        pieces = self.sampler.batch(step)
        shares = split_batch(pieces, self.rank, self.n_processes, self.accumulate)

        def hear(samples: Samples, piece: int) -> Samples:
            return self.augmentation.apply(samples, step, piece, pieces, self._read)

        try:
            heard = hear if self.augmentation.is_on else None
            parts = [
                read_micro_batch(self.corpus, self.cached, *share, hear=heard) for share in shares
            ]
        except UsadError as error:
            return error  # raised where the run is; a process of torch would add its traceback
        return Batch(pieces=tuple(pieces), parts=tuple(parts))

    def _read(self, piece: int) -> Samples | None:
        try:
            return self.corpus.audio.samples(piece)
        except AudioError:
            return None  # named where it is a piece of its own
