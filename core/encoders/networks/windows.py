"""Long clips in overlapping windows: where they lie, and how their frames become one row.

Two neighbours meet in the middle of their overlap, where both have seen context.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a clip, in samples: what is run, and which part of it is kept."""

    start: int
    stop: int
    keep_from: int
    keep_to: int | None
    """None for the last window, of which everything is kept."""


def plan_windows(n_samples: int, window: int, overlap: int, grid: int) -> list[Window]:
    """Windows over a clip, at multiples of ``grid`` samples (or mel frames: one unit for all).

    Args:
        n_samples: Length of the clip.
        window: The longest that is run at once.
        overlap: Of two windows; the last two may overlap more, as the last ends with the clip.
        grid: A whole number of frames in every layer, so that windows share their frames.

    >>> plan_windows(80, 100, 20, 10)
    [Window(start=0, stop=80, keep_from=0, keep_to=None)]
    >>> [(w.start, w.stop, w.keep_from, w.keep_to) for w in plan_windows(150, 100, 20, 10)]
    [(0, 100, 0, 70), (50, 150, 70, None)]
    """
    last = -(-max(n_samples - window, 0) // grid) * grid
    step = (window - overlap) // grid * grid
    starts = [*range(0, last, step), last]
    cuts = [(before + window + after) // 2 // grid * grid for before, after in pairwise(starts)]
    return [
        Window(start, min(start + window, n_samples), keep_from, keep_to)
        for start, keep_from, keep_to in zip(starts, [0, *cuts], [*cuts, None], strict=True)
    ]


def stitch(windows: Sequence[Window], frames: Sequence[Tensor], hop: int) -> Tensor:
    """The frames of clips from those of their windows, ``hop`` samples apart.

    Args:
        windows: Of all these clips.
        frames: [frame, dim] or [clip, frame, dim] for each window.
        hop: In the unit of the windows.
    """
    if len(windows) == 1:
        return frames[0]
    kept = [
        found[
            ...,
            (w.keep_from - w.start) // hop : None
            if w.keep_to is None
            else (w.keep_to - w.start) // hop,
            :,
        ]
        for w, found in zip(windows, frames, strict=True)
    ]
    return torch.cat(kept, dim=-2)
