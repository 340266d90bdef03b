"""X-ARES' own checker, and the interface of XARES-LLM as its runner uses it."""

from pathlib import Path

import pytest
import torch

from tests.core.interop.conftest import clips
from usad_workbench.core.interop import xares, xares_llm
from usad_workbench.core.interop.source import LoadedStudent


def test_the_checker_of_xares_passes(student_dir: Path) -> None:
    """xares 0.1.3, ``check_audio_encoder``, unchanged."""
    checker = pytest.importorskip("xares.audio_encoder_checker")
    assert checker.check_audio_encoder(xares.UsadEncoder(str(student_dir)))


def test_the_interface_of_xares(student_dir: Path, source: LoadedStudent) -> None:
    """The checker's demands, restated; the hop says how many frames a second has."""
    encoder = xares.UsadEncoder(str(student_dir), layer=1)
    assert type(encoder).__name__.endswith("Encoder")
    assert (encoder.sampling_rate, encoder.output_dim, encoder.hop_size_in_ms) == (16_000, 32, 40)
    samples, _ = clips(50_000, 50_000)
    frames = encoder(samples)
    assert frames.shape == (2, round(50_000 / 16 / 40), 32)
    with torch.no_grad():
        assert torch.equal(frames, source.student(samples).layer(1))
    assert torch.equal(encoder(samples[0]), encoder(samples[:1]))


@pytest.mark.parametrize("module", [xares, xares_llm])
def test_the_runners_find_one_class_by_its_ending(module: object) -> None:
    assert [name for name in dir(module) if name.endswith("Encoder")] == ["UsadEncoder"]


def test_the_interface_of_xares_llm(student_dir: Path, source: LoadedStudent) -> None:
    """forward(audio, audio_attention_mask) -> (features, mask), and output_dim."""
    encoder = xares_llm.UsadEncoder(student=str(student_dir))
    samples, lengths = clips(16_000, 8_000, 200)
    mask = (torch.arange(16_000) < lengths.unsqueeze(1)).long()
    noisy = samples + (1 - mask) * 7.0  # what the mask hides must not matter
    frames, is_frame = encoder(noisy, mask)
    assert frames.shape == (3, 25, encoder.output_dim)
    assert is_frame.dtype == torch.int64 and is_frame.sum(1).tolist() == [25, 12, 1]
    assert torch.equal(frames[is_frame == 0].unique(), torch.zeros(1))
    with torch.no_grad():
        alone = source.student(samples[1:2, :8_000]).layer(2)
    assert torch.allclose(frames[1, :12], alone[0], atol=1e-5)
    whole, everything = encoder(samples[0])
    assert torch.allclose(whole, frames[:1], atol=1e-5) and everything.all()
