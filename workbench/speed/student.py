"""The shipped student: its training and its encoding of clips."""

import csv
import json
import statistics
import tempfile
from collections.abc import Sequence
from functools import partial
from importlib import resources
from pathlib import Path

import torch

from usad_workbench.core import load_encoder
from usad_workbench.core.audio.reading import read_audio
from usad_workbench.core.clips import Clip
from usad_workbench.core.config import load_config
from usad_workbench.core.models.checkpoint import load_student
from usad_workbench.core.models.encoder import Encoder
from usad_workbench.training.recipe import Recipe, find_recipe
from usad_workbench.training.run import train
from usad_workbench.workbench.speed.flops import forward_flops
from usad_workbench.workbench.speed.measure import (
    Row,
    make_row,
    matmul_job,
    median_seconds,
)

PEER_ENCODER = "whisper-tiny.en"


def bench_encode() -> list[Row]:
    """Audio seconds per second of the shipped student, over those of Whisper tiny.en."""
    clips = [clip for clip in sample_clips(12) if clip.duration_s >= 1.0]
    encoders: dict[str, Encoder] = {
        "student": load_student(),
        PEER_ENCODER: load_encoder(PEER_ENCODER),
    }
    times = median_seconds(
        {name: partial(_embed, encoder, clips) for name, encoder in encoders.items()}
    )
    audio_s = sum(clip.duration_s for clip in clips)
    values = {name: audio_s / seconds for name, seconds in times.items()}
    return [
        make_row(
            f"encode, {len(clips)} clips one by one, every layer",
            values["student"],
            "audio s/s",
            PEER_ENCODER,
            values[PEER_ENCODER],
        )
    ]


def bench_training_throughput(n_steps: int = 6, repeats: int = 2) -> list[Row]:
    """Training of the shipped student's recipe, over the same in float32, teachers online.

    Operations are counted for the student on clips of 5 s, heads left out, so their rate is
    an approximation.
    """
    kinds = {
        "cached": ("data.targets=cached", "run.precision=bfloat16"),
        "online": ("data.targets=online", "run.precision=float32"),
    }
    speeds: dict[str, list[float]] = {kind: [] for kind in kinds}
    with tempfile.TemporaryDirectory() as folder:
        recipe = _small_recipe(Path(folder))
        for repeat in range(repeats):
            for kind, overrides in kinds.items():
                run = Path(folder, f"{kind}-{repeat}")
                settings = (*overrides, f"optimiser.n_steps={n_steps}")
                result = train(recipe, run, settings)
                speeds[kind].append(_audio_per_second(Path(result.checkpoint)))
    config = load_config(Recipe, find_recipe("demo-small")).student
    cached, online = (statistics.median(speeds[kind]) for kind in kinds)
    product, product_flops = matmul_job("cpu", torch.bfloat16)
    peak = product_flops / median_seconds({"mm": product})["mm"]
    # The backward pass computes twice as much as the forward pass.
    flops_per_s = 3 * forward_flops(config, 8, 80_000) / (8 * 5.0)
    return [
        make_row(
            "training-throughput, cached targets, bfloat16",
            cached,
            "audio s/s",
            "float32, teachers online",
            online,
        ),
        make_row(
            "training-throughput, cached targets, bfloat16",
            cached * flops_per_s / 1e9,
            "GFLOP/s",
            "bfloat16 matrix product on this machine",
            peak / 1e9,
        ),
    ]


def sample_clips(per_domain: int) -> list[Clip]:
    """The first clips of each domain of the sample data, at 16 kHz."""
    return [read_audio(row["path"], sample_rate_hz=16_000) for row in _sample_rows(per_domain)]


def _sample_rows(per_domain: int) -> list[dict[str, str]]:
    folder = Path(str(resources.files("usad_workbench.sample_data")))
    found: dict[str, list[dict[str, str]]] = {"speech": [], "sound": [], "music": []}
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            rows = found.get(row["domain"])
            if rows is not None and len(rows) < per_domain:
                kept = {key: row[key] for key in ("clip_id", "domain")}
                rows.append({**kept, "path": str(folder / row["path"])})
    return [row for rows in found.values() for row in rows]


def _small_recipe(folder: Path) -> Path:
    """The shipped student's recipe on a few clips, with nothing written on the way."""
    manifest = folder / "manifest.csv"
    with manifest.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["clip_id", "path", "domain"])
        writer.writeheader()
        writer.writerows(_sample_rows(16))
    lines = find_recipe("demo-small").read_text(encoding="utf-8").splitlines()
    text = "\n".join(
        f'path = "{manifest}"' if line.startswith('path = "') else line for line in lines
    )
    text = text.replace("[data]", f'[data]\ncache = "{folder / "cache"}"', 1)
    text = text.replace("warmup_steps = 200", "warmup_steps = 1", 1)
    recipe = folder / "recipe.toml"
    recipe.write_text(text, encoding="utf-8")
    return recipe


def _audio_per_second(checkpoint: Path) -> float:
    described = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    provenance = described["provenance"]
    return float(provenance["audio_s"]) / float(provenance["wall_s"])


def _embed(encoder: Encoder, clips: Sequence[Clip]) -> None:
    for clip in clips:
        encoder.embed(clip)
