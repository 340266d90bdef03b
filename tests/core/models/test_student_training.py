"""What training needs of the student: less memory, half precision, compiled code."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

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
