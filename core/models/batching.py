"""Which clips go through an encoder together: seconds of audio in one batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import torch


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchPlan:
    """Which clips go through an encoder together.

    On a CPU large batches are slow: their activations leave the caches, and the system clears
    fresh pages for every buffer. Hence 10 s, unless an encoder says otherwise; timings:
    ``docs/statistics.md``, "Batch lengths".
    """

    max_batch_s: float = 60.0
    """At most this many seconds of audio, padding included, in one batch."""
    max_clips: int = 64

    @classmethod
    def on(cls, device: torch.device | str, cpu_batch_s: float = 10.0) -> Self:
        """The plan for a device; 240 s on an accelerator are not measured."""
        return cls(max_batch_s=cpu_batch_s if torch.device(device).type == "cpu" else 240.0)


def plan_batches(
    n_samples: Sequence[int], sample_rate_hz: int, pads: bool, plan: BatchPlan
) -> Iterator[list[int]]:
    """Positions of clips to batch together, by length so that little is padded.

    Without ``pads`` a batch holds clips of one length only.

    >>> list(plan_batches([8, 5, 8, 5], 1, False, BatchPlan()))
    [[1, 3], [0, 2]]
    """
    order = sorted(range(len(n_samples)), key=lambda i: (n_samples[i], i))
    batch: list[int] = []
    for i in order:
        fits = (len(batch) + 1) * n_samples[i] <= plan.max_batch_s * sample_rate_hz
        same = pads or not batch or n_samples[batch[0]] == n_samples[i]
        if batch and not (fits and same and len(batch) < plan.max_clips):
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch
