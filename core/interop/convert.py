"""Published students as students of ours: matched by name and shape, accepted by their numbers.

No list of the published names is at hand, so nothing is assumed about them: shapes tell what
they can, a map tells the rest, and the result is only kept if every block of our student gives
what the repository's own code gives.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from usad_workbench.core.clips import Clip, ClipBatch
from usad_workbench.core.config import parse_config
from usad_workbench.core.encoders.hub.snapshots import weight_files
from usad_workbench.core.encoders.hub.tensors import read_tensors
from usad_workbench.core.encoders.registry import load_encoder, model_folder
from usad_workbench.core.errors import ConfigError, ProvenanceError, WeightsError
from usad_workbench.core.files import new_folder, write_whole
from usad_workbench.core.interop.names import match_names, template
from usad_workbench.core.models.checkpoint import assign_weights, save_student
from usad_workbench.core.models.encoder import TargetKind
from usad_workbench.core.models.sizes import SIZES, StudentConfig
from usad_workbench.core.models.student import Student, StudentEncoder, build_student

if TYPE_CHECKING:
    from torch import Tensor

    from usad_workbench.core.models.encoder import Encoder

TOLERANCE = 1e-4
"""Of each block's output, relative to its norm, in single precision."""
CHECK_S = 2.0
"""Of noise, on which both are compared."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NameMap:
    """What shapes cannot tell; strict TOML."""

    size: str = ""
    """A published size; or ``student`` says all."""
    student: dict[str, Any] = field(default_factory=dict)
    """Keys of ``StudentConfig`` beside, or instead of, those of the size."""
    names: dict[str, str] = field(default_factory=dict)
    """Family of ours to family of theirs, with ``{i}`` for the number of the block."""
    unused: tuple[str, ...] = ()
    """Families of theirs that the student has no use for."""


def read_map(path: str | Path) -> NameMap:
    """The map in a file.

    Raises:
        ConfigError: no TOML, or other keys.
    """
    try:
        table = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}. Expected a map in TOML.") from error
    # Inside [names], where a person who fills in a template leaves it.
    names = table.get("names")
    if isinstance(names, dict) and "unused" in names:
        table["unused"] = names.pop("unused")
    # Checked with the size, which gives what it leaves out.
    student = table.pop("student", {})
    return replace(parse_config(NameMap, table, source=str(path)), student=student)


def student_config(given: NameMap) -> StudentConfig:
    """The architecture that a map describes.

    Raises:
        ConfigError: no such size, or other keys.

    >>> student_config(NameMap(size="base", student={"n_layers": 2})).n_layers
    2
    """
    if given.size and given.size not in SIZES:
        raise ConfigError(f"Found the size {given.size!r}, expected one of {', '.join(SIZES)}.")
    known = SIZES[given.size or "base"]
    table = {name: getattr(known, name) for name in StudentConfig.__dataclass_fields__}
    return parse_config(StudentConfig, table | given.student, source="the map's [student]")


def write_map(folder: str | Path, path: str | Path, given: NameMap) -> None:
    """Writes a map to fill in for a checkpoint.

    Raises:
        WeightsError: a folder without weights.
        ConfigError: a file that exists.
    """
    target = Path(path)
    if target.exists():
        raise ConfigError(f"{target} exists. Name a new file: nothing is overwritten.")
    config = student_config(given)
    text = template(
        _shapes(_ours(config)), _shapes(_tensors(model_folder(str(folder)))), given.names
    )
    write_whole(target, _head(given) + text)


def _head(given: NameMap) -> str:
    """The tables in front of the names, as they were given.

    >>> print(_head(NameMap(size="base", student={"n_layers": 2, "block_norm": True})))
    size = "base"
    <BLANKLINE>
    [student]
    n_layers = 2
    block_norm = true
    <BLANKLINE>
    <BLANKLINE>
    """
    lines = [f'size = "{given.size or "base"}"', ""]
    if given.student:
        # Numbers, truth values and text of JSON are those of TOML.
        lines += ["[student]", *(f"{k} = {json.dumps(v)}" for k, v in given.student.items()), ""]
    return "\n".join([*lines, ""])


def convert(folder: str | Path, given: NameMap, out: str | Path, licence: str) -> float:
    """Makes a student folder of a published checkpoint.

    Args:
        folder: Repository with its own code, which has to be trusted
            (``usad_workbench.core.encoders.trust``); or its name, once it is fetched.
        given: What shapes cannot tell.
        out: A new folder, as ``usad train`` writes one: ``run:OUT`` names it.
        licence: Of the weights.

    Returns:
        The largest relative difference of a block's output.

    Raises:
        WeightsError: a folder without weights.
        ConfigError: names that are not told, code that is not trusted, an ``out`` that exists.
        ProvenanceError: outputs that differ; nothing is kept.
    """
    source = model_folder(str(folder))
    published = load_encoder(f"hf:{source}")
    student = _ours(student_config(given))
    tensors = _tensors(source)
    names = match_names(_shapes(student), _shapes(tensors), given.names, given.unused)
    assign_weights(student, {mine: tensors[other].float() for mine, other in names.items()})
    difference = _largest_difference(student, published)
    provenance = {
        "name": Path(out).name,
        "licence": licence,
        "converted_from": source.name,
        "converted_sha256": published.weights_sha256,
        "largest_difference": difference,
    }
    with new_folder(out) as partial:
        save_student(partial / "student", student, None, provenance)
        for path in (partial / "student").iterdir():
            path.rename(partial / path.name)
        (partial / "student").rmdir()
    return difference


def _largest_difference(student: Student, published: Encoder) -> float:
    ours = StudentEncoder(student, name="converted", weights_sha256="")
    n_layers = student.config.n_layers
    if published.spec.n_layers != n_layers:
        raise ProvenanceError(
            f"The repository's code gives {published.spec.n_layers} layers, the map's student has "
            f"{n_layers}. Correct the size."
        )
    rate = ours.spec.sample_rate_hz
    samples = np.random.default_rng(0).normal(scale=0.1, size=round(CHECK_S * rate))
    clip = Clip(samples=samples.astype(np.float32), sample_rate_hz=rate)
    # Layer 0 of a published student is the log-mel, of ours what enters the first block.
    layers, batch = tuple(range(1, n_layers + 1)), ClipBatch.from_clips([clip])
    largest = 0.0
    compared = [(one, kind) for one in layers for kind in ("ffn", "block")]
    for layer, kind in [*compared, (n_layers, "output")]:
        found, expected = (
            one.features(batch, (layer,), cast(TargetKind, kind)).frames[0]
            for one in (ours, published)
        )
        if found.shape != expected.shape:
            raise ProvenanceError(
                f"The {kind} of layer {layer} has shape {tuple(found.shape)}, the repository's code gives "
                f"{tuple(expected.shape)}. It is another architecture: nothing was written."
            )
        difference = float((found - expected).norm() / expected.norm())
        if not difference <= TOLERANCE:
            raise ProvenanceError(
                f"The {kind} of layer {layer} differs from what the repository's code gives by "
                f"{difference:.1e} of its norm, at most {TOLERANCE:g} was expected. Two names "
                "are exchanged in the map, or the architecture is another: nothing was written."
            )
        largest = max(largest, difference)
    return largest


def _ours(config: StudentConfig) -> Student:
    return build_student(config).eval()


def _tensors(folder: Path) -> dict[str, Tensor]:
    found = read_tensors(weight_files(folder))
    if not found:
        raise WeightsError(
            f"{folder} holds no weights. Expected model.safetensors, its shards, or "
            "pytorch_model.bin beside config.json."
        )
    return found


def _shapes(tensors: Student | Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    named = tensors.state_dict() if isinstance(tensors, Student) else tensors
    return {name: tuple(tensor.shape) for name, tensor in named.items()}
