"""A tiny student on disk, every one of whose parameters matters."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from usad_workbench.core.interop.source import LoadedStudent, open_student
from usad_workbench.core.models.checkpoint import save_student
from usad_workbench.core.models.sizes import StudentConfig
from usad_workbench.core.models.student import build_student

CONFIG = StudentConfig(
    dim=32,
    n_layers=2,
    n_heads=2,
    pos_groups=4,
    conv_channels=8,
    frame_rate_hz=25,
    max_mel_frames=100,
)
PROVENANCE = {
    "name": "tiny | student",
    "licence": "CC-BY-4.0",
    "teachers": [{"teacher": "voice", "domain": "speech", "stage": 1, "target": "ffn"}],
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def student_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its biases and norms are drawn too: at zero and one a mix-up would not show."""
    student = build_student(CONFIG, seed=5)
    generator = torch.Generator().manual_seed(6)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return save_student(tmp_path_factory.mktemp("student") / "tiny", student, None, PROVENANCE)


@pytest.fixture(scope="session")
def source(student_dir: Path) -> LoadedStudent:
    return open_student(str(student_dir))


def clips(*lengths: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch of noise, zeros behind each clip, and the lengths."""
    n_valid = torch.tensor(lengths)
    generator = torch.Generator().manual_seed(sum(lengths))
    samples = 0.1 * torch.randn(len(lengths), max(lengths), generator=generator)
    return samples * (torch.arange(max(lengths)) < n_valid.unsqueeze(1)), n_valid
