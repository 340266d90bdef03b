"""Training and inference of the large students on an accelerator.

Their published teachers are not on every machine, so targets and audio are synthetic:
random numbers of the right shapes, read and moved by the same loader as real ones.
"""

import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from usad_workbench.core.clips import Samples
from usad_workbench.core.models.encoder import LayerFeatures
from usad_workbench.core.models.heads import Heads, HeadSpec
from usad_workbench.core.models.sizes import SIZES, StudentConfig
from usad_workbench.core.models.student import build_student
from usad_workbench.training.data import Corpus, Piece
from usad_workbench.training.recipe import (
    DataRecipe,
    OptimiserRecipe,
    Recipe,
    RunRecipe,
    SourceRecipe,
    TeacherRecipe,
)
from usad_workbench.training.targets import CachedTargets
from usad_workbench.training.trainer import Trainer
from usad_workbench.workbench.speed.flops import forward_flops
from usad_workbench.workbench.speed.measure import (
    Row,
    make_row,
    matmul_job,
    median_seconds,
    wait,
)

CLIP_S = 10
BATCH_S = {"large": 320.0, "xlarge": 320.0}
TEACHERS = {"speech": (1024, 50.0), "sound": (768, 25.0), "music": (1024, 25.0)}
"""Width and frames per second of WavLM Large, ATST-Frame and MuQ."""
PAPER_TIMES_REAL_TIME = 385.0
"""XXLarge at 25 Hz on an A5000, 30 s of audio (USAD 2.0, arXiv 2606.06444, table 4)."""


class RandomAudio:
    """Noise, the same for a piece each time."""

    def samples(self, index: int) -> Samples:
        """Of one piece, float32 at 16 kHz."""
        rng = np.random.default_rng(index)
        return (rng.standard_normal(CLIP_S * 16_000, dtype=np.float32) * 0.1).astype(np.float32)


class RandomTargets(CachedTargets):
    """Random frames of a teacher's shape, read in the background like cached ones."""

    def __init__(self, layers: tuple[int, ...], dim: int, rate_hz: float) -> None:
        self.layers, self.dim = layers, dim
        self.frame_rates_hz = (rate_hz,) * len(layers)
        generator = torch.Generator().manual_seed(dim)
        self.block = torch.randn(int(CLIP_S * rate_hz), dim, generator=generator).half()

    def features(self, pieces: Sequence[int]) -> LayerFeatures:
        """The same random frames for each piece and layer."""
        frames = self.block.expand(len(pieces), -1, -1).contiguous()
        n_valid = torch.full((len(pieces),), frames.shape[1])
        return LayerFeatures(
            layers=self.layers,
            frames=tuple(frames.clone() for _ in self.layers),
            n_valid=(n_valid,) * len(self.layers),
            frame_rates_hz=self.frame_rates_hz,
        )


def bench_large_training(n_steps: int = 20) -> list[Row]:
    """Training of Large and XLarge in bfloat16, compiled, over the matrix product's rate."""
    product, product_flops = matmul_job("cuda", torch.bfloat16)
    rows = []
    for size in ("large", "xlarge"):
        with tempfile.TemporaryDirectory() as folder:
            trainer = synthetic_trainer(SIZES[size], BATCH_S[size], Path(folder), n_steps + 5)
            step_s, waiting_s = _time_steps(trainer, n_steps)
        peak = product_flops / median_seconds({"mm": product})["mm"]
        n_clips = int(BATCH_S[size] / CLIP_S)
        flops = 3 * forward_flops(SIZES[size], n_clips, CLIP_S * 16_000)
        name = f"training {size}, {n_clips} x {CLIP_S} s, bfloat16, compiled, synthetic targets"
        rows += [
            make_row(
                name, flops / step_s / 1e12, "TFLOP/s", "bfloat16 matrix product", peak / 1e12
            ),
            make_row(
                name, 1 - waiting_s / step_s, "share not waiting for data", "always busy", 1.0
            ),
        ]
    return rows


def bench_xxlarge_inference() -> list[Row]:
    """XXLarge at 25 Hz: audio seconds per second, over what its paper reports."""
    with torch.device("cuda"):
        student = build_student(SIZES["xxlarge"]).eval().to(torch.bfloat16)
    samples = torch.randn(16, 30 * 16_000, device="cuda") * 0.1
    compiled = torch.compile(student)
    with torch.inference_mode():
        seconds = median_seconds({"student": lambda: compiled(samples)})["student"]
    return [
        make_row(
            "inference xxlarge, 16 x 30 s, bfloat16, compiled",
            16 * 30 / seconds,
            "audio s/s",
            "the paper's on an A5000 (another machine)",
            PAPER_TIMES_REAL_TIME,
        )
    ]


def synthetic_trainer(
    config: StudentConfig, batch_s: float, folder: Path, n_steps: int, device: str = "cuda"
) -> Trainer:
    """The trainer of this project on random audio and targets."""
    layers = tuple(config.n_layers * k // 4 for k in (1, 2, 3, 4))
    n_pieces = 4 * int(batch_s / CLIP_S)
    domains = list(TEACHERS)
    pieces = tuple(
        Piece(
            clip_id=str(i), domain=domains[i % len(domains)], start_s=0.0, n_samples=CLIP_S * 16_000
        )
        for i in range(n_pieces)
    )
    specs = tuple(
        HeadSpec(
            teacher=domain,
            student_layer=layer,
            teacher_layer=layer,
            kind="ffn",
            teacher_dim=dim,
            student_dim=config.dim,
            hidden_dim=config.dim,
        )
        for domain, (dim, _) in TEACHERS.items()
        for layer in layers
    )
    on_accelerator = device == "cuda"
    recipe = Recipe(
        name="bench",
        student=config,
        teachers=tuple(TeacherRecipe(name=domain, domain=domain) for domain in domains),
        data=DataRecipe(
            sources=(SourceRecipe(path="none"),),
            batch_s=batch_s,
            n_loaders=8 if on_accelerator else 0,
        ),
        optimiser=OptimiserRecipe(peak_lr=1e-4, n_steps=n_steps, warmup_steps=1),
        run=RunRecipe(
            device=device,
            precision="bfloat16" if on_accelerator else "float32",
            compile=on_accelerator,
            log_every=n_steps,
            checkpoint_every=n_steps,
        ),
    )
    folder.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(
        recipe,
        folder,
        student=build_student(config),
        heads=Heads(specs),
        corpus=Corpus(pieces, RandomAudio(), key="random"),
        targets={
            domain: RandomTargets(layers, dim, rate_hz)
            for domain, (dim, rate_hz) in TEACHERS.items()
        },
        provenance={},
    )
    trainer.log.open(0)
    return trainer


def _time_steps(trainer: Trainer, n_steps: int) -> tuple[float, float]:
    """Median seconds of a step, and mean seconds of it that went by waiting for data."""
    waited: list[float] = []
    read = trainer.loader.read

    def timed_read(step: int) -> object:
        started = time.perf_counter()
        batch = read(step)
        waited.append(time.perf_counter() - started)
        return batch

    trainer.loader.read = timed_read  # type: ignore[method-assign, assignment]
    trainer.model.train()
    for _ in range(5):  # compiles
        trainer.step()
    waited.clear()
    times = []
    for _ in range(n_steps):
        wait()
        started = time.perf_counter()
        trainer.step()
        wait()
        times.append(time.perf_counter() - started)
    return statistics.median(times), statistics.mean(waited)
