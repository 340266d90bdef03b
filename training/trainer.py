"""The loop of one run: batches, steps, log and checkpoints.

One process. Everything random in a step follows from the seed and the step's number, so
a run that goes on from a checkpoint gives the losses that it would have given.
"""

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from usad_workbench.core.clips import ClipBatch
from usad_workbench.core.errors import CheckpointError, TrainingError
from usad_workbench.core.models.checkpoint import (
    CHECKPOINTS,
    HEADS_FILE,
    MODEL_FILE,
    list_checkpoints,
    read_student_folder,
    read_tensors,
    restore_weights,
    save_student,
)
from usad_workbench.core.models.encoder import LayerFeatures
from usad_workbench.core.models.heads import Heads
from usad_workbench.core.models.student import Student
from usad_workbench.core.progress import Progress, no_progress
from usad_workbench.training.data import Corpus
from usad_workbench.training.objective import Loss, Objective
from usad_workbench.training.recipe import Recipe
from usad_workbench.training.runlog import RunLog
from usad_workbench.training.sampler import BatchSampler
from usad_workbench.training.schedule import learning_rate
from usad_workbench.training.targets import TargetSource

OPTIMISER_FILE = "optimiser.safetensors"


@dataclass(slots=True)
class TrainState:
    """How far a run is."""

    step: int = 0
    """Steps done."""
    audio_s: float = 0.0
    """Seconds of audio seen, without padding."""
    wall_s: float = 0.0
    """Seconds of work, those before a resume included."""
    loss: float = math.nan
    """Of the last step."""


