"""Students on disk: a folder with weights, heads and a description, written at once.

A folder holds ``model.safetensors`` and ``config.json``, and, where the run goes on,
``heads.safetensors``. Never pickles. It appears under its name only when complete, and
its description holds the sha256 of each file beside it, so that a damaged one is
refused rather than used.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from usad_workbench.core.config import config_to_dict, parse_config
from usad_workbench.core.errors import CheckpointError, ConfigError
from usad_workbench.core.files import sha256_of_file
from usad_workbench.core.models.heads import Heads, HeadSpec
from usad_workbench.core.models.sizes import StudentConfig
from usad_workbench.core.models.spec import licence_of_record
from usad_workbench.core.models.student import Student, StudentEncoder

FORMAT = "usad-student"
VERSION = 1
MODEL_FILE, HEADS_FILE, CONFIG_FILE = "model.safetensors", "heads.safetensors", "config.json"
CHECKPOINTS = "checkpoints"
SHIPPED = Path(__file__).parent / "shipped"
"""The student that comes with this package."""

DType = Literal["float32", "float16", "bfloat16"]
_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, kw_only=True, slots=True)
class StudentFolder:
    """What ``config.json`` says, checked."""

    folder: Path
    config: StudentConfig
    heads: tuple[HeadSpec, ...]
    provenance: dict[str, Any]
    """Name, licence, teachers, data, steps and whatever else the writer recorded."""
    sha256: dict[str, str]
    """Of each file beside."""


def save_student(
    folder: str | Path,
    student: Student,
    heads: Heads | None,
    provenance: Mapping[str, Any],
    dtype: DType = "float32",
    extra: Mapping[str, Mapping[str, Tensor]] | None = None,
) -> Path:
    """Writes a student's folder, replacing one of that name only when complete.

    Args:
        folder: Where to; its parents are made.
        student: Its weights are written in ``dtype``.
        heads: Left out where none.
        provenance: Recorded as it is; ``name`` and ``licence`` name the encoder.
        dtype: Of floating-point weights on disk.
        extra: More files of tensors by file name, e.g. the optimiser's; not converted.
    """
    folder = Path(folder)
    partial = folder.with_name(f".{folder.name}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_file(_weights(student, dtype), partial / MODEL_FILE)
    if heads is not None:
        save_file(_weights(heads, dtype), partial / HEADS_FILE)
    for name, tensors in (extra or {}).items():
        save_file(
            {key: t.detach().cpu().contiguous() for key, t in tensors.items()}, partial / name
        )
    description = {
        "format": FORMAT,
        "version": VERSION,
        "dtype": dtype,
        "student": config_to_dict(student.config),
        "heads": [config_to_dict(spec) for spec in heads.specs] if heads is not None else [],
        "sha256": {p.name: sha256_of_file(p) for p in sorted(partial.glob("*.safetensors"))},
        "provenance": dict(provenance),
    }
    text = json.dumps(description, indent=2, ensure_ascii=False)
    (partial / CONFIG_FILE).write_text(text + "\n", encoding="utf-8")
    if folder.exists():
        old = folder.with_name(f".{folder.name}.old-{os.getpid()}")
        os.replace(folder, old)
        os.replace(partial, folder)
        shutil.rmtree(old)
    else:
        os.replace(partial, folder)
    return folder


def read_student_folder(folder: str | Path) -> StudentFolder:
    """What a student's folder says, without its weights.

    Raises:
        CheckpointError: no such folder, not a student's, or of a newer version.
    """
    folder = Path(folder)
    try:
        description = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        if not isinstance(description, dict) or "format" not in description:
            raise CheckpointError(
                f"{folder} is no folder of a student: its {CONFIG_FILE} is that of another model. "
                f"Expected the folder of a run or of an exported student. A model of transformers "
                f"is named hf:{folder}."
            )
        found = (description["format"], description["version"])
        if found != (FORMAT, VERSION):
            raise CheckpointError(
                f"{folder} is of format {found[0]} {found[1]}, expected {FORMAT} {VERSION}. "
                "Use the version of this package that wrote it."
            )
        source = str(folder / CONFIG_FILE)
        specs = [parse_config(HeadSpec, head, source=source) for head in description["heads"]]
        return StudentFolder(
            folder=folder,
            config=parse_config(StudentConfig, description["student"], source=source),
            heads=tuple(specs),
            provenance=_with_licence(description["provenance"]),
            sha256={str(name): str(value) for name, value in description["sha256"].items()},
        )
    except KeyError as error:
        raise CheckpointError(
            f"{folder / CONFIG_FILE} has no entry {error}, expected what save_student writes. "
            "Write the checkpoint again."
        ) from error
    except (OSError, ValueError, TypeError, ConfigError) as error:
        raise CheckpointError(
            f"{folder} is no folder of a student: {error}. Expected {CONFIG_FILE} and "
            f"{MODEL_FILE} as save_student writes them."
        ) from error


def _with_licence(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """A record as it is, with the licence that its teachers leave."""
    if "licence" not in provenance:
        return dict(provenance)
    return {**provenance, "licence": licence_of_record(provenance, "")}


def load_student(folder: str | Path = SHIPPED, name: str | None = None) -> StudentEncoder:
    """A student as an encoder, in float32; the shipped one by default.

    Args:
        folder: As written by ``save_student``.
        name: Of the encoder; the recorded one where none.

    Raises:
        CheckpointError: damaged, incomplete or not a student's folder.
    """
    described = read_student_folder(folder)
    with torch.device("meta"):
        student = Student(described.config)
    restore_weights(student, described, MODEL_FILE)
    return StudentEncoder(
        student,
        name=name or str(described.provenance.get("name", Path(folder).name)),
        weights_sha256=described.sha256[MODEL_FILE],
        licence=licence_of_record(described.provenance, "not said"),
    )


def load_heads(folder: str | Path) -> Heads:
    """The heads that a student was trained with, with the statistics of their targets.

    Raises:
        CheckpointError: damaged, or a folder without heads.
    """
    described = read_student_folder(folder)
    heads = Heads(described.heads)
    restore_weights(heads, described, HEADS_FILE)
    return heads


def read_tensors(described: StudentFolder, name: str) -> dict[str, Tensor]:
    """The tensors of one file, its sha256 checked.

    Raises:
        CheckpointError: missing or changed.
    """
    path = described.folder / name
    expected = described.sha256.get(name)
    if expected is None or not path.is_file():
        raise CheckpointError(
            f"{described.folder} has no {name}. It was written without, or is incomplete; "
            "use another checkpoint."
        )
    found = sha256_of_file(path)
    if found != expected:
        raise CheckpointError(
            f"{path} has sha256 {found}, {CONFIG_FILE} expects {expected}. The file is damaged "
            "or was changed; use another checkpoint."
        )
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except SafetensorError as error:
        raise CheckpointError(f"{path} cannot be read: {error}. Use another checkpoint.") from error
    return tensors


def restore_weights(module: nn.Module, described: StudentFolder, name: str) -> None:
    """Puts a file's weights, as float32, into a module, which may be on the meta device.

    Raises:
        CheckpointError: other names or shapes than the module's.
    """
    tensors = {key: tensor.float() for key, tensor in read_tensors(described, name).items()}
    try:
        assign_weights(module, tensors)
    except RuntimeError as error:
        raise CheckpointError(f"{described.folder / name} does not fit: {error}") from error


def assign_weights(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Makes tensors the weights of a module, which may be on the meta device; no copy.

    Raises:
        RuntimeError: other names or shapes than the module's.
    """
    module.load_state_dict(tensors, assign=True)
    if isinstance(module, Student):
        # The front end has no weights, so a meta device left it without values.
        module.log_mel = type(module.log_mel)(module.log_mel.config)


