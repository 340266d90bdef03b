"""What every benchmark needs: a row, clocks, the machine and its own matmul rate."""

import math
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

REPEATS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One claim: a value, and the same of a peer in the same run."""

    name: str
    value: float
    unit: str
    peer: str
    """What it is compared with."""
    peer_value: float
    ratio: float
    """Value over the peer's; NaN where the peer has zero."""
    machine: str


def make_row(name: str, value: float, unit: str, peer: str, peer_value: float) -> Row:
    """A row with its ratio, on this machine."""
    return Row(
        name=name,
        value=value,
        unit=unit,
        peer=peer,
        peer_value=peer_value,
        ratio=value / peer_value if peer_value else math.nan,
        machine=machine(),
    )


def machine() -> str:
    """The processor or accelerator, the threads and the version of torch."""
    if torch.cuda.is_available():
        device = torch.cuda.get_device_name()
    else:
        device = f"{_processor()}, {torch.get_num_threads()} threads"
    return f"{device}, torch {torch.__version__}"


def median_seconds(
    jobs: Mapping[str, Callable[[], object]], repeats: int = REPEATS
) -> dict[str, float]:
    """Median seconds of each job; they take turns, so that other load meets all alike.

    Each runs once before, which is not counted.
    """
    for job in jobs.values():
        job()
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(repeats):
        for name, job in jobs.items():
            times[name].append(seconds_of(job))
    return {name: statistics.median(values) for name, values in times.items()}


@dataclass(frozen=True, slots=True)
class Cost:
    """Of a job: what passed on the wall, and what the processor worked in all threads."""

    wall_s: float
    processor_s: float


def median_costs(
    jobs: Mapping[str, Callable[[], object]],
    repeats: int = 3,
    prepare: Callable[[], object] = lambda: None,
) -> dict[str, Cost]:
    """Median costs of each job, taking turns as in ``median_seconds``, none run before.

    Jobs that write have to be run as often as they are counted, so that nothing warms them up.
    Processor seconds are what can be compared on a machine that also does other work.

    Args:
        jobs: What is measured, by name.
        repeats: Turns of each.
        prepare: Called before each turn, which is not counted.
    """
    costs: dict[str, list[Cost]] = {name: [] for name in jobs}
    for _ in range(repeats):
        prepare()
        for name, job in jobs.items():
            costs[name].append(cost_of(job))
    return {
        name: Cost(
            statistics.median(cost.wall_s for cost in found),
            statistics.median(cost.processor_s for cost in found),
        )
        for name, found in costs.items()
    }


def cost_of(job: Callable[[], object]) -> Cost:
    """What a job costs in this process, its threads included."""
    processor = time.process_time()
    wall_s = seconds_of(job)
    return Cost(wall_s, time.process_time() - processor)


def seconds_of(job: Callable[[], object]) -> float:
    """Wall-clock seconds, the accelerator's work included."""
    wait()
    started = time.perf_counter()
    job()
    wait()
    return time.perf_counter() - started


def wait() -> None:
    """Returns when the accelerator, if there is one, has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def matmul_job(device: str, dtype: torch.dtype) -> tuple[Callable[[], object], float]:
    """A large matrix product of random numbers, and its operations."""
    size = 8192 if device == "cuda" else 2048
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    out = torch.empty_like(left)
    return lambda: torch.mm(left, right, out=out), 2.0 * size**3


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
