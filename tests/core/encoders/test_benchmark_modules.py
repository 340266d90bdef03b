"""Modules of the HEAR API and classes of X-ARES as encoders."""

from pathlib import Path

import numpy as np
import pytest
import torch

from usad_workbench.core.clips import Clip
from usad_workbench.core.encoders.registry import encoder_status, load_encoder
from usad_workbench.core.errors import ConfigError
from usad_workbench.core.models.checkpoint import save_student
from usad_workbench.core.models.sizes import StudentConfig
from usad_workbench.core.models.student import build_student

HEAR = "hear:usad_workbench.core.interop.hear"
RATE = 16_000


@pytest.fixture
def student(tmp_path: Path) -> str:
    config = StudentConfig(dim=32, n_layers=2, n_heads=2, frame_rate_hz=25)
    save_student(tmp_path / "student", build_student(config, 3), None, {})
    return f"run:{tmp_path / 'student'}"


@pytest.fixture
def clip() -> Clip:
    samples = np.random.default_rng(0).normal(scale=0.1, size=2 * RATE).astype(np.float32)
    return Clip(samples=samples, sample_rate_hz=RATE)


def test_a_hear_module_gives_its_own_frames(student: str, clip: Clip) -> None:
    """Our student behind the HEAR API and back again is our student."""
    name = f"{HEAR}:{student}"
    assert encoder_status(name).available
    there, direct = load_encoder(name), load_encoder(student)
    assert there.spec.dims == (32,) and there.spec.frame_rates_hz == (25.0,)
    assert there.spec.native_dim == 32 and there.spec.sample_rate_hz == RATE
    found, expected = there.encode(clip), direct.encode(clip, -1)
    torch.testing.assert_close(found.frames[0], expected.frames[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        there.embed(clip, 0, "native")[0], direct.embed(clip, -1)[0], rtol=1e-4, atol=1e-5
    )


def test_a_xares_class_gives_its_own_frames(clip: Clip) -> None:
    there = load_encoder("xares:usad_workbench.core.interop.xares:UsadEncoder")
    expected = load_encoder("usad-demo").encode(clip, -1)
    assert there.spec.frame_rates_hz == (25.0,) and there.spec.native_dim is None
    torch.testing.assert_close(there.encode(clip).frames[0], expected.frames[0])
    other = load_encoder("xares:usad_workbench.core.interop.xares:UsadEncoder")
    assert there.weights_sha256 == other.weights_sha256


def test_other_weights_have_another_hash(student: str) -> None:
    assert load_encoder(HEAR).weights_sha256 != load_encoder(f"{HEAR}:{student}").weights_sha256


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("hear:no_such_module", "not installed"),
        ("hear:", "none"),
        ("hear:json", "no function load_model"),
        ("xares:json", "names no class"),
        ("xares:json:JSONDecoder", "expected a module of torch"),
        ("xares:torch.nn:ReLU", "no sampling_rate"),
    ],
)
def test_what_is_no_such_module(name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_encoder(name)


MODULE = """
import torch
from torch import nn


def load_model(path="default"):
    return open(path)


def get_timestamp_embeddings(audio, model):
    raise NotImplementedError


get_scene_embeddings = get_timestamp_embeddings


class NeedsMore(nn.Module):
    def __init__(self, path):
        super().__init__()


class Masked(nn.Module):
    output_dim = 2

    def forward(self, audio, audio_attention_mask):
        frames = audio.unfold(1, 640, 640).mean(2)
        mask = audio_attention_mask.unfold(1, 640, 640).amin(2)
        padded = nn.functional.pad(torch.stack([frames, -frames], 2), (0, 0, 0, 3))
        return padded, nn.functional.pad(mask, (0, 3))
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "my_odd_module.py").write_text(MODULE)
    (tmp_path / "my_broken_module.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(str(tmp_path))
    return "my_odd_module"


def test_an_encoder_for_xares_llm(module: str, clip: Clip) -> None:
    """A mask goes in and comes out; the rate of frames is measured."""
    encoder = load_encoder(f"xares:{module}:Masked")
    assert encoder.spec.frame_rates_hz == (25.0,) and encoder.spec.sample_rate_hz == RATE
    found = encoder.encode(clip)
    assert found.n_valid[0].tolist() == [len(clip.samples) // 640]
    expected = clip.samples[: len(clip.samples) // 640 * 640].reshape(-1, 640).mean(1)
    np.testing.assert_allclose(found.frames[0][0, :50, 0], expected, atol=1e-6)
    np.testing.assert_allclose(encoder.embed(clip, 0)[0][1], -expected.mean(), atol=1e-6)


def test_our_own_encoder_for_xares_llm_comes_back(clip: Clip) -> None:
    there = load_encoder("xares:usad_workbench.core.interop.xares_llm:UsadEncoder")
    expected = load_encoder("usad-demo").embed(clip, -1)[0]
    np.testing.assert_allclose(there.embed(clip, 0)[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("hear:my_odd_module:nowhere", r"load_model of hear:.*No such file.*module's own code"),
        ("xares:my_odd_module:NeedsMore", r"TypeError: .*path.*module's own code"),
        ("hear:my_broken_module", r"Importing my_broken_module fails: ZeroDivisionError"),
    ],
)
def test_what_their_code_raises_is_said(module: str, name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_encoder(name)