class Trainer:
    """One student, its heads and its optimiser."""

    def __init__(
        self,
        recipe: Recipe,
        run_dir: Path,
        *,
        student: Student,
        heads: Heads,
        corpus: Corpus,
        targets: Mapping[str, TargetSource],
        provenance: Mapping[str, Any],
    ) -> None:
        self.recipe, self.run_dir, self.corpus, self.targets = recipe, run_dir, corpus, targets
        self.device = torch.device(recipe.run.device)
        self.student = student.to(self.device)
        self.objective = Objective(
            heads,
            teacher_domains={teacher.name: teacher.domain for teacher in recipe.teachers},
            omega=recipe.objective.omega,
            frame_rate_hz=recipe.student.frame_rate_hz,
            pooled=recipe.objective.pooled,
        ).to(self.device)
        self.heads, self.provenance = heads, dict(provenance)
        self.optimiser = build_optimiser(recipe, student, heads)
        self.sampler = BatchSampler(
            [piece.duration_s for piece in corpus.pieces],
            [piece.domain for piece in corpus.pieces],
            batch_s=recipe.data.batch_s,
            share=recipe.data.share or None,
            seed=recipe.run.seed,
        )
        self.state = TrainState()

    def run(self, log: RunLog, progress: Progress = no_progress) -> Path:
        """Trains to the last step; the last checkpoint.

        Raises:
            TrainingError: a loss or gradient that is not finite, naming the clips.
        """
        run, n_steps = self.recipe.run, self.recipe.optimiser.n_steps
        first, started, before_s = self.state.step, time.monotonic(), self.state.wall_s
        checkpoint = self.run_dir / CHECKPOINTS / f"step-{self.state.step}"
        while self.state.step < n_steps:
            loss, rate, norm = self.step()
            elapsed = time.monotonic() - started
            self.state.wall_s = before_s + elapsed
            log.add(loss)
            done, is_last = self.state.step, self.state.step == n_steps
            if done % run.log_every == 0 or is_last:
                log.write(self.state, lr=rate, gradient_norm=norm)
            if done % run.checkpoint_every == 0 or is_last:
                checkpoint = self.save()
            left_s = elapsed / (done - first) * (n_steps - done)
            progress(done, n_steps, f"loss {self.state.loss:.3f}, {_minutes(left_s)} left")
        return checkpoint

    def step(self) -> tuple[Loss, float, float]:
        """One step: the loss, the learning rate and the norm of the gradient."""
        optimiser = self.recipe.optimiser
        rate = learning_rate(
            self.state.step,
            peak=optimiser.peak_lr,
            warmup_steps=optimiser.warmup_steps,
            n_steps=optimiser.n_steps,
        )
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        # Dropout follows from the step too; no state of a generator has to be kept.
        torch.manual_seed(self.recipe.run.seed * 1_000_003 + self.state.step)
        pieces = self.sampler.batch(self.state.step)
        loss = self.loss(pieces)
        self._check(loss.per_clip, loss.total, pieces)
        self.optimiser.zero_grad(set_to_none=True)
        loss.total.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self._parameters(), optimiser.clip_norm)
        self._check(torch.zeros(len(pieces)), norm, pieces)
        self.optimiser.step()
        self.state.step += 1
        self.state.loss = float(loss.total.detach())
        self.state.audio_s += sum(self.corpus.pieces[i].duration_s for i in pieces)
        return loss, rate, float(norm)

    def loss(self, pieces: list[int]) -> Loss:
        """The loss of some pieces, with the graph that its gradient needs."""
        self.student.train()
        batch = ClipBatch.from_clips(self.corpus.clips(pieces))
        samples = torch.from_numpy(batch.samples).to(self.device)
        n_valid = torch.from_numpy(batch.n_valid).to(self.device)
        targets = {
            name: _move(source.features(pieces), self.device)
            for name, source in self.targets.items()
        }
        domains = [self.corpus.pieces[i].domain for i in pieces]
        is_half = self.recipe.run.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=is_half):
            output = self.student(samples, n_valid)
            loss: Loss = self.objective(output, targets, domains)
        return loss

    def save(self) -> Path:
        """Writes a checkpoint, then deletes those that are no longer kept."""
        state = self.state
        folder = self.run_dir / CHECKPOINTS / f"step-{state.step}"
        tensors = {}
        for name, parameter in self._named_parameters():
            for key, value in self.optimiser.state.get(parameter, {}).items():
                tensors[f"{name}:{key}"] = value
        progress = {"step": state.step, "audio_s": state.audio_s, "wall_s": state.wall_s}
        save_student(
            folder,
            self.student,
            self.heads,
            {**self.provenance, **progress, "loss": state.loss},
            extra={OPTIMISER_FILE: tensors},
        )
        kept = sorted(list_checkpoints(self.run_dir))[-self.recipe.run.keep_checkpoints :]
        for step, path in list_checkpoints(self.run_dir).items():
            if step not in kept:
                _delete(path)
        return folder

    def restore(self, folder: Path) -> None:
        """Goes on from a checkpoint of this run.

        Raises:
            CheckpointError: damaged, or of another architecture.
        """
        described = read_student_folder(folder)
        restore_weights(self.student, described, MODEL_FILE)
        restore_weights(self.heads, described, HEADS_FILE)
        self.student.to(self.device)
        self.heads.to(self.device)
        # Loading replaced the parameters, so the optimiser has to hold the new ones.
        self.optimiser = build_optimiser(self.recipe, self.student, self.heads)
        tensors = read_tensors(described, OPTIMISER_FILE)
        for name, parameter in self._named_parameters():
            keys = [key for key in tensors if key.startswith(f"{name}:")]
            if keys:
                self.optimiser.state[parameter] = {
                    key.rpartition(":")[2]: _place(tensors[key], parameter) for key in keys
                }
        recorded = described.provenance
        try:
            self.state = TrainState(
                step=int(recorded["step"]),
                audio_s=float(recorded["audio_s"]),
                wall_s=float(recorded["wall_s"]),
                loss=float(recorded["loss"]),
            )
        except KeyError as error:
            raise CheckpointError(f"{folder} does not say its {error}. Use another.") from error

    def _named_parameters(self) -> list[tuple[str, nn.Parameter]]:
        modules: tuple[tuple[str, nn.Module], ...] = (
            ("student", self.student), ("heads", self.heads)
        )  # fmt: skip
        return [(f"{of}.{n}", p) for of, module in modules for n, p in module.named_parameters()]

    def _parameters(self) -> list[nn.Parameter]:
        return [parameter for _, parameter in self._named_parameters()]

    def _check(self, per_clip: Tensor, value: Tensor, pieces: list[int]) -> None:
        if bool(value.isfinite()):
            return
        bad = (~per_clip.isfinite()).nonzero().flatten().tolist()
        clips = [self.corpus.pieces[pieces[i]] for i in (bad or range(len(pieces)))]
        names = ", ".join(f"{clip.clip_id} from {clip.start_s:g} s" for clip in clips)
        what = "loss" if bad else "gradient"
        raise TrainingError(
            f"The {what} of step {self.state.step} is not finite for {names}. Listen to these "
            "clips, lower optimiser.peak_lr, or go on from the last checkpoint with --resume."
        )


def build_optimiser(recipe: Recipe, student: nn.Module, heads: nn.Module) -> torch.optim.AdamW:
    """AdamW; matrices decay, vectors (biases, norms) do not."""
    optimiser = recipe.optimiser
    parameters = [*student.parameters(), *heads.parameters()]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": optimiser.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=optimiser.peak_lr, betas=(optimiser.beta1, optimiser.beta2))


def _move(features: LayerFeatures, device: torch.device) -> LayerFeatures:
    return replace(
        features,
        frames=tuple(frames.to(device) for frames in features.frames),
        n_valid=tuple(n.to(device) for n in features.n_valid),
    )


def _place(tensor: Tensor, parameter: nn.Parameter) -> Tensor:
    # AdamW keeps the number of steps on the CPU, moments beside their parameter.
    return tensor if tensor.ndim == 0 else tensor.to(parameter.device)


def _delete(folder: Path) -> None:
    # The description goes first: without it the folder is no checkpoint any more.
    for path in sorted(folder.iterdir(), key=lambda p: p.suffix != ".json"):
        path.unlink()
    folder.rmdir()


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def read_json(path: Path) -> Any:
    """The value of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file at once."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(path)
