"""What a step changes: student, heads, optimiser and the average of the weights.

One process holds all of it or, with FSDP2, its share; files hold the whole.
"""

import torch
from torch import Tensor, nn

from usad_workbench.core.errors import TrainingError
from usad_workbench.core.models.checkpoint import (
    HEADS_FILE,
    MODEL_FILE,
    StudentFolder,
    assign_weights,
    read_tensors,
)
from usad_workbench.core.models.heads import Heads
from usad_workbench.core.models.student import Student
from usad_workbench.training.distributed import full_tensor, load_full, shard
from usad_workbench.training.ema import WeightAverage
from usad_workbench.training.recipe import OptimiserRecipe

OPTIMISER_FILE = "optimiser.safetensors"
LIVE_FILE = "live.safetensors"
"""The weights that the optimiser moves, where the student that is kept is their average."""


class TrainableState:
    """Student and heads as they are trained."""

    def __init__(self, recipe: OptimiserRecipe, student: Student, heads: Heads) -> None:
        self.student, self.heads = student, heads
        self._names = [name for name, _ in student.named_parameters()]
        self.parameters: dict[str, nn.Parameter] = {
            **{f"student.{name}": p for name, p in student.named_parameters()},
            **{f"heads.{name}": p for name, p in heads.named_parameters()},
        }
        self.optimiser = build_optimiser(recipe, list(self.parameters.values()))
        decay = recipe.ema_decay
        self.average = WeightAverage(list(student.parameters()), decay) if decay else None

    def step(self, lr: float, clip_norm: float) -> Tensor:
        """Moves the weights along their gradients, then forgets these.

        Returns:
            The norm of the whole gradient before it was cut, on the device.
        """
        norm = nn.utils.clip_grad_norm_(self.parameters.values(), clip_norm)
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update()
        return full_tensor(norm)

    def snapshot(self) -> tuple[Student, Heads]:
        """The student as it is kept (the average, where there is one) and its heads.

        On the CPU, apart from the modules that are trained; to be called by all processes,
        and used before the next step, as one process alone copies nothing.
        """
        weights = {**_kept(self.student), **self._averages()}
        with torch.device("meta"):
            student, heads = Student(self.student.config), Heads(self.heads.specs)
        assign_weights(student, _whole(weights))
        assign_weights(heads, _whole(_kept(self.heads)))
        return student, heads

    def optimizer_state(self) -> dict[str, dict[str, Tensor]]:
        """What else a run needs to be resumed, by file; to be called by all processes."""
        state = {
            f"{name}:{key}": value
            for name, parameter in self.parameters.items()
            for key, value in self.optimiser.state.get(parameter, {}).items()
        }
        files = {OPTIMISER_FILE: _whole(state)}
        if self.average is not None:
            files[LIVE_FILE] = _whole(_kept(self.student))
        return files

    def restore(self, described: StudentFolder) -> None:
        """Takes up the state of a checkpoint, whatever number of processes wrote it.

        Raises:
            CheckpointError: damaged, or of another architecture.
        """
        live = MODEL_FILE if self.average is None else LIVE_FILE
        for tensors, name in ((_kept(self.student), live), (_kept(self.heads), HEADS_FILE)):
            load_full(tensors, read_tensors(described, name), str(described.folder / name))
        if self.average is not None:
            averages = read_tensors(described, MODEL_FILE)
            load_full(self._averages(), averages, str(described.folder / MODEL_FILE))
        states: dict[str, dict[str, Tensor]] = {}
        for name, tensor in read_tensors(described, OPTIMISER_FILE).items():
            of, _, key = name.rpartition(":")
            states.setdefault(of, {})[key] = tensor
        for name, parameter in self.parameters.items():
            if name in states:
                self.optimiser.state[parameter] = {
                    key: _place(value, parameter) for key, value in states[name].items()
                }

    def _averages(self) -> dict[str, Tensor]:
        if self.average is None:
            return {}
        return dict(zip(self._names, self.average.average, strict=True))


def build_optimiser(recipe: OptimiserRecipe, parameters: list[nn.Parameter]) -> torch.optim.AdamW:
    """AdamW; matrices decay, vectors (biases, norms) do not."""
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    betas = (recipe.beta1, recipe.beta2)
    return torch.optim.AdamW(groups, lr=recipe.peak_lr, betas=betas, fused=True)


def check_finite(modules: tuple[nn.Module, ...], step: int) -> None:
    """Looks at all weights, so that none that is not finite is ever written.

    Raises:
        TrainingError: naming the first tensor.
    """
    for module in modules:
        for name, tensor in module.state_dict().items():
            if not bool(tensor.isfinite().all()):
                raise TrainingError(
                    f"{name} is not finite after {step} steps, so no checkpoint was written. "
                    "Lower optimiser.peak_lr, or go on from the last checkpoint with --resume."
                )


def _kept(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers that a file holds, by name; the tensors themselves."""
    named = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return {name: named[name] for name in module.state_dict()}


def _whole(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: full_tensor(tensor).cpu() for name, tensor in tensors.items()}


def _place(value: Tensor, parameter: nn.Parameter) -> Tensor:
    # The number of steps is one value, which every process has.
    return value.to(parameter.device) if value.ndim == 0 else shard(value, parameter)
