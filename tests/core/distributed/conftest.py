"""A Ray cluster of two workers, and an encoder that some audio kills."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from usad_workbench.core.distributed.cluster import LOOPBACK_ALONE
from usad_workbench.core.storage.importing import SourceClip, import_clips
from usad_workbench.core.storage.workspace import Workspace

RATE_HZ = 16_000
ENCODER = "hear:fragile_encoder"
DEADLY, ONCE_DEADLY = 80, 81
"""Numbers of clips on which a worker is killed: each one, and the first one."""
MODULE = f"""
import os, signal
from pathlib import Path

import torch
from torch import nn

FOLDER = Path(__file__).parent


class Net(nn.Module):
    sample_rate = {RATE_HZ}
    timestamp_embedding_size = 8
    scene_embedding_size = 8

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))


def load_model(path=None):
    return Net()


def get_timestamp_embeddings(audio, model):
    for first in audio[:, 0].tolist():
        number = round(first * 100)
        if number == {DEADLY}:
            os.kill(os.getpid(), signal.SIGKILL)
        if number == {ONCE_DEADLY} and not (FOLDER / "killed").exists():
            (FOLDER / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        with (FOLDER / "log.txt").open("a") as log:
            log.write(f"{{number}}\\n")
    frames = audio.unfold(1, 1600, 1600)[..., :8] * model.scale
    times = torch.arange(frames.shape[1]).float()[None] * 100
    return frames, times.expand(len(frames), -1)


def get_scene_embeddings(audio, model):
    return get_timestamp_embeddings(audio, model)[0].mean(1) if not audio[:, 0].any() else audio[:, :8]
"""


def clips(folder: Path, numbers: list[int]) -> list[SourceClip]:
    """Noise whose first sample says which clip it is."""
    folder.mkdir(parents=True)
    made = []
    for number in numbers:
        samples = np.random.default_rng(number).uniform(-0.5, 0.5, RATE_HZ // 2)
        samples[0] = number / 100
        soundfile.write(folder / f"{number:02}.wav", samples, RATE_HZ, subtype="FLOAT")
        made.append(
            SourceClip(path=folder / f"{number:02}.wav", fields={"clip_id": f"clip{number:02}"})
        )
    return made


def made_workspace(folder: Path, numbers: list[int]) -> Workspace:
    """A workspace of such clips, whose audio lies beside it."""
    workspace = Workspace.create(folder / "w")
    import_clips(workspace, clips(folder / "audio", numbers))
    return workspace


@pytest.fixture(scope="session")
def module_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the module of the encoder lies, and its log."""
    folder = tmp_path_factory.mktemp("module")
    (folder / "fragile_encoder.py").write_text(MODULE, encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def ray_address(module_folder: Path) -> Iterator[str]:
    """The address of a cluster of this machine with two processors."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ[LOOPBACK_ALONE] = "0"
    ray = pytest.importorskip("ray")
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(module_folder), before or ""])
    sys.path.insert(0, str(module_folder))
    try:
        ray.init(
            num_cpus=2,
            include_dashboard=False,
            object_store_memory=100 * 2**20,
            log_to_driver=False,
            logging_level="ERROR",
        )
        yield ray.get_runtime_context().gcs_address
        ray.shutdown()
    finally:
        sys.path.remove(str(module_folder))
        os.environ["PYTHONPATH"] = before or ""


@pytest.fixture
def log(module_folder: Path) -> Path:
    """The numbers of the clips that went through the encoder, a line each."""
    for name in ("log.txt", "killed"):
        (module_folder / name).unlink(missing_ok=True)
    return module_folder / "log.txt"
