"""Published benchmarks on local copies: official splits, metrics, numbers from papers."""

from usad_workbench.core.evaluation.benchmarks.evaluate import evaluate_frozen
from usad_workbench.core.evaluation.benchmarks.registry import BENCHMARKS, read_benchmark
from usad_workbench.core.evaluation.benchmarks.task import (
    BenchmarkError,
    BenchmarkTask,
    Item,
    Published,
    Split,
    Unsupported,
)

__all__ = [
    "BENCHMARKS",
    "BenchmarkError",
    "BenchmarkTask",
    "Item",
    "Published",
    "Split",
    "Unsupported",
    "evaluate_frozen",
    "read_benchmark",
]
