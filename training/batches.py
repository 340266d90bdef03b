"""The batch of a step as each process reads it: its share, in parts, with targets.

Which clips a step learns from follows from the seed and the step alone. Neither the
number of processes nor that of parts changes it, only who computes what.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from usad_workbench.core.clips import ClipBatch
from usad_workbench.core.models.encoder import LayerFeatures
from usad_workbench.training.data import Corpus
from usad_workbench.training.targets import TargetSource


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BatchPart:
    """What goes through the student at once."""

    pieces: tuple[int, ...]
    domains: tuple[str, ...]
    """Of each piece."""
    samples: Tensor
    """Shape [clip, sample]."""
    n_valid: Tensor
    """Valid samples, shape [clip]."""
    targets: dict[str, LayerFeatures]
    """By teacher."""
    counts: bool = True
    """False where another process has these pieces and this one has none left; all
    processes go through the student equally often."""

    def to(self, device: torch.device) -> "BatchPart":
        """The same on a device, without waiting for it."""
        return replace(
            self,
            samples=self.samples.to(device, non_blocking=True),
            n_valid=self.n_valid.to(device, non_blocking=True),
            targets={name: _to(features, device) for name, features in self.targets.items()},
        )


def split_batch(
    pieces: Sequence[int], rank: int, n_processes: int, accumulate: int
) -> list[tuple[list[int], bool]]:
    """One process's parts of a batch, each with whether it counts.

    Neighbours in a batch are alike in length, so dealing them out gives parts alike. As
    many parts for every process; where there are fewer pieces than parts, fewer parts.

    >>> split_batch([5, 6, 7], 0, 2, 1), split_batch([5, 6, 7], 1, 2, 1)
    ([([5, 7], True)], [([6], True)])
    >>> split_batch([5], 1, 2, 4)
    [([5], False)]
    """
    n_parts = min(accumulate, -(-len(pieces) // n_processes))
    dealt = [
        list(pieces[part * n_processes + rank :: n_parts * n_processes]) for part in range(n_parts)
    ]
    return [(part or [pieces[0]], bool(part)) for part in dealt]


def read_part(
    corpus: Corpus, targets: Mapping[str, TargetSource], pieces: Sequence[int], counts: bool = True
) -> BatchPart:
    """Audio and targets of some pieces, on the CPU."""
    batch = ClipBatch.from_clips(corpus.clips(pieces))
    return BatchPart(
        pieces=tuple(pieces),
        domains=tuple(corpus.pieces[piece].domain for piece in pieces),
        samples=torch.from_numpy(batch.samples),
        n_valid=torch.from_numpy(batch.n_valid),
        targets={name: source.features(pieces) for name, source in targets.items()},
        counts=counts,
    )


def _to(features: LayerFeatures, device: torch.device) -> LayerFeatures:
    return replace(
        features,
        frames=tuple(frames.to(device, non_blocking=True) for frames in features.frames),
        n_valid=tuple(n.to(device, non_blocking=True) for n in features.n_valid),
    )
