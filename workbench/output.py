"""What the command line prints: results on standard output, everything else on error.

With ``--json`` standard output holds exactly one JSON document.
"""

import io
import json
import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, is_dataclass
from typing import Any, TextIO

from tqdm import tqdm

from usad_workbench.core.errors import printable
from usad_workbench.workbench.presenters.numbers import terminal_number


class Output:
    """Where a command reports to."""

    def __init__(self, as_json: bool, results: TextIO | None = None) -> None:
        """``results`` takes the answers; standard output by default."""
        self.as_json = as_json
        self._results = results
        self._bar: tqdm[Any] | None = None

    def note(self, text: str) -> None:
        """A line for the person who waits, on standard error."""
        self._close()
        sys.stderr.write(printable(text) + "\n")

    def progress(self, done: int, total: int, what: str) -> None:
        """Draws a bar on standard error; a count that starts again is another job.

        Within a job ``what`` may change from call to call, such as the loss of a run.
        """
        bar = self._bar
        if bar is None or total != bar.total or done < bar.n:
            self._close()
            bar = self._bar = tqdm(total=total, file=sys.stderr, leave=True)
        bar.set_description(what, refresh=False)
        bar.update(done - bar.n)
        if done >= total:
            self._close()

    def result(self, document: Any, text: str) -> None:
        """The command's answer: the document with ``--json``, the text without."""
        self._close()
        results = self._results or sys.stdout
        if self.as_json:
            text = json.dumps(json_value(document), ensure_ascii=not _is_utf8(results), indent=2)
        results.write(printable(text) + "\n")
        results.flush()

    def failures(self, failed: Sequence[Any]) -> None:
        """Names what failed, on standard error."""
        for failure in failed:
            self.note(f"failed: {failure.path}: {failure.reason}")

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


@contextmanager
def results_alone() -> Iterator[TextIO]:
    """Standard output, for results; while this is open, what others print there goes to error.

    Code that comes with a model prints what it likes, in this process and in those that are
    started meanwhile, so the descriptor itself is exchanged where there is one.
    """
    found = sys.stdout
    descriptor, error = _descriptor(found), _descriptor(sys.stderr)
    if descriptor is None or error is None:
        with redirect_stdout(sys.stderr):
            yield found
        return
    found.flush()
    kept = os.dup(descriptor)
    os.dup2(error, descriptor)
    try:
        with open(
            kept, "w", encoding=found.encoding, errors="backslashreplace", closefd=False
        ) as out:
            yield out
    finally:
        found.flush()
        os.dup2(kept, descriptor)
        os.close(kept)


def _descriptor(stream: TextIO) -> int | None:
    """Of the file behind a stream; none where there is no file, as in tests."""
    try:
        return stream.fileno()
    except io.UnsupportedOperation:
        return None


def _is_utf8(stream: TextIO) -> bool:
    """Whether a stream takes every letter; one without an encoding, as in tests, does."""
    return (stream.encoding or "utf-8").lower().replace("-", "") == "utf8"


def json_value(value: Any) -> Any:
    """The value in JSON's own types; what is not finite becomes null.

    >>> json_value({"a": float("nan"), "b": (1, "x")})
    {'a': None, 'b': [1, 'x']}
    """
    if is_dataclass(value) and not isinstance(value, type):
        return json_value(asdict(value))
    if isinstance(value, Mapping):
        return {printable(str(key)): json_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [json_value(item) for item in value]
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:  # a NumPy scalar
        return json_value(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (int, bool)) or value is None:
        return value
    return printable(str(value))


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Rows as aligned text; numbers with four digits.

    >>> print(table([{"a": 1.0, "b": "x"}], ["a", "b"]))
    a      b
    1.0000 x
    """
    cells = [[_cell(row.get(name), name) for name in columns] for row in rows]
    widths = [max(len(line[i]) for line in [list(columns), *cells]) for i in range(len(columns))]
    lines = [
        " ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in [list(columns), *cells]
    ]
    return "\n".join(lines)


def _cell(value: Any, column: str) -> str:
    value = json_value(value)
    if value is None:
        return "-"
    return terminal_number(value, column) if isinstance(value, float) else str(value)
