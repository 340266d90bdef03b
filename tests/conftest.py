"""Fixtures and the report header; every test works on folders of its own."""

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from usad_workbench.core.models.encoder import Encoder, LayerFeatures, TargetKind
from usad_workbench.core.models.spec import EncoderSpec
from usad_workbench.core.storage.importing import SourceClip, import_clips
from usad_workbench.core.storage.workspace import Workspace

RATE_HZ = 16_000

# No AMX, here and in child processes: some virtual machines announce it without its palettes
# (CPUID leaf 1D is empty), and torch's first bfloat16 product there ends the process with an
# illegal instruction, or leaves it unable to make any convolution. Read before the first one.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_FP16")

SHARED = ("demo", "address")
"""Fixtures that take minutes or hold a server; the longest first."""

if "PYTEST_XDIST_WORKER" in os.environ:  # one core for each process of tests
    torch.set_num_threads(1)


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With several processes, a file stays in one, and so do all tests of a shared fixture.

    Those of the demo begin first: it is the longest piece that cannot be divided.
    """

    def group(item: pytest.Item) -> str:
        fixtures = getattr(item, "fixturenames", ())
        return next((name for name in SHARED if name in fixtures), str(item.path))

    items.sort(key=lambda item: SHARED.index(group(item)) if group(item) in SHARED else len(SHARED))
    for item in items:
        item.add_marker(pytest.mark.xdist_group(group(item)))


def pytest_report_header() -> str:
    """The versions that explain a log by themselves."""
    names = ("torch", "numpy", "duckdb", "faiss-cpu", "streamlit", "transformers", "scikit-learn")
    return ", ".join(f"{name} {version(name)}" for name in names)


class SpectrumEncoder(Encoder):
    """A deterministic encoder of the clip's content: spectra of 100 ms windows.

    Layer 0 is the low part of the spectrum, layer 1 the squared whole: a mistake in the
    order of clips, layers or windows changes numbers.
    """

    weights_sha256 = "0" * 64

    def __init__(self, name: str = "spectrum", exponent: float = 2.0) -> None:
        self.spec = EncoderSpec(
            name=name,
            role="baseline",
            domain=None,
            n_layers=1,
            dims=(8, 16),
            frame_rates_hz=(10.0, 10.0),
            sample_rate_hz=RATE_HZ,
            n_params=0,
            licence="Apache-2.0",
            citation="this test",
            min_duration_s=0.1,
        )
        self._exponent = exponent

    def to(self, device: str | torch.device) -> "SpectrumEncoder":
        return self

    def _forward(
        self,
        samples: torch.Tensor,
        n_valid: torch.Tensor,
        layers: tuple[int, ...],
        kind: TargetKind,
    ) -> LayerFeatures:
        windows = samples.unfold(1, 1600, 1600)
        spectra = torch.fft.rfft(windows).abs()
        frames = (spectra[..., 1:9] + 0.1, spectra[..., 1:17] ** self._exponent)
        n_frames = torch.full((len(samples),), windows.shape[1])
        return LayerFeatures(
            layers=layers,
            frames=tuple(frames[layer] for layer in layers),
            n_valid=tuple(n_frames for _ in layers),
            frame_rates_hz=tuple(10.0 for _ in layers),
        )


def write_tone(path: Path, hz: float, seconds: float = 1.0, rate_hz: int = RATE_HZ) -> Path:
    """A tone with a little noise, different for every frequency."""
    rng = np.random.default_rng(round(hz))
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    soundfile.write(
        path, 0.3 * np.sin(2 * np.pi * hz * t) + 0.01 * rng.normal(size=len(t)), rate_hz
    )
    return path


@pytest.fixture
def tones(tmp_path: Path) -> list[SourceClip]:
    """Thirty tones of three domains and ten clusters."""
    folder = tmp_path / "audio"
    folder.mkdir()
    return [
        SourceClip(
            path=write_tone(folder / f"tone{i:02}.wav", 10 + 5 * i, 0.5 + 0.05 * i),
            fields={
                "clip_id": f"tone{i:02}",
                "domain": ("speech", "sound", "music")[i % 3],
                "cluster_id": f"c{i % 10}",
                "label": "low" if i < 15 else "high",
                "pitch": str(i),
            },
        )
        for i in range(30)
    ]


@pytest.fixture
def workspace(tmp_path: Path, tones: list[SourceClip]) -> Workspace:
    """A workspace with the tones, not embedded yet."""
    made = Workspace.create(tmp_path / "workspace")
    import_clips(made, tones)
    return made


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The document that ``usad demo --no-serve --json`` prints, run once, as a user runs it.

    With ``USAD_DEMO_WORKSPACE`` set, an existing demo workspace is brought up to date
    instead of made: for working on the tests.
    """
    folder = os.environ.get("USAD_DEMO_WORKSPACE") or str(tmp_path_factory.mktemp("demo") / "w")
    done = subprocess.run(
        [
            sys.executable, "-m", "usad_workbench.workbench.cli", "demo", "--no-serve", "--json",
            "--workspace", folder,
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    document: dict[str, Any] = json.loads(done.stdout)
    return document
