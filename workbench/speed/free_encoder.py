"""``embed`` with an encoder that costs nothing: what is left is reading, pooling and storing.

So fast can no encoder be embedded with on this machine, whatever computes it. The peer is DuckDB's
own bulk insert of the same vectors, beside which ours also reads the audio.
"""

import shutil
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor

from usad_workbench.core.embedding import embed
from usad_workbench.core.models.encoder import (
    Encoder,
    EncoderSpec,
    FloatArray,
    LayerFeatures,
    TargetKind,
)
from usad_workbench.core.storage.importing import SourceClip, import_clips
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.workbench.speed.measure import Row, make_row, median_costs
from usad_workbench.workbench.speed.storing import fill_duckdb

STACKS = ((13, 384), (49, 1280))
"""Layers and width of a small student, and of the largest that is published."""
SEGMENT_S = 10.0
RATE_HZ = 16_000
N_SEGMENTS = 500
REPEATS = 3


class FreeEncoder(Encoder):
    """One frame a clip and layer: the clip's first samples, so that rows differ."""

    weights_sha256 = "0" * 64

    def __init__(self, n_layers: int, dim: int) -> None:
        """``n_layers`` counts layer 0."""
        self.spec = EncoderSpec(
            name=f"free-{n_layers}x{dim}",
            role="baseline",
            domain=None,
            n_layers=n_layers - 1,
            dims=(dim,) * n_layers,
            frame_rates_hz=(1 / SEGMENT_S,) * n_layers,
            sample_rate_hz=RATE_HZ,
            n_params=0,
            licence="Apache-2.0",
            citation="this benchmark",
            min_duration_s=dim / RATE_HZ,
        )

    def to(self, device: str | torch.device) -> "FreeEncoder":
        """Itself: it has nothing to move."""
        return self

    def _forward(
        self, samples: Tensor, n_valid: Tensor, layers: tuple[int, ...], kind: TargetKind
    ) -> LayerFeatures:
        n_clips, dim = len(samples), self.spec.dims[0]
        frames = samples[:, None, :dim]
        one = torch.ones(n_clips, dtype=torch.int64)
        return LayerFeatures(
            layers=layers,
            frames=(frames,) * len(layers),
            n_valid=(one,) * len(layers),
            frame_rates_hz=(1 / SEGMENT_S,) * len(layers),
        )


def bench_free_encoder(n_segments: int = N_SEGMENTS, repeats: int = REPEATS) -> Iterator[Row]:
    """Segments of ten seconds per second through the whole of ``embed``."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        noise = np.random.default_rng(0).normal(
            scale=3000.0, size=round(n_segments * SEGMENT_S * RATE_HZ)
        )
        soundfile.write(folder / "long.wav", noise.astype(np.int16), RATE_HZ)
        imported = Workspace.create(folder / "w")
        import_clips(imported, [SourceClip(path=folder / "long.wav", fields={"domain": "sound"})])
        for n_layers, dim in STACKS:
            layers = {i: np.ones((n_segments, dim), dtype=np.float32) for i in range(n_layers)}
            names = [folder / f"{n_layers}-{i}" for i in range(repeats)]
            copies = [shutil.copytree(imported.folder, name) for name in names]
            files = [name.with_suffix(".duckdb") for name in names]
            costs = median_costs(
                {
                    "ours": partial(_embed, iter(copies), FreeEncoder(n_layers, dim)),
                    "peer": partial(_insert, iter(files), layers),
                },
                repeats,
            )
            label = f"embed with a free encoder, {n_layers} x {dim}, {n_segments} segments"
            for clock in ("processor", "wall"):
                ours, theirs = (n_segments / getattr(costs[who], f"{clock}_s") for who in costs)
                yield make_row(f"{label}, {clock}", ours, "segments/s", "DuckDB's insert", theirs)


def _embed(copies: Iterator[Path], encoder: Encoder) -> None:
    """With the next workspace that holds the recording alone."""
    embed(Workspace.open(next(copies)), encoder)


def _insert(files: Iterator[Path], layers: dict[int, FloatArray]) -> None:
    fill_duckdb(next(files), layers)
