"""A student and a linear head trained together on a labelled benchmark.

Mean over the valid frames of the final output, one linear layer, AdamW with warm-up and
linear decay, the weights of the best validation. The recipe behind the published numbers
(that of EAT, USAD arXiv 2506.18843 sec. IV) has mixup, masking and averaged checkpoints,
which are not here: read the values as those of a plain recipe, the same for all students.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from usad_workbench.core.arrays import Matrix
from usad_workbench.core.audio.reading import read_audio
from usad_workbench.core.clips import Clip, ClipBatch
from usad_workbench.core.errors import DegenerateError, TrainingError
from usad_workbench.core.evaluation.benchmarks.task import BenchmarkTask, Split
from usad_workbench.core.models.batching import BatchPlan, plan_batches
from usad_workbench.core.models.encoder import masked_mean
from usad_workbench.core.models.student import Student
from usad_workbench.core.probes.folds import Codes
from usad_workbench.core.probes.scores import metric_of_scores
from usad_workbench.core.progress import Progress, no_progress
from usad_workbench.training.schedule import learning_rate

MAX_CLIP_S = 10.0
"""Clips of AudioSet have 10 s, those of ESC-50 5 s; of longer ones the beginning is taken."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FineTuning:
    """How a student is fine-tuned; values are ours."""

    n_steps: int = 4000
    warmup_steps: int = 400
    batch_size: int = 32
    student_rate: float = 5e-5
    head_rate: float = 1e-3
    weight_decay: float = 0.01
    check_every: int = 200
    """Steps between two validations."""
    clip_norm: float = 1.0
    seed: int = 0
    device: str = "cpu"


class _Classifier(nn.Module):
    def __init__(self, student: Student, n_classes: int) -> None:
        super().__init__()
        self.student = student
        self.head = nn.Linear(student.config.dim, n_classes)

    def forward(self, samples: Tensor, n_valid: Tensor) -> Tensor:
        output = self.student(samples, n_valid)
        logits: Tensor = self.head(masked_mean(output.x, output.n_valid))
        return logits


def fine_tune(
    student: Student,
    task: BenchmarkTask,
    split: Split,
    config: FineTuning | None = None,
    progress: Progress = no_progress,
) -> Matrix:
    """Scores of the test clips of one split, `[test, class]`, by a copy of the student.

    Args:
        student: Where it starts; it is not changed.
        task: Files and labels.
        split: Which parts train, validate and test.
        config: Steps and rates.
        progress: Called after each step.

    Raises:
        AudioError: a file that cannot be read.
        DegenerateError: a split without training, validation or test clips.
        TrainingError: a loss that is not finite.
    """
    config = config or FineTuning()
    train, valid, test = (task.rows(x) for x in (split.train, split.valid, split.test))
    if min(len(train), len(valid), len(test)) == 0:
        raise DegenerateError(
            f"{task.name} has {len(train)} training, {len(valid)} validation and {len(test)} "
            "test clips, expected some of each. Complete the copy."
        )
    truth = task.truth()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = _Classifier(copy.deepcopy(student).requires_grad_(True), len(task.class_names))
        model.to(config.device)
        optimiser = torch.optim.AdamW(
            [
                {"params": model.student.parameters(), "peak": config.student_rate},
                {"params": model.head.parameters(), "peak": config.head_rate},
            ],
            weight_decay=config.weight_decay,
        )
        best, best_value = copy.deepcopy(model.state_dict()), -math.inf
        for step in range(config.n_steps):
            rows = _next_rows(train, step, config)
            _step(model, optimiser, task, rows, step, config)
            if (step + 1) % config.check_every == 0 or step + 1 == config.n_steps:
                scores = _scores(model, task, valid, config)
                value = float(metric_of_scores(truth[valid], scores, task.metric)[0])
                if value > best_value:
                    best, best_value = copy.deepcopy(model.state_dict()), value
            progress(step + 1, config.n_steps, f"fine-tune {task.name}")
    model.load_state_dict(best)
    return _scores(model, task, test, config)


def _next_rows(train: Codes, step: int, config: FineTuning) -> Codes:
    """The clips of a step: each epoch in a random order of its own."""
    n_batches = max(1, len(train) // config.batch_size)
    order = np.random.default_rng([config.seed, step // n_batches]).permutation(train)
    start = step % n_batches * config.batch_size
    return order[start : start + config.batch_size]


def _step(
    model: _Classifier,
    optimiser: torch.optim.Optimizer,
    task: BenchmarkTask,
    rows: Codes,
    step: int,
    config: FineTuning,
) -> None:
    model.train()
    for group in optimiser.param_groups:
        group["lr"] = learning_rate(
            step, peak=group["peak"], warmup_steps=config.warmup_steps, n_steps=config.n_steps
        )
    logits = model(*_batch(_clips(model.student, task, rows), config.device))
    targets = torch.from_numpy(task.truth(rows.tolist())).to(config.device)
    if task.has_several_labels:
        loss = F.binary_cross_entropy_with_logits(logits, targets.float())
    else:
        loss = F.cross_entropy(logits, targets)
    if not torch.isfinite(loss):
        raise TrainingError(
            f"The loss of step {step} is {float(loss)}, expected a number. Lower the rates."
        )
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
    optimiser.step()


@torch.no_grad()
def _scores(model: _Classifier, task: BenchmarkTask, rows: Codes, config: FineTuning) -> Matrix:
    model.eval()
    scores = np.empty((len(rows), len(task.class_names)))
    # Read in portions, so that a large test set never lies in memory whole.
    for start in range(0, len(rows), 256):
        clips = _clips(model.student, task, rows[start : start + 256])
        lengths = [len(clip.samples) for clip in clips]
        plan = BatchPlan.on(config.device)
        for places in plan_batches(lengths, clips[0].sample_rate_hz, True, plan):
            logits = model(*_batch([clips[i] for i in places], config.device))
            scores[start + np.array(places)] = logits.double().cpu().numpy()
    return scores


def _clips(student: Student, task: BenchmarkTask, rows: Codes) -> list[Clip]:
    rate_hz = student.log_mel.config.sample_rate_hz
    return [
        read_audio(task.items[row].path, sample_rate_hz=rate_hz).cut(0.0, MAX_CLIP_S)
        for row in rows
    ]


def _batch(clips: Sequence[Clip], device: str) -> tuple[Tensor, Tensor]:
    batch = ClipBatch.from_clips(clips)
    return torch.from_numpy(batch.samples).to(device), torch.from_numpy(batch.n_valid).to(device)
