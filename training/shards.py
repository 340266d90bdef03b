"""Arrays of many items on disk, some dozens of items to a file.

A folder of safetensors files, each with the items of one shard behind each other per
name, and how long each is. A file appears under its name only when complete, so what
was written before a kill is kept, and reading maps the file instead of loading it.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from usad_workbench.core.errors import CheckpointError

ITEMS_PER_SHARD = 64
_MAX_OPEN = 4096
"""Opening maps a whole file, which takes a thousand times as long as reading an item, and
batches are random: what is open stays so. An open file is a mapping, no descriptor."""


class Shards:
    """Named arrays per item; the first axis is time and may differ between items."""

    def __init__(self, folder: Path, n_items: int) -> None:
        self.folder, self.n_items = folder, n_items
        self._open: dict[int, tuple[Any, dict[str, list[int]]]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Another process opens files of its own."""
        return {**self.__dict__, "_open": {}}

    def missing(self) -> list[range]:
        """The items of the shards that are not there yet."""
        starts = range(0, self.n_items, ITEMS_PER_SHARD)
        return [
            range(start, min(start + ITEMS_PER_SHARD, self.n_items))
            for start in starts
            if not self._path(start).is_file()
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
        path = self._path(start)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        save_file(tensors, partial)
        os.replace(partial, path)

    def read(self, item: int, names: Sequence[str]) -> dict[str, Tensor]:
        """The named arrays of one item.

        Raises:
            CheckpointError: the shard is missing or damaged.
        """
        start = item - item % ITEMS_PER_SHARD
        file, ends = self._file(start)
        found: dict[str, Tensor] = {}
        for name in names:
            last = ends[name][item - start]
            first = ends[name][item - start - 1] if item > start else 0
            found[name] = file.get_slice(name)[first:last]
        return found

    def _file(self, start: int) -> tuple[Any, dict[str, list[int]]]:
        if start not in self._open:
            if len(self._open) >= _MAX_OPEN:
                self._open.pop(next(iter(self._open)))
            path = self._path(start)
            try:
                file: Any = safe_open(path, "pt")
                lengths = [name for name in file.keys() if name.startswith("n:")]  # noqa: SIM118
                ends = {n[2:]: file.get_tensor(n).cumsum(0).tolist() for n in lengths}
            except (OSError, SafetensorError) as error:
                raise CheckpointError(
                    f"{path} cannot be read: {error}. Delete it and start again with --resume; "
                    "it will be computed anew."
                ) from error
            self._open[start] = (file, ends)
        return self._open[start]

    def _path(self, start: int) -> Path:
        return self.folder / f"{start:08d}.safetensors"