def find_checkpoint(run_dir: str | Path, step: int | None = None) -> Path:
    """The folder of a run's last complete checkpoint, or of the one at a step.

    Raises:
        CheckpointError: not a run, no checkpoint yet, or none at that step.
    """
    folder = Path(run_dir) / CHECKPOINTS
    steps = list_checkpoints(run_dir)
    if not steps:
        raise CheckpointError(
            f"{run_dir} has no checkpoint, expected {folder}/step-N. Name the folder of a run, "
            "or wait for its first checkpoint."
        )
    if step is not None and step not in steps:
        raise CheckpointError(
            f"{run_dir} has no checkpoint at step {step}; there are {sorted(steps)}. Name one."
        )
    return steps[max(steps) if step is None else step]


def list_checkpoints(run_dir: str | Path) -> dict[int, Path]:
    """The complete checkpoints of a run by step."""
    found = Path(run_dir, CHECKPOINTS).glob("step-*")
    return {
        int(path.name.removeprefix("step-")): path
        for path in found
        if path.name.removeprefix("step-").isdecimal() and (path / CONFIG_FILE).is_file()
    }


def delete_checkpoint(folder: Path) -> None:
    """Deletes a checkpoint; killed on the way, what is left is no checkpoint any more."""
    for path in sorted(folder.iterdir(), key=lambda p: p.name != CONFIG_FILE):
        path.unlink()
    folder.rmdir()


def delete_partial(run_dir: str | Path) -> None:
    """Deletes what killed processes left of folders that they wrote or deleted.

    For a run that no other process is working on.
    """
    folder = Path(run_dir) / CHECKPOINTS
    complete = set(list_checkpoints(run_dir).values())
    left = [*folder.glob("step-*"), *folder.glob(".*-*"), *Path(run_dir).glob(".*.partial-*")]
    for path in left:
        if path.is_dir() and path not in complete:
            shutil.rmtree(path)


def _weights(module: nn.Module, dtype: DType) -> dict[str, Tensor]:
    # Buffers (statistics of targets) keep float32: they may span what half precision cannot.
    converted = {name for name, _ in module.named_parameters()}
    return {
        name: tensor.detach().cpu().to(_DTYPES[dtype] if name in converted else tensor.dtype)
        for name, tensor in module.state_dict().items()
    }
