"""Arrays of many items on disk, some dozens of items to a file.

A folder of safetensors files, each with the items of one shard behind each other per
name, and how long each is. A file appears under its name only when complete, so what
was written before a kill is kept, and reading maps the file. Its hash is compared when a
process opens it: what a bad disk has changed is named and not learned from.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from usad_workbench.core.errors import CheckpointError
from usad_workbench.core.models.hashed_tensors import (
    has_hash,
    open_hashed,
    read_unchecked,
    save_hashed,
)

ITEMS_PER_SHARD = 64
_MAX_OPEN = 4096
"""Opening reads a whole file, which takes a thousand times as long as reading an item, and
batches are random: what is open stays so. An open file is a mapping, no descriptor."""


class Shards:
    """Named arrays per item; the first axis is time and may differ between items."""

    def __init__(self, folder: Path, n_items: int) -> None:
        self.folder, self.n_items = folder, n_items
        self._open: dict[int, tuple[dict[str, Tensor], dict[str, list[int]]]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Another process opens files of its own."""
        return {**self.__dict__, "_open": {}}

    def missing(self) -> list[range]:
        """The items of the shards that are not there yet, or say no hash of what they hold."""
        starts = range(0, self.n_items, ITEMS_PER_SHARD)
        return [
            range(start, min(start + ITEMS_PER_SHARD, self.n_items))
            for start in starts
            if not has_hash(self._path(start))
        ]

    @staticmethod
    def is_part(n_items: int) -> bool:
        """Whether a shard has room behind this many items."""
        return n_items < ITEMS_PER_SHARD

    def write(self, start: int, items: Sequence[Mapping[str, Tensor]]) -> None:
        """Writes the shard whose first item is ``start``, all its items at once."""
        tensors: dict[str, Tensor] = {}
        for name in items[0]:
            tensors[name] = torch.cat([item[name] for item in items]).contiguous()
            tensors[f"n:{name}"] = torch.tensor([len(item[name]) for item in items])
        save_hashed(self._path(start), tensors, self._purpose(start))

    def read(self, item: int, names: Sequence[str]) -> dict[str, Tensor]:
        """The named arrays of one item.

        Raises:
            CheckpointError: the shard is missing or damaged.
        """
        start = item - item % ITEMS_PER_SHARD
        tensors, ends = self._file(start)
        arrays: dict[str, Tensor] = {}
        for name in names:
            if name not in ends or item - start >= len(ends[name]):
                raise CheckpointError(
                    f"{self._path(start)} has no {name} of item {item}. Delete it and start again "
                    "with --resume; it will be computed anew."
                )
            last = ends[name][item - start]
            first = ends[name][item - start - 1] if item > start else 0
            arrays[name] = tensors[name][first:last].clone()
        return arrays

    def empty(self, name: str) -> list[int]:
        """The items without anything in this array; of each shard only the lengths are read.

        Raises:
            CheckpointError: a shard is missing or damaged.
        """
        rows: list[int] = []
        for start in range(0, self.n_items, ITEMS_PER_SHARD):
            lengths = read_unchecked(self._path(start), f"n:{name}")
            rows += [start + int(row) for row in (lengths == 0).nonzero().flatten()]
        return rows

    def _file(self, start: int) -> tuple[dict[str, Tensor], dict[str, list[int]]]:
        if start not in self._open:
            if len(self._open) >= _MAX_OPEN:
                self._open.pop(next(iter(self._open)))
            tensors = open_hashed(self._path(start), self._purpose(start))
            ends = {n[2:]: t.cumsum(0).tolist() for n, t in tensors.items() if n.startswith("n:")}
            self._open[start] = (tensors, ends)
        return self._open[start]

    def _path(self, start: int) -> Path:
        return self.folder / f"{start:08d}.safetensors"

    def _purpose(self, start: int) -> str:
        # The folder's name is the key of its content.
        return f"{self.folder.name}/{start}"
