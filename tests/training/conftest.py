"""A tiny corpus of synthetic sounds and tiny teachers that are functions of what they hear."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from usad_workbench.core.models.encoder import (
    Encoder,
    EncoderSpec,
    LayerFeatures,
    TargetKind,
)


class FakeTeacher(Encoder):
    """Log energies of a few bands, mixed by fixed random matrices; frames follow the sound."""

    def __init__(
        self, name: str, rate_hz: float, dim: int, *, pads: bool = False, has_ffn: bool = False
    ) -> None:
        self.hop = round(16_000 / rate_hz)
        self.weights_sha256 = f"fake-{name}"
        rate = 16_000 / self.hop
        self.spec = EncoderSpec(
            name=name,
            role="teacher",
            domain=None,
            n_layers=4,
            dims=(dim,) * 5,
            frame_rates_hz=(rate,) * 5,
            sample_rate_hz=16_000,
            n_params=0,
            licence="none",
            citation="none",
            pads=pads,
            has_ffn=has_ffn,
        )
        generator = torch.Generator().manual_seed(sum(map(ord, name)))
        self.mix = torch.randn(5, 8, dim, generator=generator)
        self.n_calls = 0

    def _forward(
        self, samples: Tensor, n_valid: Tensor, layers: tuple[int, ...], kind: TargetKind
    ) -> LayerFeatures:
        self.n_calls += 1
        n = samples.shape[1] // self.hop
        windows = samples[:, : n * self.hop].reshape(len(samples), n, self.hop)
        spectrum = torch.fft.rfft(windows).abs()
        bands = torch.stack([b.mean(-1) for b in spectrum.tensor_split(8, dim=-1)], -1)
        energies = (bands + 1e-3).log()
        sign = -1.0 if kind == "ffn" else 1.0
        return LayerFeatures(
            layers=layers,
            frames=tuple(sign * torch.tanh(energies @ self.mix[i] / 4) for i in layers),
            n_valid=(n_valid // self.hop,) * len(layers),
            frame_rates_hz=(self.spec.frame_rates_hz[0],) * len(layers),
        )

    def to(self, device: str | torch.device) -> FakeTeacher:
        self.device = torch.device(device)
        return self


def make_samples(rng: np.random.Generator, domain: str, n_samples: int) -> np.ndarray:
    """A sound with some changing structure, other for each domain."""
    time = np.arange(n_samples) / 16_000
    pitch = rng.uniform(100, 300) * {"speech": 1, "sound": 5, "music": 12}[domain]
    tone = np.sin(2 * np.pi * pitch * time * (1 + 0.1 * np.sin(2 * np.pi * time)))
    envelope = 0.5 + 0.5 * np.sin(2 * np.pi * rng.uniform(0.5, 3) * time)
    return (0.3 * tone * envelope + 0.02 * rng.standard_normal(n_samples)).astype(np.float32)


def write_corpus(folder: Path, n_per_domain: int = 6) -> Path:
    """Writes sounds and their manifest; lengths differ, one is longer than a piece."""
    rng = np.random.default_rng(0)
    rows = []
    for domain in ("speech", "sound", "music"):
        for i in range(n_per_domain):
            name = f"{domain}-{i}.wav"
            seconds = 2.5 if i == 0 else rng.uniform(0.6, 1.4)
            samples = make_samples(rng, domain, int(seconds * 16_000))
            soundfile.write(folder / name, samples, 16_000)
            rows.append({"clip_id": f"{domain}-{i}", "path": name, "domain": domain})
    return write_manifest(folder / "manifest.csv", rows)


def write_manifest(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["clip_id", "path", "domain"])
        writer.writeheader()
        writer.writerows(rows)
    return path


RECIPE = """
name = "tiny"

[student]
dim = 32
n_layers = 4
n_heads = 2
pos_groups = 4
pos_width = 15
conv_channels = 8
dropout = {dropout}

[[teachers]]
name = "voice"
domain = "speech"

[[teachers]]
name = "noise"
domain = "sound"

[[teachers]]
name = "tune"
domain = "music"

[data]
max_clip_s = 1.0
min_clip_s = 0.3
batch_s = 4.0
cache = "{cache}"

[[data.sources]]
path = "{manifest}"

[objective]
target_scaling = "standardise"

[optimiser]
peak_lr = 3e-3
n_steps = {n_steps}
warmup_steps = 2

[run]
log_every = 1
checkpoint_every = 3
"""


@pytest.fixture(scope="session")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def make_teachers() -> dict[str, Encoder]:
    return {
        "voice": FakeTeacher("voice", 50.0, 12, has_ffn=True),
        "noise": FakeTeacher("noise", 20.0, 10, pads=True),
        "tune": FakeTeacher("tune", 62.5, 14),
    }


@pytest.fixture
def teachers() -> dict[str, Encoder]:
    return make_teachers()


@pytest.fixture
def recipe_file(tmp_path: Path, manifest: Path, cache: Path) -> Callable[..., Path]:
    def write(n_steps: int = 6, dropout: float = 0.1, manifest: Path = manifest) -> Path:
        path = tmp_path / "recipe.toml"
        path.write_text(
            RECIPE.format(manifest=manifest, cache=cache, n_steps=n_steps, dropout=dropout),
            encoding="utf-8",
        )
        return path

    return write


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny matrices are slower, not faster, on several threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
