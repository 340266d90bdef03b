"""Modules of the HEAR API and classes of X-ARES as encoders."""

from pathlib import Path

import numpy as np
import pytest
import torch

from usad_workbench.core.clips import Clip
from usad_workbench.core.errors import ConfigError
from usad_workbench.core.models.checkpoint import save_student
from usad_workbench.core.models.sizes import StudentConfig
from usad_workbench.core.models.student import build_student
from usad_workbench.core.registry import encoder_status, load_encoder

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
