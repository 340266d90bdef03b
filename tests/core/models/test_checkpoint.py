"""Students on disk: back as they were, or refused."""

import json
from pathlib import Path

import pytest
import torch

from usad_workbench.core.errors import CheckpointError
from usad_workbench.core.models.checkpoint import (
    find_checkpoint,
    load_heads,
    load_student,
    read_student_folder,
    save_student,
)
from usad_workbench.core.models.heads import Heads, HeadSpec
from usad_workbench.core.models.sizes import StudentConfig
from usad_workbench.core.models.student import Student, build_student

CONFIG = StudentConfig(dim=32, n_layers=2, n_heads=2, pos_groups=4, conv_channels=8)
SPEC = HeadSpec(
    teacher="voice",
    student_layer=1,
    teacher_layer=2,
    kind="ffn",
    teacher_dim=5,
    student_dim=32,
    hidden_dim=16,
)


@pytest.fixture
def student() -> Student:
    return build_student(CONFIG, seed=3).eval()


@pytest.fixture
def heads() -> Heads:
    heads = Heads((SPEC,))
    for head in heads:
        head.target_mean.fill_(1e6)  # more than half precision holds
    return heads


def test_a_student_comes_back(tmp_path: Path, student: Student, heads: Heads) -> None:
    folder = save_student(tmp_path / "deep/er", student, heads, {"name": "me", "licence": "MIT"})
    encoder = load_student(folder)
    assert (encoder.spec.name, encoder.spec.licence) == ("me", "MIT")
    samples = torch.randn(1, 8_000) * 0.1
    with torch.no_grad():
        assert torch.equal(encoder.student(samples).x, student(samples).x)
    (head,) = load_heads(folder)
    assert head.spec == SPEC and head.target_mean.tolist() == [1e6] * 5
    assert not [path for path in (tmp_path / "deep").iterdir() if path.name.startswith(".")]


def test_the_folder_of_another_model_is_called_that(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "hubert"}')
    with pytest.raises(CheckpointError, match=r"is that of another model.*hf:") as caught:
        read_student_folder(tmp_path)
    assert "'format'" not in str(caught.value)


def test_half_precision_on_disk_single_in_memory(
    tmp_path: Path, student: Student, heads: Heads
) -> None:
    whole = save_student(tmp_path / "whole", student, None, {})
    half = save_student(tmp_path / "half", student, heads, {}, dtype="float16")
    size = [(folder / "model.safetensors").stat().st_size for folder in (whole, half)]
    assert size[1] < 0.6 * size[0]
    encoder = load_student(half)
    assert {p.dtype for p in encoder.student.parameters()} == {torch.float32}
    samples = torch.randn(1, 8_000) * 0.1
    with torch.no_grad():
        difference = encoder.student(samples).x - student(samples).x
    assert difference.abs().max() < 0.02
    assert next(iter(load_heads(half))).target_mean[0] == 1e6
    with pytest.raises(CheckpointError, match="no heads"):
        load_heads(whole)


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path, student: Student, heads: Heads) -> None:
    save_student(tmp_path / "it", student, heads, {"name": "old"})
    save_student(tmp_path / "it", student, None, {"name": "new"})
    assert read_student_folder(tmp_path / "it").provenance == {"name": "new"}
    assert sorted(path.name for path in tmp_path.rglob("*.safetensors")) == ["model.safetensors"]


def test_damaged_folders_are_refused(tmp_path: Path, student: Student) -> None:
    folder = save_student(tmp_path / "it", student, None, {})
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-4] + b"\1\2\3\4")
    with pytest.raises(CheckpointError, match="sha256"):
        load_student(folder)
    weights.unlink()
    with pytest.raises(CheckpointError, match="has no model"):
        load_student(folder)
    weights.write_bytes(whole)
    described = json.loads((folder / "config.json").read_text())
    described["student"]["n_layers"] = 3
    (folder / "config.json").write_text(json.dumps(described))
    with pytest.raises(CheckpointError, match="does not fit"):
        load_student(folder)
    described["student"]["n_leyers"] = 3
    (folder / "config.json").write_text(json.dumps(described))
    with pytest.raises(CheckpointError, match="n_leyers"):
        load_student(folder)
    (folder / "config.json").write_text('{"format": "usad-student", "version": 99}')
    with pytest.raises(CheckpointError, match="99"):
        load_student(folder)
    with pytest.raises(CheckpointError, match="no folder of a student"):
        load_student(tmp_path / "absent")


def test_checkpoints_of_a_run_are_found(tmp_path: Path, student: Student) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint"):
        find_checkpoint(tmp_path)
    for step in (9, 10):
        save_student(tmp_path / f"checkpoints/step-{step}", student, None, {})
    (tmp_path / "checkpoints/.step-11.partial-1").mkdir()
    assert find_checkpoint(tmp_path).name == "step-10"
    assert find_checkpoint(tmp_path, 9).name == "step-9"
    with pytest.raises(CheckpointError, match=r"\[9, 10\]"):
        find_checkpoint(tmp_path, 11)
