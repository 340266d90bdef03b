"""The student on an accelerator; needs torch and pytest alone."""

from pathlib import Path

import pytest
import torch

from usad_workbench.core.models.sizes import PUBLISHED_SIZES, SIZES, StudentConfig
from usad_workbench.core.models.student import Student, build_student
from usad_workbench.workbench.benchmarks.accelerator import synthetic_trainer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
]

TINY = StudentConfig(dim=64, n_layers=4, n_heads=4, pos_groups=4, conv_channels=8, dropout=0.0)
LENGTHS = [48_000, 16_000, 33_333]


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    samples = torch.randn(3, 48_000, generator=generator) * 0.1
    return samples.cuda(), torch.tensor(LENGTHS).cuda()


def relative(ours: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((ours.double() - wanted.double()).norm() / wanted.double().norm())


@pytest.mark.parametrize("size", PUBLISHED_SIZES)
def test_forward_and_backward_in_half_precision(size: str) -> None:
    with torch.device("cuda"):
        student = Student(SIZES[size])
    student.checkpoint_activations(True)
    samples, n_valid = batch()
    with torch.autocast("cuda", torch.bfloat16):
        output = student(samples, n_valid)
    is_valid = torch.arange(output.x.shape[1], device="cuda") < output.n_valid[:, None]
    sum(frames[is_valid].float().square().mean() for frames in output.ffn).backward()
    gradients = [p.grad for n, p in student.named_parameters() if not n.startswith("final_norm")]
    assert all(g is not None and bool(g.isfinite().all()) for g in gradients)
    assert all(bool(g.any()) for g in gradients)


def test_equals_the_processor() -> None:
    student = build_student(TINY).eval()
    samples, n_valid = batch()
    with torch.no_grad():
        wanted = student(samples.cpu(), n_valid.cpu())
        ours = student.cuda()(samples, n_valid)
    for row, n in enumerate(wanted.n_valid.tolist()):
        assert relative(ours.x[row, :n].cpu(), wanted.x[row, :n]) < 1e-3  # TF32 convolutions
        torch.testing.assert_close(ours.mel[row].cpu(), wanted.mel[row], atol=1e-3, rtol=0)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-3), (torch.bfloat16, 0.03)])
def test_padded_equals_alone(dtype: torch.dtype, tolerance: float) -> None:
    student = build_student(TINY).eval().cuda().to(dtype)
    samples, n_valid = batch()
    with torch.no_grad():
        together = student(samples, n_valid)
        for row, length in enumerate(LENGTHS):
            alone = student(samples[row : row + 1, :length]).x[0]
            assert relative(together.x[row, : len(alone)], alone) < tolerance


def test_compiled_equals_eager() -> None:
    student = build_student(TINY).eval().cuda()
    compiled = torch.compile(student, fullgraph=True)
    samples, n_valid = batch()
    with torch.no_grad():
        wanted, ours = student(samples, n_valid), compiled(samples, n_valid)
    for row, n in enumerate(wanted.n_valid.tolist()):
        assert relative(ours.x[row, :n], wanted.x[row, :n]) < 1e-3


def test_a_trainer_steps_and_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    """Sums on an accelerator have no fixed order, so the losses agree to a tolerance."""
    whole = synthetic_trainer(TINY, 40.0, tmp_path / "whole", 6)
    losses = []
    for _ in range(6):
        whole.step()
        whole.read()
        losses.append(whole.state.loss)
        if whole.state.step == 3:
            checkpoint = whole.save()
    assert losses[-1] < losses[0]
    resumed = synthetic_trainer(TINY, 40.0, tmp_path / "resumed", 6)
    resumed.restore(checkpoint)
    for step in range(3, 6):
        resumed.step()
        resumed.read()
        assert resumed.state.loss == pytest.approx(losses[step], rel=1e-2)
