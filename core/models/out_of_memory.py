"""Batches that a device has no memory for are halved until they fit."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch

T = TypeVar("T")

_CPU_ALLOCATOR = "DefaultCPUAllocator"
"""Named in the plain RuntimeError that torch raises for a CPU without memory."""


@contextmanager
def out_of_memory_is_one_error() -> Iterator[None]:
    """Raises ``torch.OutOfMemoryError`` also for a CPU's lack of memory, which has other names."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except MemoryError as error:
        raise torch.OutOfMemoryError(str(error) or "out of memory") from error
    except RuntimeError as error:
        if _CPU_ALLOCATOR in str(error):
            raise torch.OutOfMemoryError(str(error)) from error
        raise


def halve_until_it_fits(
    work: Callable[[list[int]], T],
    batches: Iterable[list[int]],
    n_samples: Sequence[int],
    device: torch.device,
) -> Iterator[tuple[list[int], T]]:
    """The parts of batches that fit, each with what ``work`` makes of it.

    What did not fit once is not tried again: as large batches behind it are halved at once.

    Args:
        work: Called with positions of clips.
        batches: Positions of clips.
        n_samples: Of each clip; what a batch takes is its longest clip times its clips.
        device: Its cache is emptied after a failure.

    Raises:
        torch.OutOfMemoryError: there is none for a single clip.
    """
    waiting = deque(batches)
    too_many = math.inf
    while waiting:
        batch = waiting.popleft()
        size = len(batch) * max(n_samples[i] for i in batch)
        if size < too_many or len(batch) == 1:
            try:
                with out_of_memory_is_one_error():
                    made = work(batch)
            except torch.OutOfMemoryError:
                if len(batch) == 1:
                    raise
            else:
                yield batch, made
                continue
            if device.type == "cuda":
                torch.cuda.empty_cache()
            too_many = min(too_many, size)
        half = len(batch) // 2
        waiting.extendleft([batch[half:], batch[:half]])
