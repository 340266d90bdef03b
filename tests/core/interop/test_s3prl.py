"""The upstream as s3prl defines it (0.4.18: ``upstream/example``, ``test_upstream.py``)."""

from pathlib import Path

import pytest
import torch

from tests.core.interop.conftest import clips
from usad_workbench.core.interop import s3prl_hubconf
from usad_workbench.core.interop.s3prl import UpstreamExpert


@pytest.fixture(scope="module")
def upstream(student_dir: Path) -> UpstreamExpert:
    return s3prl_hubconf.usad_local(str(student_dir), refresh=False, model_config=None).eval()


def _wavs(*lengths: int) -> list[torch.Tensor]:
    samples, n_valid = clips(*lengths)
    return [row[:n] for row, n in zip(samples, n_valid, strict=True)]


@torch.no_grad()
def test_a_clip_alone_and_in_a_batch(upstream: UpstreamExpert) -> None:
    wavs = _wavs(48_000, 16_000, 31_234)
    together = upstream(wavs)["hidden_states"]
    for i, wav in enumerate(wavs):
        alone = upstream([wav])["hidden_states"]
        for batch, single in zip(together, alone, strict=True):
            assert torch.allclose(batch[i, : single.shape[1]], single[0], atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("n_samples", [800, 1_000, 1_281, 16_000, 47_999])
def test_frames_fit_the_downsample_rate(upstream: UpstreamExpert, n_samples: int) -> None:
    """s3prl.nn.S3PRLUpstream fits frames to ceil(samples / rate), unless one count is twice
    the other; s3prl.upstream.Featurizer allows fewer than 5 frames of difference."""
    rate = upstream.get_downsample_rates("hidden_states")
    assert type(rate) is int
    expected = len(range(0, n_samples, rate))
    for state in upstream(_wavs(n_samples))["hidden_states"]:
        found = state.shape[1]
        assert max(found, expected) // min(found, expected) == 1
        assert abs(found - round(n_samples / rate)) < 5


@torch.no_grad()
def test_states_are_all_layers_of_one_shape(upstream: UpstreamExpert) -> None:
    wavs = _wavs(16_000, 9_000)
    result = upstream(wavs)
    states = result["hidden_states"]
    assert len(states) == 3
    assert {state.shape for state in states} == {(2, 25, 32)}
    expected = upstream.student(*clips(16_000, 9_000))
    assert all(torch.equal(state, expected.layer(i)) for i, state in enumerate(states))
    assert torch.equal(result["last_hidden_state"], states[-1])
    again = upstream(wavs)["hidden_states"]
    assert all(torch.equal(a, b) for a, b in zip(states, again, strict=True))


def test_it_can_be_fine_tuned(student_dir: Path) -> None:
    """Forward and backward in training mode, also of clips of 50 ms; layers keep their number."""
    upstream = UpstreamExpert(ckpt=str(student_dir)).train()
    for lengths in ((800,), (800, 800), (16_000, 800, 7_000)):
        states = upstream(_wavs(*lengths))["hidden_states"]
        assert len(states) == 3
        sum(state.sum() for state in states).backward()
    without = [n for n, p in upstream.named_parameters() if p.grad is None]
    assert without == ["student.final_norm.weight", "student.final_norm.bias"]


def test_the_hub_finds_its_entries() -> None:
    entries = {name for name, value in vars(s3prl_hubconf).items() if callable(value)}
    public = {name for name in entries if not name.startswith("_") and name != "Any"}
    assert public == {"usad_demo", "usad_local"}
