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
