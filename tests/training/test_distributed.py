"""Two processes with gloo, started by torchrun, give what one process gives."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from usad_workbench.core.errors import TrainingError
from usad_workbench.core.models.checkpoint import CHECKPOINTS
from usad_workbench.core.models.encoder import Encoder
from usad_workbench.core.models.hashed_tensors import save_hashed
from usad_workbench.training import read_log, train
from usad_workbench.training.batches import split_batch
from usad_workbench.training.shards import ITEMS_PER_SHARD
from usad_workbench.training.trainer import Trainer

Write = Callable[..., Path]
Teachers = dict[str, Encoder]
ROOT = Path(__file__).parents[2]


def two_processes(recipe: Path, run: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.run(
        [sys.executable, *launch, "-m", "tests.training.worker", str(recipe), str(run), *overrides],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )


def losses(run: Path) -> list[float]:
    return [row["loss"] for row in read_log(run)]


def close_curves(one: Path, other: Path) -> None:
    ours, theirs = read_log(one), read_log(other)
    assert [row["step"] for row in ours] == [row["step"] for row in theirs]
    for mine, its in zip(ours, theirs, strict=True):
        assert mine.keys() == its.keys()
        for key in mine.keys() - {"wall_s"}:
            assert mine[key] == pytest.approx(its[key], rel=1e-5), (mine["step"], key)


def test_a_batch_is_dealt_out_whole() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        pieces = rng.permutation(100)[: rng.integers(1, 40)].tolist()
        n_processes, accumulate = int(rng.integers(1, 9)), int(rng.integers(1, 6))
        dealt = [split_batch(pieces, rank, n_processes, accumulate) for rank in range(n_processes)]
        assert sorted(i for parts in dealt for part, counts in parts if counts for i in part) == (
            sorted(pieces)
        )
        # All go through the student equally often, or one would wait for ever.
        assert len({len(parts) for parts in dealt}) == 1
        assert all(part for parts in dealt for part, _ in parts)


def plant_nan(cache: Path, piece: int) -> None:
    """Makes a frame of one teacher's cached targets of a piece not finite."""
    start = piece - piece % ITEMS_PER_SHARD
    path = next(cache.glob("targets-*")) / f"{start:08d}.safetensors"
    tensors = load_file(path)
    name = next(name for name in tensors if not name.startswith("n:"))
    first = int(tensors[f"n:{name}"][: piece - start].sum())
    tensors[name][first + 1] = float("nan")
    save_hashed(path, tensors, f"{path.parent.name}/{start}")


def test_ddp_is_one_process_and_all_stop_at_what_is_not_finite(
    tmp_path: Path, recipe_file: Write, teachers: Teachers, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = f"data.cache={tmp_path / 'own'}"
    recipe = recipe_file(n_steps=6, dropout=0.0)
    trainers: list[Trainer] = []
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "run", lambda self, progress: trainers.append(self))
        train(recipe, tmp_path / "first", [cache], teachers=teachers)
    corpus, sampler = trainers[0].corpus, trainers[0].loader.reader.sampler
    seen = {piece for step in range(4) for piece in sampler.batch(step)}
    bad = next(piece for piece in sampler.batch(4) if piece not in seen)
    # Scaled by statistics the not-finite value would be in every loss.
    overrides = [cache, "objective.target_scaling=none"]
    plant_nan(tmp_path / "own", bad)
    clip = corpus.pieces[bad]
    named = f"The loss of step 4 is not finite for {clip.clip_id} from {clip.start_s:g} s."
    for accumulate, precision in ((1, "bfloat16"), (3, "float32")):
        with pytest.raises(TrainingError, match=named):
            train(
                recipe,
                tmp_path / f"one-{accumulate}",
                teachers=teachers,
                overrides=[
                    *overrides,
                    f"optimiser.accumulate={accumulate}",
                    f"run.precision={precision}",
                ],
            )
    finished = two_processes(recipe, tmp_path / "two", *overrides, "optimiser.accumulate=2")
    assert finished.stderr.count(named) == 2, finished.stderr[-3000:]
    assert len(losses(tmp_path / "two")) == 4
    close_curves(tmp_path / "two", tmp_path / "one-3")
    # The last checkpoint is of before; nothing was written behind it.
    assert [p.name for p in (tmp_path / "two" / CHECKPOINTS).iterdir()] == ["step-3"]


def test_fsdp_goes_on_from_one_process_and_one_from_fsdp(
    tmp_path: Path, recipe_file: Write, teachers: Teachers
) -> None:
    recipe = recipe_file(n_steps=6, dropout=0.0)
    overrides = [
        "run.checkpoint_every=1",
        "run.keep_checkpoints=9",
        "run.parallel=fsdp",
        "optimiser.ema_decay=0.9",
        "run.activation_checkpointing=true",
    ]
    train(recipe, tmp_path / "whole", overrides, teachers=teachers)
    shutil.copytree(tmp_path / "whole", tmp_path / "part")
    for step in (3, 4, 5, 6):
        shutil.rmtree(tmp_path / f"part/checkpoints/step-{step}")
    finished = two_processes(recipe, tmp_path / "part", *overrides)
    assert finished.returncode == 0, finished.stderr[-3000:]
    close_curves(tmp_path / "part", tmp_path / "whole")
    for name in ("model", "live", "heads", "optimiser"):
        ours, theirs = (
            load_file(tmp_path / run / f"checkpoints/step-6/{name}.safetensors")
            for run in ("part", "whole")
        )
        assert ours.keys() == theirs.keys()
        # A bias of the keys changes no attention: its gradient is rounding, which AdamW
        # brings to the size of a step.
        for key in (key for key in ours if "key.bias" not in key):
            difference = (ours[key] - theirs[key]).norm() / theirs[key].norm().clamp(min=1e-9)
            assert float(difference) < 1e-3, (name, key)
    shutil.rmtree(tmp_path / "part/checkpoints/step-6")
    shutil.rmtree(tmp_path / "part/checkpoints/step-5")
    train(recipe, tmp_path / "part", overrides, resume=True, teachers=teachers)
    close_curves(tmp_path / "part", tmp_path / "whole")
