"""Which index so many vectors get: its kind, what FAISS makes of it, and why.

Measured on one core, 384 values, 1 million vectors, in the search for defaults: IVF4096 with
8-bit codes, 128 lists read and 40 candidates compared exactly, found 0.987 of the 10 nearest at
1.5 ms a query, 398 MB, built in 48 s; a graph (HNSW32 of 8-bit codes, efSearch 512) 0.986 at
2.4 ms, 656 MB, 310 s. So ``auto`` takes inverted lists.
"""

from dataclasses import dataclass
from typing import Literal

from usad_workbench.core.errors import ConfigError

Kind = Literal["auto", "flat", "ivf", "ivfpq", "hnsw"]
FLAT_UP_TO = 50_000
"""Exact search of this many 768-wide vectors takes about 10 ms on two cores; below that
nothing faster is worth an approximation."""
TARGET_RECALL = 0.98
MEMORY_GB = 4.0
"""Of an index, by default: 10 million vectors of 384 values with 8-bit codes."""
MIN_TRAINING_PER_LIST = 39
"""FAISS warns below 39 training vectors per inverted list."""
HNSW_LINKS = 32
TRAINING_VECTORS = {"ivf": 4 * MIN_TRAINING_PER_LIST, "ivfpq": 256 * MIN_TRAINING_PER_LIST}
"""The number of vectors that the smallest index of each kind is trained on."""
ID_BYTES = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildConfig:
    """What an index has to reach, and within what.

    Raises:
        ConfigError: a recall that is not above 0 and at most 1, or no memory.
    """

    target_recall: float = TARGET_RECALL
    """Share of the 10 nearest that is to be found; tuned on held-out vectors."""
    memory_gb: float = MEMORY_GB
    """What an index that ``auto`` chooses may take."""
    device: str = "cpu"
    """``cpu``, or ``cuda`` where the GPU build of FAISS is installed."""

    def __post_init__(self) -> None:
        if not 0 < self.target_recall <= 1:
            raise ConfigError(
                f"Found a recall of {self.target_recall:g}, expected a share above 0, at most 1."
            )
        if not self.memory_gb > 0:
            raise ConfigError(
                f"Found {self.memory_gb:g} GB of memory for an index, expected more than 0."
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """An index that is to be built."""

    kind: str
    factory: str
    """What ``faiss.index_factory`` makes it of."""
    bytes: int
    """What it will take of memory and disk, about."""
    reason: str
    """Why this kind, in words."""


def plan_index(n: int, dim: int, kind: Kind = "auto", memory_gb: float = MEMORY_GB) -> Plan:
    """The index that so many vectors get.

    Args:
        n: How many vectors.
        dim: Their width.
        kind: ``auto`` is exact up to 50,000 vectors and inverted lists above, of 8-bit codes of
            each value, or of fewer codes where these do not fit into the memory.
        memory_gb: What an index that ``auto`` chooses may take.

    >>> plan_index(1_000_000, 384).factory, plan_index(1_000_000, 384, memory_gb=0.1).factory
    ('IVF4000,SQ8', 'IVF4000,PQ64np')
    >>> plan_index(1_000, 384).kind
    'flat'
    """
    if kind != "auto":
        reason = why_exact(kind, n)
        return _plan("flat" if reason else kind, n, dim, reason or f"{kind} was asked for")
    most = memory_gb * 1e9
    for name in ("flat",) if n <= FLAT_UP_TO else ("ivf", "ivfpq"):
        plan = _plan(name, n, dim, "")
        if plan.bytes <= most:
            break
    else:
        plan = min((_plan("ivfpq", n, dim, "", parts) for parts in _parts(dim)), key=_bytes)
        for parts in _parts(dim):
            other = _plan("ivfpq", n, dim, "", parts)
            if other.bytes <= most:
                plan = other
                break
    fits = "" if plan.bytes <= most else ", more than was allowed: nothing smaller searches well"
    why = (
        f"up to {FLAT_UP_TO:,} vectors exact search is fast enough"
        if plan.kind == "flat"
        else f"{n:,} vectors"
    )
    size = f"{plan.factory} takes about {plan.bytes / 1e6:,.0f} MB of {memory_gb:g} GB{fits}"
    return Plan(kind=plan.kind, factory=plan.factory, bytes=plan.bytes, reason=f"{why}; {size}")


def why_exact(kind: Kind, n: int) -> str:
    """Why an index of a kind is built as an exact one of so many vectors; empty where it is not.

    >>> why_exact("ivf", 100)
    'ivf needs 156 vectors to train on, there are 100: built flat, which is exact'
    """
    needed = TRAINING_VECTORS.get(kind, 0)
    if n >= needed:
        return ""
    return (
        f"{kind} needs {needed:,} vectors to train on, there are {n:,}: built flat, which is exact"
    )


def _plan(kind: str, n: int, dim: int, reason: str, parts: int | None = None) -> Plan:
    n_lists = max(4, min(int(4 * n**0.5), n // MIN_TRAINING_PER_LIST))
    lists = n_lists * dim * 4
    parts = parts or _parts(dim)[0]
    factory, size = {
        "flat": ("IDMap,Flat", n * (4 * dim + ID_BYTES)),
        "ivf": (f"IVF{n_lists},SQ8", n * (dim + ID_BYTES) + lists),
        "ivfpq": (f"IVF{n_lists},PQ{parts}np", n * (parts + ID_BYTES) + lists + 1024 * dim),
        "hnsw": (f"IDMap,HNSW{HNSW_LINKS},SQ8", n * (dim + ID_BYTES + 9 * HNSW_LINKS)),
    }[kind]
    return Plan(kind=kind, factory=factory, bytes=size, reason=reason)


def _parts(dim: int) -> list[int]:
    """Numbers of 8-bit codes that a vector may be cut into, most first."""
    return [parts for parts in (64, 48, 32, 16, 8, 4, 2, 1) if dim % parts == 0]


def _bytes(plan: Plan) -> int:
    return plan.bytes
