"""The tensors of model files: safetensors, or what torch reads with ``weights_only``."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from usad_workbench.core.encoders.foreign import describe_error
from usad_workbench.core.encoders.quiet import without_meant_warnings
from usad_workbench.core.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor


def read_tensors(
    weights: list[Path], prefixes: tuple[str, ...] = ("",), wanted: set[str] | None = None
) -> dict[str, Tensor]:
    """The tensors of a model, or of a part of a larger one under the part's own names.

    Args:
        weights: The files that hold them.
        prefixes: Beginnings of the part's names.
        wanted: The part's own names; all where none.

    Raises:
        WeightsError: a damaged file.
    """
    found: dict[str, Tensor] = {}
    for path in weights:
        try:
            found |= _read_file(path, prefixes, wanted)
        except Exception as error:  # each format has errors of its own
            raise WeightsError(
                f"{path} is damaged: {describe_error(error)}. Get it again."
            ) from error
    return found


def _read_file(path: Path, prefixes: tuple[str, ...], wanted: set[str] | None) -> dict[str, Tensor]:
    import torch
    from safetensors import safe_open

    if path.suffix == ".safetensors":
        with safe_open(path, framework="pt") as file:
            names = _within(file.keys(), prefixes, wanted)
            return {ours: file.get_tensor(theirs) for theirs, ours in names.items()}
    # Files of older versions of torch are no archives and cannot be mapped.
    is_archive = zipfile.is_zipfile(path)
    with without_meant_warnings():
        tensors = torch.load(path, map_location="cpu", weights_only=True, mmap=is_archive)
    names = _within(tensors, prefixes, wanted)
    return {ours: tensors[theirs] for theirs, ours in names.items()}


def _within(names: Any, prefixes: tuple[str, ...], wanted: set[str] | None) -> dict[str, str]:
    """Names in a checkpoint and in the part of it that is wanted."""
    pairs = {
        name: name.removeprefix(prefix)
        for name in names
        for prefix in prefixes
        if name.startswith(prefix) and (wanted is None or name.removeprefix(prefix) in wanted)
    }
    return pairs
