"""Benchmarks by name."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from usad_workbench.core.errors import UnknownNameError, did_you_mean
from usad_workbench.core.evaluation.benchmarks.audioset import read_audioset
from usad_workbench.core.evaluation.benchmarks.esc50 import read_esc50
from usad_workbench.core.evaluation.benchmarks.hear import read_hear
from usad_workbench.core.evaluation.benchmarks.marble import read_marble
from usad_workbench.core.evaluation.benchmarks.task import BenchmarkTask, Unsupported

Reader = Callable[[Path], Sequence[BenchmarkTask | Unsupported]]

BENCHMARKS: Mapping[str, Reader] = {
    "esc50": read_esc50,
    "as20k": read_audioset,
    "hear": read_hear,
    "marble": read_marble,
}


def read_benchmark(name: str, folder: str | Path) -> list[BenchmarkTask | Unsupported]:
    """The tasks of a benchmark in a local copy.

    Args:
        name: One of ``BENCHMARKS``.
        folder: The copy, in the layout of its publisher.

    Raises:
        UnknownNameError: no such benchmark.
        BenchmarkError: a folder of another layout; the message says what is missing.
    """
    if name not in BENCHMARKS:
        raise UnknownNameError(
            f"There is no benchmark {name!r}. {did_you_mean(name, list(BENCHMARKS))}"
        )
    return list(BENCHMARKS[name](Path(folder)))
