"""The HEAR API: its own validator, its definition, and times that are where they say."""

import importlib.machinery
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from usad_workbench.core.errors import UnknownNameError
from usad_workbench.core.interop import hear
from usad_workbench.core.interop.source import open_student

MODULE = "usad_workbench.core.interop.hear"


def test_the_hear_validator_passes(student_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """hearvalidator 2021.0.2, unchanged; of tensorflow it needs one class to compare with."""
    tensorflow = ModuleType("tensorflow")
    tensorflow.__spec__ = importlib.machinery.ModuleSpec("tensorflow", None)
    tensorflow.Module = type("Module", (), {})  # type: ignore[attr-defined]
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "tensorflow", tensorflow)
        validate = pytest.importorskip("hearvalidator.validate")
    validate.ValidateModel(MODULE, str(student_dir), device="cpu")()


def test_the_api_as_published(student_dir: Path) -> None:
    """https://hearbenchmark.com/hear-api.html, restated for where the validator is missing."""
    model = hear.load_model(str(student_dir))
    assert isinstance(model, torch.nn.Module)
    assert model.sample_rate in (16_000, 22_050, 32_000, 44_100, 48_000)
    assert type(model.scene_embedding_size) is type(model.timestamp_embedding_size) is int
    audio = torch.rand(3, 32_000) * 2 - 1
    frames, times_ms = hear.get_timestamp_embeddings(audio, model)
    assert frames.dtype == torch.float32 and not frames.requires_grad
    assert frames.shape == (3, 50, model.timestamp_embedding_size)
    assert times_ms.shape == (3, 50)
    assert torch.diff(times_ms).unique().tolist() == [40.0]
    scenes = hear.get_scene_embeddings(audio, model)
    assert scenes.dtype == torch.float32
    assert scenes.shape == (3, model.scene_embedding_size)
    assert torch.allclose(scenes, frames.mean(1), atol=1e-6)


def test_layers_side_by_side(student_dir: Path) -> None:
    model = hear.load_model(str(student_dir), layers=(0, -1))
    audio = torch.randn(2, 8_000) * 0.1
    frames, _ = hear.get_timestamp_embeddings(audio, model)
    with torch.no_grad():
        expected = model.student(audio)
    assert torch.equal(frames[..., :32], expected.layer(0))
    assert torch.equal(frames[..., 32:], expected.layer(2))
    with pytest.raises(UnknownNameError):
        hear.load_model(str(student_dir), layers=(3,))


def test_many_and_short_clips(student_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = hear.load_model(str(student_dir))
    audio = torch.randn(5, 8_000) * 0.1
    whole = hear.get_scene_embeddings(audio, model)
    monkeypatch.setattr(hear, "MAX_BATCH_S", 1.0)
    assert torch.allclose(hear.get_scene_embeddings(audio, model), whole, atol=1e-6)
    assert hear.get_scene_embeddings(audio[:, :10], model).isfinite().all()


@torch.no_grad()
def test_times_are_the_middle_of_what_a_frame_sees(student_dir: Path) -> None:
    """A click moves the frames around its time: on average none before and none behind."""
    student = open_student(str(student_dir)).student
    background = torch.randn(1, 16_000, generator=torch.Generator().manual_seed(0)) * 0.1

    def stem(samples: torch.Tensor) -> torch.Tensor:
        frames: torch.Tensor = student.stem(*student.log_mel(samples, torch.tensor([16_000])))[0]
        return frames[0]

    quiet, offsets_ms = stem(background), []
    for sample in range(6_000, 10_000, 35):
        click = background.clone()
        click[0, sample] += 1.0
        click[0, sample + 1] -= 1.0  # together they leave the clip's mean as it is
        moved = ((stem(click) - quiet).abs().amax(1) > 1e-4).nonzero().flatten()
        times_ms = hear.frame_times_ms(student, len(quiet))[moved]
        offsets_ms += (times_ms - (sample + 1) / 16).tolist()
    offsets = torch.tensor(offsets_ms)
    assert offsets.abs().max() < 45  # half of what a frame sees at 25 Hz: 42.5 ms
    assert offsets.mean().abs() < 2
