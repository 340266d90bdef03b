"""The loop of one run: batches, steps, log and checkpoints.

Everything random in a step follows from the seed, the step's number and which part of the batch a
process has in hand; no state of a generator has to be kept. So a run that resumes from a
checkpoint gives the losses that it would have given, and any number of processes and parts gives
those of one (but for dropout, whose masks are the parts' own).

A step does not wait for the device: on an accelerator its values are read where a line of the log
or a checkpoint needs them. A loss that is not finite is then found some steps late, but always
named with its own step and clips, and before anything is written.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from usad_workbench.core.errors import CheckpointError, TrainingError
from usad_workbench.core.models.checkpoint import (
    CHECKPOINTS,
    delete_checkpoint,
    list_checkpoints,
    read_student_folder,
    save_student,
)
from usad_workbench.core.models.heads import Heads
from usad_workbench.core.models.student import Student
from usad_workbench.core.progress import Progress, no_progress
from usad_workbench.training.batches import MicroBatch
from usad_workbench.training.data import Corpus
from usad_workbench.training.distiller import Distiller
from usad_workbench.training.distributed import World, reduce_gradients, wrap_model
from usad_workbench.training.loader import Loader
from usad_workbench.training.objective import Objective
from usad_workbench.training.recipe import Recipe
from usad_workbench.training.runlog import RunLog
from usad_workbench.training.schedule import learning_rate
from usad_workbench.training.steps import MicroBatchRecord, RunProgress, StepRecord, read_steps
from usad_workbench.training.targets import CachedTargets, OnlineTargets, PieceName, TargetSource
from usad_workbench.training.trainable_state import TrainableState, check_finite

if TYPE_CHECKING:
    from usad_workbench.training.evaluation import Evaluation


class Trainer:
    """One student, its heads and its optimiser, or this process's share of them."""

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
        world: World | None = None,
    ) -> None:
        self.recipe, self.run_dir, self.corpus = recipe, run_dir, corpus
        self.world = world or World(device=torch.device(recipe.run.device))
        self.provenance = dict(provenance)
        self.evaluation: Evaluation | None = None
        self.distiller = Distiller(
            student,
            Objective(
                heads,
                teacher_domains={teacher.name: teacher.domain for teacher in recipe.teachers},
                omega=recipe.objective.omega,
                multi_domain=recipe.objective.multi_domain,
                frame_rate_hz=recipe.student.frame_rate_hz,
                pooled=recipe.objective.pooled,
            ),
            autocast_bfloat16=recipe.run.precision == "bfloat16",
        ).to(self.world.device)
        student.checkpoint_activations(recipe.run.activation_checkpointing)
        if recipe.run.compile:
            for block in student.blocks:
                block.compile()
        self.model = wrap_model(self.distiller, student.blocks, recipe.run.parallel, self.world)
        self.weights = TrainableState(recipe.optimiser, student, heads)
        self.loader = Loader(recipe, corpus, targets, self.world)
        self.log = RunLog(
            run_dir,
            [teacher.name for teacher in recipe.teachers],
            sorted({piece.domain for piece in corpus.pieces}),
            writes=self.world.is_first,
            tensorboard=recipe.run.tensorboard,
        )
        self.state = RunProgress()
        self._unread: list[StepRecord] = []
        self._n_unreadable = 0
        self._online = {n: s for n, s in targets.items() if isinstance(s, OnlineTargets)}
        self._n_cached_out = sum(
            len(source.left_out) for source in targets.values() if isinstance(source, CachedTargets)
        )
        self.state.n_left_out = self._n_cached_out

    def run(self, progress: Progress = no_progress) -> Path:
        """Trains to the last step; returns the folder of the last checkpoint.

        Raises:
            TrainingError: a loss or gradient that is not finite, naming the clips.
        """
        run, n_steps = self.recipe.run, self.recipe.optimiser.n_steps
        first, started, before_s = self.state.step, time.monotonic(), self.state.wall_s
        checkpoint = self.run_dir / CHECKPOINTS / f"step-{self.state.step}"
        reads_always = self.world.device.type == "cpu"
        self.model.train()
        if first == 0:
            self.evaluate()
        while self.state.step < n_steps:
            rate = self.step()
            done, is_last = self.state.step, self.state.step == n_steps
            writes = is_last or done % run.log_every == 0
            saves = is_last or done % run.checkpoint_every == 0
            evaluates = is_last or done % (self.recipe.evaluation.every or n_steps) == 0
            if writes or saves or evaluates or reads_always:
                self.read()
            elapsed = time.monotonic() - started
            self.state.wall_s = before_s + elapsed
            if writes:
                self.log.write(self.state, lr=rate)
            if evaluates:
                self.evaluate()  # before the checkpoint: a run killed in between would lack it
            if saves:
                checkpoint = self.save()
            left_s = elapsed / (done - first) * (n_steps - done)
            progress(done, n_steps, f"loss {self.state.loss:.3f}, {_minutes(left_s)} left")
        return checkpoint

    def step(self) -> float:
        """Makes one step of the optimiser and returns its learning rate; values wait for ``read``."""
        optimiser, step = self.recipe.optimiser, self.state.step
        rate = learning_rate(
            step,
            peak=optimiser.peak_lr,
            warmup_steps=optimiser.warmup_steps,
            n_steps=optimiser.n_steps,
        )
        batch = self.loader.read(step)
        records = self.backward(batch.parts)
        norm = self.weights.step(rate, optimiser.clip_norm)
        self._unread.append(StepRecord(step=step, norm=norm, parts=tuple(records)))
        self.state.step += 1
        self.state.audio_s += sum(self.corpus.pieces[i].duration_s for i in batch.pieces)
        self._n_unreadable += sum(len(part.failed) for part in batch.parts)
        return rate

    def backward(self, parts: Sequence[MicroBatch]) -> list[MicroBatchRecord]:
        """Adds the gradient of a batch; returns what its micro-batches in this process came to."""
        # Sums over the frames of all parts and processes are divided by all their frames.
        counts = [self.distiller.count_frames(part) * part.counts for part in parts]
        n_frames = self.world.sum(torch.stack(counts).sum(0))
        # None at all where not one clip of the batch can be read.
        n_frames = n_frames.clamp(min=1).to(self.world.device, non_blocking=True)
        records = []
        for at, part in enumerate(parts):
            torch.manual_seed(_seed(self.recipe.run.seed, self.state.step, at, self.world))
            with reduce_gradients(self.model, at == len(parts) - 1):
                values = self.model(part.to(self.world.device), n_frames)
                # DDP and FSDP2 divide the sum over processes by their number.
                scaled = values[0] * (self.world.size * part.counts)
                scaled.backward()
            if part.counts:
                records.append(MicroBatchRecord.of(part, values))
        return records

    def read(self) -> None:
        """Takes in the values of the steps since the last call.

        Raises:
            TrainingError: one is not finite, naming the clips; in all processes.
        """
        unread, self._unread = self._unread, []
        log = self.log
        self.state.n_unreadable += int(self.world.sum(torch.tensor(self._n_unreadable)))
        self._n_unreadable = 0
        if self._online:
            n_online = sum(map(len, self._left_out().values()))
            self.state.n_left_out = self._n_cached_out + n_online
        values = read_steps(unread, len(log.teachers), log.domains, self.world)
        for record, of_step in zip(unread, values, strict=True):
            if not (math.isfinite(of_step.loss) and math.isfinite(of_step.norm)):
                raise self._not_finite(record)
            self.log.add(of_step)
            self.state.loss = of_step.loss

    def _left_out(self) -> dict[str, list[PieceName]]:
        """What each teacher that runs at every step does not teach; to be called by all processes."""
        of_process = {name: source.left_out for name, source in self._online.items()}
        given = self.world.gather(of_process)
        return {name: sorted(set().union(*(each[name] for each in given))) for name in of_process}

    def evaluate(self) -> None:
        """Logs what probes read from the student as it is kept, where the recipe wants them."""
        if self.evaluation is None:
            return
        student, _ = self.weights.snapshot()
        evaluation, device = self.evaluation, self.world.device
        row = self.world.first(lambda: evaluation.of_student(student, device))
        self.log.append({"step": self.state.step, **row})

    def save(self) -> Path:
        """Writes a checkpoint, then deletes those that are no longer kept.

        Raises:
            TrainingError: weights that are not finite; in all processes.
        """
        folder = self.run_dir / CHECKPOINTS / f"step-{self.state.step}"
        kept, extra = self.weights.snapshot(), self.weights.optimizer_state()
        left_out = self._left_out()
        check_finite(kept, self.state.step)
        if not self.world.is_first:
            return folder
        trainer = {
            "seed": self.recipe.run.seed,
            "next_step": self.state.step,
            "random": "order of pieces, crops and dropout follow from seed and next_step alone",
            "n_processes": self.world.size,
            "log": self.log.window(),
            "left_out": left_out,
        }
        provenance = {**self.provenance, **asdict(self.state), "trainer": trainer}
        save_student(folder, *kept, provenance, extra=extra)
        last = sorted(list_checkpoints(self.run_dir))[-self.recipe.run.keep_checkpoints :]
        for step, path in list_checkpoints(self.run_dir).items():
            if step not in last:
                delete_checkpoint(path)
        return folder

    def restore(self, folder: Path) -> None:
        """Goes on from a checkpoint of this run.

        Raises:
            CheckpointError: damaged, or of another architecture.
        """
        described = read_student_folder(folder)
        self.weights.restore(described)
        recorded = described.provenance
        try:
            self.state = RunProgress(
                step=int(recorded["step"]),
                audio_s=float(recorded["audio_s"]),
                wall_s=float(recorded["wall_s"]),
                loss=float(recorded["loss"]),
                n_unreadable=int(recorded.get("n_unreadable", 0)),
                n_left_out=int(recorded.get("n_left_out", 0)),
            )
            for name, pieces in recorded["trainer"].get("left_out", {}).items():
                self._online[name].left_out |= {(str(clip), float(at)) for clip, at in pieces}
            self.log.open(self.state.step, recorded["trainer"]["log"])
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{folder} does not say how far the run was: {type(error).__name__} {error}."
            ) from error

    def _not_finite(self, record: StepRecord) -> TrainingError:
        of_process = [piece for part in record.parts for piece in part.bad_pieces()]
        bad = [piece for pieces in self.world.gather(of_process) for piece in pieces]
        clips = [self.corpus.pieces[i] for i in (bad or self.loader.pieces(record.step))]
        names = ", ".join(f"{clip.clip_id} from {clip.start_s:g} s" for clip in clips)
        return TrainingError(
            f"The {'loss' if bad else 'gradient'} of step {record.step} is not finite for {names}. "
            "Listen to these clips, lower optimiser.peak_lr, or go on from the last checkpoint "
            "with --resume."
        )


def _seed(seed: int, step: int, part: int, world: World) -> int:
    words = np.random.SeedSequence([seed, step, part, world.rank]).generate_state(2)
    return int(words[0]) << 31 | int(words[1]) >> 1


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
