"""What training needs of the student: less memory, half precision, compiled code."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounter

from usad_workbench.core.models.sizes import StudentConfig
from usad_workbench.core.models.student import Student, StudentOutput, build_student

LENGTHS = torch.tensor([24_000, 9_000, 15_555])
SAMPLES = torch.randn(3, 24_000, generator=torch.Generator().manual_seed(0)) * 0.1


def tiny(**changes: object) -> StudentConfig:
    values = {"dim": 32, "n_layers": 4, "n_heads": 4, "pos_groups": 4, "conv_channels": 8}
    return StudentConfig(**{**values, **changes})  # type: ignore[arg-type]


def loss_of(output: StudentOutput) -> Tensor:
    """A number that every layer has a part in, padding excluded."""
    mask = torch.arange(output.x.shape[1]) < output.n_valid[:, None]
    layers = (output.x, *output.hidden_states, *output.ffn)
    return sum((frames[mask].float() ** 2).mean() for frames in layers)  # type: ignore[return-value]


def gradients(student: Student) -> dict[str, Tensor]:
    student.zero_grad()
    torch.manual_seed(0)  # of dropout
    loss_of(student(SAMPLES, LENGTHS)).backward()
    return {name: p.grad.clone() for name, p in student.named_parameters()}


@contextmanager
def count_kept_bytes() -> Iterator[list[int]]:
    """Bytes that autograd keeps for the backward pass, parameters included once each."""
    kept: dict[int, int] = {}
    total = [0]

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in kept:
            kept[storage.data_ptr()] = storage.nbytes()
            total[0] += storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield total


def test_checkpointed_activations_give_the_same_gradients() -> None:
    student = build_student(tiny(dropout=0.3)).train()
    plain = gradients(student)
    student.checkpoint_activations(True)
    for name, gradient in gradients(student).items():
        torch.testing.assert_close(gradient, plain[name], msg=name)
    student.checkpoint_activations(False)
    assert not any(block.checkpoints_activations for block in student.blocks)


def test_checkpointing_keeps_much_less() -> None:
    student = build_student(tiny(n_layers=8, dropout=0.1)).train()
    kept = {}
    for enabled in (False, True):
        student.checkpoint_activations(enabled)
        with count_kept_bytes() as total:
            student(SAMPLES, LENGTHS)
        kept[enabled] = total[0]
    assert kept[True] < 0.3 * kept[False]


def test_one_graph_serves_every_length() -> None:
    """No break, and no compilation for a new length, number of clips or valid length."""
    student = build_student(tiny(n_layers=1, dropout=0.0)).eval()
    counter = CompileCounter()
    compiled = torch.compile(student, backend=counter, fullgraph=True, dynamic=True)
    for n_clips, n_samples in ((3, 24_000), (2, 16_000), (5, 20_001)):
        samples = torch.randn(n_clips, n_samples) * 0.1
        n_valid = torch.full((n_clips,), n_samples - 777)
        with torch.no_grad():
            torch.testing.assert_close(
                compiled(samples, n_valid).x, student(samples, n_valid).x, atol=1e-5, rtol=0
            )
    assert counter.frame_count == 1


@pytest.mark.slow  # minutes of compiling
# torch's tracer asks every tensor for it, and hides its own warning where one is printed only.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
def test_compiled_blocks_equal_eager_ones() -> None:
    """As the trainer compiles them. (The whole student's backward with lengths left open
    stops inside the code generator of torch 2.13; with one length it compiles.)"""
    student = build_student(tiny(n_layers=2, dropout=0.0)).train()
    plain = gradients(student)
    for block in student.blocks:
        block.compile()
    for name, gradient in gradients(student).items():
        torch.testing.assert_close(gradient, plain[name], atol=1e-4, rtol=1e-3, msg=name)


@pytest.mark.parametrize("precision", ["whole", "autocast"])
def test_half_precision_is_near(precision: str) -> None:
    """bfloat16 rounds to 2^-9 = 0.002 of a value; 4 layers of about 10 roundings each, if
    these are independent, come to sqrt(40) x 0.002 = 0.012, here with a factor of 2 to spare.
    """
    student = build_student(tiny(dropout=0.0)).eval()
    with torch.no_grad():
        exact = student(SAMPLES, LENGTHS)
        if precision == "whole":
            half = student.to(torch.bfloat16)(SAMPLES, LENGTHS)
            assert half.x.dtype == half.hidden_states[0].dtype == torch.bfloat16
        else:
            with torch.autocast("cpu", torch.bfloat16):
                half = student(SAMPLES, LENGTHS)
    assert half.mel.dtype == torch.float32
    torch.testing.assert_close(half.mel, exact.mel, atol=1e-5, rtol=0)
    mask = torch.arange(exact.x.shape[1]) < exact.n_valid[:, None]
    pairs = zip((half.x, *half.hidden_states), (exact.x, *exact.hidden_states), strict=True)
    for ours, wanted in pairs:
        error = (ours[mask].float() - wanted[mask]).norm() / wanted[mask].norm()
        assert 1e-5 < error < 0.024


def test_a_padded_clip_equals_itself_alone_in_half_precision() -> None:
    """Within the rounding of the test above: other shapes round at other places."""
    student = build_student(tiny(dropout=0.0)).eval().to(torch.bfloat16)
    with torch.no_grad():
        together = student(SAMPLES, LENGTHS).x[1, : int(student(SAMPLES, LENGTHS).n_valid[1])]
        alone = student(SAMPLES[1:2, : int(LENGTHS[1])]).x[0]
    error = (together.float() - alone.float()).norm() / alone.float().norm()
    assert error < 0.024
