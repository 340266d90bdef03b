"""The batch of a step as each process reads it: its share, in parts, with targets.

Which clips a step learns from follows from the seed and the step alone. Neither the number of
processes nor that of parts changes it, only who computes what.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from usad_workbench.core.clips import Clip, ClipBatch, Samples
from usad_workbench.core.errors import AudioError
from usad_workbench.core.models.encoder import LayerFeatures
from usad_workbench.training.data import SAMPLE_RATE_HZ, Corpus
from usad_workbench.training.targets import TargetSource


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MicroBatch:
    """The pieces that go through the student at once, with their targets."""

    pieces: tuple[int, ...]
    domains: tuple[str, ...]
    """The domain of each piece."""
    samples: Tensor
    """What the student hears, shape [clip, sample]."""
    clean: Tensor | None = None
    """What the teachers hear, where that is something else."""
    n_valid: Tensor
    """Valid samples, shape [clip]."""
    targets: dict[str, LayerFeatures]
    """Targets by teacher."""
    counts: bool = True
    """False where this process has no piece for this part; all processes go through the
    student equally often."""
    failed: tuple[tuple[str, str], ...] = ()
    """Clips that belong here and cannot be read, with the reason."""

    def clips(self, corpus: Corpus) -> list[Clip]:
        """What the teachers hear, without padding."""
        samples = self.samples if self.clean is None else self.clean
        return [
            Clip(
                samples=row[:n].numpy(),
                sample_rate_hz=SAMPLE_RATE_HZ,
                path=corpus.pieces[piece].clip_id,
                start_s=corpus.pieces[piece].start_s,
            )
            for row, n, piece in zip(samples, self.n_valid.tolist(), self.pieces, strict=True)
        ]

    def pin_memory(self) -> "MicroBatch":
        """A copy in pinned memory, from where a device takes it without waiting."""
        return replace(
            self,
            samples=self.samples.pin_memory(),
            n_valid=self.n_valid.pin_memory(),
            targets={name: _pin(features) for name, features in self.targets.items()},
        )

    def to(self, device: torch.device) -> "MicroBatch":
        """A copy on a device, which is not waited for."""
        return replace(
            self,
            samples=self.samples.to(device, non_blocking=True),
            n_valid=self.n_valid.to(device, non_blocking=True),
            clean=None,
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


def read_micro_batch(
    corpus: Corpus,
    targets: Mapping[str, TargetSource],
    pieces: Sequence[int],
    counts: bool = True,
    hear: Callable[[Samples, int], Samples] | None = None,
) -> MicroBatch:
    """Audio and targets of some pieces, on the CPU; without those that cannot be read.

    Args:
        corpus: What the numbers of pieces mean.
        targets: By teacher.
        pieces: What belongs here.
        counts: See ``MicroBatch``; False where no piece can be read.
        hear: What the student hears of a piece's samples; those themselves where none.
    """
    clips: dict[int, Clip] = {}
    failed: dict[int, str] = {}
    for piece in pieces:
        try:
            clips[piece] = corpus.clip(piece)
        except AudioError as error:
            failed[piece] = str(error)
    readable = [piece for piece in pieces if piece in clips]
    if not readable:
        readable, counts = [pieces[0]], False
        clips[pieces[0]] = _noise(corpus.pieces[pieces[0]].n_samples)
    batch = ClipBatch.from_clips([clips[piece] for piece in readable])
    clean = heard = torch.from_numpy(batch.samples)
    if hear is not None:
        heard = clean.clone()
        for row, piece in enumerate(readable):
            samples = clips[piece].samples
            heard[row, : len(samples)] = torch.from_numpy(hear(samples, piece))
    return MicroBatch(
        pieces=tuple(readable),
        domains=tuple(corpus.pieces[piece].domain for piece in readable),
        samples=heard,
        clean=None if hear is None else clean,
        n_valid=torch.from_numpy(batch.n_valid),
        targets={name: source.features(readable) for name, source in targets.items()},
        counts=counts,
        failed=tuple((corpus.pieces[piece].clip_id, why) for piece, why in failed.items()),
    )


def _noise(n_samples: int) -> Clip:
    # Goes through the networks without counting; silence might not be finite in a teacher.
    noise = np.random.default_rng(0).standard_normal(n_samples).astype(np.float32) * 1e-2
    return Clip(samples=noise, sample_rate_hz=SAMPLE_RATE_HZ)


def _to(features: LayerFeatures, device: torch.device) -> LayerFeatures:
    # Half the bytes go to the device, float32 is made there.
    return replace(
        features,
        frames=tuple(f.to(device, non_blocking=True).float() for f in features.frames),
        n_valid=tuple(n.to(device, non_blocking=True) for n in features.n_valid),
    )


def _pin(features: LayerFeatures) -> LayerFeatures:
    return replace(
        features,
        frames=tuple(frames.pin_memory() for frames in features.frames),
        n_valid=tuple(n.pin_memory() for n in features.n_valid),
    )
