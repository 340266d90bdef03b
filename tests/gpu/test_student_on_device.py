"""The student on an accelerator, or on the CPU where there is none; needs torch and pytest alone."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from usad_workbench.core.models.sizes import PUBLISHED_SIZES, SIZES, StudentConfig
from usad_workbench.core.models.student import Student, build_student
from usad_workbench.workbench.speed.accelerator import synthetic_trainer

TINY = StudentConfig(dim=64, n_layers=4, n_heads=4, pos_groups=4, conv_channels=8, dropout=0.0)
LENGTHS = [48_000, 16_000, 33_333]


def batch(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    samples = torch.randn(3, 48_000, generator=generator) * 0.1
    return samples.to(device), torch.tensor(LENGTHS).to(device)


def config_of(size: str, device: torch.device) -> StudentConfig:
    """A published size; on the CPU as narrow and shallow as ``TINY``."""
    if device.type == "cuda":
        return SIZES[size]
    return replace(TINY, dropout=0.1, frame_rate_hz=SIZES[size].frame_rate_hz)


def relative(ours: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((ours.double() - wanted.double()).norm() / wanted.double().norm())


@pytest.mark.parametrize("size", PUBLISHED_SIZES)
def test_forward_and_backward_in_half_precision(size: str, device: torch.device) -> None:
    with device:
        student = Student(config_of(size, device))
    student.checkpoint_activations(True)
    samples, n_valid = batch(device)
    with torch.autocast(device.type, torch.bfloat16):
        output = student(samples, n_valid)
    is_valid = torch.arange(output.x.shape[1], device=device) < output.n_valid[:, None]
    sum(frames[is_valid].float().square().mean() for frames in output.ffn).backward()
    gradients = [p.grad for n, p in student.named_parameters() if not n.startswith("final_norm")]
    assert all(g is not None and bool(g.isfinite().all()) for g in gradients)
    assert all(bool(g.any()) for g in gradients)


@pytest.mark.parametrize("is_built_there", [True, False])
def test_equals_the_processor(device: torch.device, is_built_there: bool) -> None:
    student = build_student(TINY).eval()
    samples, n_valid = batch(device)
    with torch.no_grad():
        wanted = student(samples.cpu(), n_valid.cpu())
        weights = student.state_dict()
        if is_built_there:
            with device:
                student = Student(TINY).eval()
            student.load_state_dict(weights)
        ours = student.to(device)(samples, n_valid)
    for row, n in enumerate(wanted.n_valid.tolist()):
        assert relative(ours.x[row, :n].cpu(), wanted.x[row, :n]) < 1e-3  # TF32 convolutions
        torch.testing.assert_close(ours.mel[row].cpu(), wanted.mel[row], atol=1e-3, rtol=0)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-3), (torch.bfloat16, 0.03)])
def test_padded_equals_alone(dtype: torch.dtype, tolerance: float, device: torch.device) -> None:
    student = build_student(TINY).eval().to(device).to(dtype)
    samples, n_valid = batch(device)
    with torch.no_grad():
        together = student(samples, n_valid)
        for row, length in enumerate(LENGTHS):
            alone = student(samples[row : row + 1, :length]).x[0]
            assert relative(together.x[row, : len(alone)], alone) < tolerance


def test_compiled_equals_eager(device: torch.device) -> None:
    student = build_student(TINY).eval().to(device)
    # One graph is what matters; kernels of the CPU would take a compiler and half a minute.
    backend = "inductor" if device.type == "cuda" else "eager"
    compiled = torch.compile(student, fullgraph=True, backend=backend)
    samples, n_valid = batch(device)
    with torch.no_grad():
        wanted, ours = student(samples, n_valid), compiled(samples, n_valid)
    for row, n in enumerate(wanted.n_valid.tolist()):
        assert relative(ours.x[row, :n], wanted.x[row, :n]) < 1e-3


def test_a_trainer_steps_and_goes_on_from_its_checkpoint(
    tmp_path: Path, device: torch.device
) -> None:
    """Sums on an accelerator have no fixed order, so the losses agree to a tolerance."""
    batch_s = 40.0 if device.type == "cuda" else 10.0
    whole = synthetic_trainer(TINY, batch_s, tmp_path / "whole", 6, device.type)
    losses = []
    for _ in range(6):
        whole.step()
        whole.read()
        losses.append(whole.state.loss)
        if whole.state.step == 3:
            checkpoint = whole.save()
    assert losses[-1] < losses[0]
    resumed = synthetic_trainer(TINY, batch_s, tmp_path / "resumed", 6, device.type)
    resumed.restore(checkpoint)
    for step in range(3, 6):
        resumed.step()
        resumed.read()
        assert resumed.state.loss == pytest.approx(losses[step], rel=1e-2)
