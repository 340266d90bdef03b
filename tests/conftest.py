"""Fixtures and the report header; every test works on folders of its own."""

import fcntl
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

LONGEST = (
    "workbench/test_scenarios.py",
    "broken_inputs/test_broken_inputs.py",
    "workbench/test_browser.py",
    "kills/test_kills.py",
    "workbench/test_foreign_encoders.py",
)
"""Files of more than a minute (``tests/README.md``)."""

if "PYTEST_XDIST_WORKER" in os.environ:  # one core for each process of tests
    torch.set_num_threads(1)
    # What asks for no number of processes works in this one: others begin with seconds of imports.
    os.cpu_count = lambda: 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first file that needs the demo begins, the others come last and find it made.

    It takes minutes, and with several processes nothing else may wait for it. The longest of
    the other files are next, so that no process ends long after the others. A file stays in one
    process (``--dist loadfile``); the groups of ``loadgroup`` have no effect with pytest 9.2
    and pytest-xdist 3.8: names of tests cannot be changed any more.
    """
    using = list(dict.fromkeys(i.path for i in items if "demo" in getattr(i, "fixturenames", ())))
    rank = {Path(__file__).parent / name: -1 for name in LONGEST}
    rank |= {path: number or -2 for number, path in enumerate(using)}
    items.sort(key=lambda item: rank.get(item.path, 0))


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

    Processes of tests share it: the first one makes it, the others wait. With
    ``USAD_DEMO_WORKSPACE`` set, an existing demo workspace is brought up to date instead of
    made: for working on the tests.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = os.environ.get("USAD_DEMO_WORKSPACE") or str(shared / "demo" / "w")
    printed = shared / "demo.json"
    with (shared / "demo.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not printed.exists():
            printed.write_text(_run_demo(folder), encoding="utf-8")
    document: dict[str, Any] = json.loads(printed.read_text(encoding="utf-8"))
    return document


def _run_demo(folder: str) -> str:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "usad_workbench.workbench.cli",
            "demo",
            "--no-serve",
            "--short",
            "--json",
            "--workspace",
            folder,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
