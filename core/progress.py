"""Progress as a callback, so that the library draws nothing itself.

The command line hands in a bar, the app a ``st.progress``, tests a recorder.
A callback may raise ``Cancelled`` to stop the work between two items.
"""

from typing import Protocol


class Progress(Protocol):
    """Called as ``progress(done, total, what)`` after each item."""

    def __call__(self, done: int, total: int, what: str) -> None:
        """Reports that ``done`` of ``total`` items of the job ``what`` are finished."""


def no_progress(done: int, total: int, what: str) -> None:
    """The default: reports nowhere."""


STEPS = 100
"""Of each part of a job."""


def part_of(progress: Progress, part: int, n_parts: int, name: str = "") -> Progress:
    """The progress of one of several parts of a job, which count the same.

    What the part reports moves the whole on: one bar, which never starts again.

    Args:
        progress: Of the whole job.
        part: From 0 on.
        n_parts: How many there are.
        name: Put before what the part reports.

    >>> second = part_of(print, 1, 4, "layer 8")
    >>> second(1, 2, "training")
    150 400 layer 8: training
    """
    if progress is no_progress:
        return no_progress

    def report(done: int, total: int, what: str) -> None:
        steps = STEPS * part + STEPS * min(done, total) // max(total, 1)
        progress(steps, STEPS * n_parts, f"{name}: {what}" if name else what)

    return report
