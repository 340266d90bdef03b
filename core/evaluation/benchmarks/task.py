"""What every published benchmark comes down to: files, labels, official splits, a metric."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from usad_workbench.core.errors import ConfigError
from usad_workbench.core.probes.folds import Codes
from usad_workbench.core.probes.scores import ScoreMetric, Truth

Mode = Literal["frozen", "fine-tuned"]


class BenchmarkError(ConfigError):
    """A folder that is not the benchmark's layout; the message says what is missing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One file of a benchmark."""

    path: Path
    labels: tuple[str, ...]
    """One, or any number where the task has several labels per clip."""
    part: str
    """The official fold or split that the file belongs to."""
    cluster: str
    """The recording that it was cut from, where the benchmark says so; else itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """One training, validation and test set, as names of parts."""

    train: tuple[str, ...]
    valid: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """A number from a paper, for the same task and mode."""

    model: str
    value: float
    source: str


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchmarkTask:
    """One task with its official splits."""

    name: str
    items: tuple[Item, ...]
    splits: tuple[Split, ...]
    metric: ScoreMetric
    has_several_labels: bool = False
    fine_tunes: bool = False
    """Whether it is also evaluated with the whole student trained."""
    classes: tuple[str, ...] = ()
    """All classes in order; those that occur where empty."""
    published: Mapping[Mode, tuple[Published, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    """What differs from the official data, such as files that are missing."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes in the order of their numbers."""
        return self.classes or tuple(sorted({label for i in self.items for label in i.labels}))

    def truth(self, rows: Sequence[int] | None = None) -> Truth:
        """Class numbers `[clip]`, or indicators `[clip, class]` with several labels.

        Args:
            rows: Places of the items; all where none.

        Raises:
            BenchmarkError: a label that is no class.
        """
        number_of = {name: number for number, name in enumerate(self.class_names)}
        items = [self.items[i] for i in rows] if rows is not None else list(self.items)
        unknown = sorted({label for i in items for label in i.labels} - set(number_of))
        if unknown:
            raise BenchmarkError(
                f"{self.name} has {len(unknown)} labels that its list of classes does not name, "
                f"such as {unknown[0]!r}. Use labels and classes of one release."
            )
        if not self.has_several_labels:
            return np.array([number_of[i.labels[0]] for i in items], dtype=np.intp)
        table = np.zeros((len(items), len(number_of)), dtype=np.bool_)
        for row, item in zip(table, items, strict=True):
            row[[number_of[label] for label in item.labels]] = True
        return table

    def untestable(self) -> str:
        """Why nothing could be learned on one part and tested on another; empty where it can."""
        if len({frozenset(item.labels) for item in self.items}) < 2:
            return f"all {len(self.items)} clips are of one class"
        for split in self.splits:
            trained, asked = (
                {label for item in self.items if item.part in parts for label in item.labels}
                for parts in ((*split.train, *split.valid), split.test)
            )
            if trained and asked and not trained & asked:
                return f"no class of the test clips ({', '.join(split.test)}) is trained on"
        return ""

    def rows(self, parts: Sequence[str]) -> Codes:
        """Places of the items of some parts."""
        return np.array([i for i, x in enumerate(self.items) if x.part in parts], dtype=np.intp)


@dataclass(frozen=True, kw_only=True, slots=True)
class Unsupported:
    """A task of the folder that is not evaluated here, and why."""

    name: str
    reason: str


def rotating_splits(parts: Sequence[str]) -> tuple[Split, ...]:
    """Each part tests once, the next one validates, the rest trains: HEAR's rule for folds.

    Source: hear-eval-kit (arXiv:2203.03022).

    Raises:
        BenchmarkError: fewer than 3 parts.

    >>> rotating_splits(["2", "1", "3"])[0]
    Split(train=('3',), valid=('2',), test=('1',))
    """
    names = sorted(set(parts))
    if len(names) < 3:
        raise BenchmarkError(
            f"Found the folds {names}, expected at least 3: one tests, one validates, the rest "
            "train. Check that the fold column is complete."
        )
    n = len(names)
    return tuple(
        Split(
            train=tuple(x for x in names if x not in (names[k], names[(k + 1) % n])),
            valid=(names[(k + 1) % n],),
            test=(names[k],),
        )
        for k in range(n)
    )


FIXED_SPLIT = (Split(train=("train",), valid=("valid",), test=("test",)),)


def require(path: Path, what: str) -> Path:
    """The path, if it is there.

    Raises:
        BenchmarkError: it is not.
    """
    if not path.exists():
        raise BenchmarkError(
            f"{path} is missing. Expected {what}. Point --data at a complete copy of the data set."
        )
    return path


def require_files(name: str, items: Sequence[Item]) -> None:
    """Refuses a copy in which files that the official lists name are missing.

    Raises:
        BenchmarkError: files are missing; their number and the first are named.
    """
    missing = [item.path for item in items if not item.path.is_file()]
    if missing or not items:
        first = f", the first is {missing[0]}" if missing else ""
        raise BenchmarkError(
            f"{name}: {len(missing)} of {len(items)} listed audio files are missing{first}. "
            "Expected all of them, or the numbers would not compare. Complete the copy."
        )
