"""MuQ against the authors' package (``fixtures/muq_reference.npz``) and against its formulas."""

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.core.encoders import muq_formulas
from tests.core.encoders.planted_weights import noise
from tests.core.encoders.teacher_files import MUQ_AUTHORS, muq_checkpoint, write_muq
from usad_workbench.core.clips import Clip, ClipBatch
from usad_workbench.core.encoders.hub.muq import MuqConfig, MuqEncoder, MuqNet
from usad_workbench.core.encoders.hub.table import HUB
from usad_workbench.core.encoders.registry import encoder_spec, encoder_status, load_encoder
from usad_workbench.core.errors import ShapeError, WeightsError
from usad_workbench.core.models.encoder import LayerFeatures, TargetKind

RATE = 24_000
NAME = "muq-large-msd-iter"
N_LAYERS, N_HEADS = 3, 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of the hub as the authors' ``save_pretrained`` writes it."""
    path = tmp_path_factory.mktemp("muq")
    write_muq(path)
    return path


@pytest.fixture(scope="module")
def loaded(folder: Path) -> MuqEncoder:
    encoder = load_encoder(f"hf:{folder}")
    assert isinstance(encoder, MuqEncoder)
    return encoder


@pytest.fixture
def double(loaded: MuqEncoder) -> MuqEncoder:
    encoder = copy.copy(loaded)
    encoder.net = copy.deepcopy(loaded.net).double()
    return encoder.to("cpu")


def features(encoder: MuqEncoder, *clips: Any, kind: TargetKind = "block") -> LayerFeatures:
    batch = ClipBatch.from_clips([Clip(samples=c, sample_rate_hz=RATE) for c in clips])
    layers = range(1, encoder.spec.n_layers + 1) if kind == "ffn" else None
    return encoder.features(batch, layers, kind)


def from_formulas(encoder: MuqEncoder, samples: Any) -> tuple[list[Any], list[Any]]:
    """Double precision; the log-mel is the network's own, which another test compares."""
    weights = {name: value.double().numpy() for name, value in encoder.net.state_dict().items()}
    net: Any = encoder.net
    mel = net.log_mel(torch.from_numpy(samples)[None].to(net.mel.filters.dtype))[0]
    return muq_formulas.layers(weights, mel.double().numpy(), N_LAYERS, N_HEADS)


def assert_close(found: Tensor, expected: Any, relative: float) -> None:
    assert found.shape == expected.shape
    limit = relative * float(np.abs(expected).max())
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=limit)


def test_log_mel_is_the_authors_and_librosas(loaded: MuqEncoder) -> None:
    """Standardised decibels; a third of the frames is silence."""
    net: Any = loaded.net
    samples = noise(24_777)
    found = net.log_mel(torch.from_numpy(samples)[None])[0].numpy()
    assert found.shape == (128, 103) and (found == found.min()).mean() > 0.1
    np.testing.assert_allclose(found, MUQ_AUTHORS["log_mel"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(found, muq_formulas.log_mel(samples), rtol=0, atol=1e-4)


def test_layers_are_those_of_the_authors_package(loaded: MuqEncoder) -> None:
    """Its 13 hidden states for 12 layers: what enters each block, and the normed last one."""
    samples = noise(24_777)
    blocks = features(loaded, samples).frames
    for ours, theirs in zip(blocks[:-1], MUQ_AUTHORS["hidden"][:-1], strict=True):
        assert_close(ours[0], theirs, 1e-5)
    normed = features(loaded, samples, kind="output").of(N_LAYERS)
    assert_close(normed[0], MUQ_AUTHORS["hidden"][-1], 1e-5)
    ffns = features(loaded, samples, kind="ffn").frames
    for ours, theirs in zip(ffns, MUQ_AUTHORS["ffn"], strict=True):
        assert_close(ours[0], theirs, 1e-5)  # before the factor of a half


def test_every_layer_is_that_of_the_formulas(loaded: MuqEncoder, double: MuqEncoder) -> None:
    samples = noise(30_001, seed=4)
    outs, ffns = from_formulas(double, samples)
    for encoder, relative in ((double, 1e-10), (loaded, 1e-5)):
        for kind, expected in (
            ("block", outs[:-1]),
            ("ffn", ffns),
            ("output", [*outs[:-2], outs[-1]]),
        ):
            found = features(encoder, samples, kind=kind)  # type: ignore[arg-type]
            for ours, theirs in zip(found.frames, expected, strict=True):
                assert_close(ours[0], theirs, relative)


def test_rotations_follow_the_network_when_it_moves(double: MuqEncoder) -> None:
    """transformers keeps those of the last length, on the device and in the type of then."""
    samples = noise(24_000)
    double.net.float()
    features(double.to("cpu"), samples)
    double.net.double()
    found = features(double.to("cpu"), samples).of(N_LAYERS)[0]
    assert_close(found, from_formulas(double, samples)[0][N_LAYERS], 1e-10)


def test_clips_of_a_batch_have_equal_length(double: MuqEncoder) -> None:
    clips = [noise(24_000, seed) for seed in range(3)]
    together = features(double, *clips)
    for row, clip in enumerate(clips):
        for ours, theirs in zip(together.frames, from_formulas(double, clip)[0], strict=False):
            assert_close(ours[row], theirs, 1e-10)
    assert not double.spec.pads
    with pytest.raises(ShapeError, match="equal length"):
        features(double, noise(24_000), noise(20_000))


def test_a_long_clip_goes_through_overlapping_windows(
    double: MuqEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows of 30 s are a choice: 2 s do here. They meet in the overlap's middle."""
    assert double.window_samples() == 30 * RATE
    monkeypatch.setattr(double, "window_samples", lambda: 2 * RATE)
    samples = noise(70_000, seed=1)
    hop, window = 960, 2 * RATE
    start = -(-(70_000 - window) // hop) * hop
    cut = (start + window) // 2 // hop
    left = from_formulas(double, samples[:window])
    right = from_formulas(double, samples[start:])
    for kind, at in (("block", 0), ("ffn", 1)):
        found = features(double, samples, kind=kind)  # type: ignore[arg-type]
        for ours, before, after in zip(found.frames, left[at], right[at], strict=False):
            expected = np.concatenate([before[:cut], after[cut - start // hop :]])
            assert_close(ours[0], expected, 1e-10)
            assert len(expected) == 73  # 70,000 samples at 25 Hz


@pytest.mark.parametrize(("duration_s", "n_frames"), [(1, 25), (10, 250), (30, 750)])
def test_frames(loaded: MuqEncoder, duration_s: int, n_frames: int) -> None:
    found = features(loaded, noise(duration_s * RATE))
    assert {frames.shape[1] for frames in found.frames} == {n_frames}
    assert set(found.frame_rates_hz) == {25.0}


def test_the_shortest_clip(loaded: MuqEncoder) -> None:
    found = features(loaded, noise(round(loaded.spec.min_duration_s * RATE)))
    assert {tuple(frames.shape) for frames in found.frames} == {(1, 1, 32)}


def test_the_named_encoder_is_of_the_published_size() -> None:
    with torch.device("meta"):
        net = MuqNet(MuqConfig())
    spec = encoder_spec(NAME)
    known = {key: getattr(spec, key) for key in ("name", "role", "domain", "licence", "citation")}
    assert MuqEncoder(net, None, "", **known).spec == spec
    assert (spec.role, spec.domain, spec.is_non_commercial) == ("teacher", "music", True)
    assert (spec.n_layers, spec.dims[0], spec.sample_rate_hz) == (12, 1024, 24_000)


def test_by_name_it_is_found_in_the_hubs_cache(
    folder: Path, loaded: MuqEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert f"usad encoders get {NAME}" in encoder_status(NAME).reason
    root = tmp_path / "models--OpenMuQ--MuQ-large-msd-iter"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text("0" * 40)
    (root / "snapshots").mkdir()
    (root / "snapshots" / ("0" * 40)).symlink_to(folder)
    assert encoder_status(NAME).available
    with pytest.raises(WeightsError, match="holds 3 layers of width 32"):
        load_encoder(NAME)
    row = HUB[NAME]
    small = replace(row.spec, n_layers=3, dims=(32,) * 4, frame_rates_hz=(25.0,) * 4)
    monkeypatch.setitem(HUB, NAME, replace(row, spec=small))
    encoder = load_encoder(NAME)
    assert isinstance(encoder, MuqEncoder) and encoder.spec == small
    assert encoder.weights_sha256 == loaded.weights_sha256
    found = features(encoder, noise(24_777)).of(1)[0]
    assert_close(found, MUQ_AUTHORS["hidden"][1], 1e-5)


def test_weights_in_a_pickle_are_the_same(folder: Path, loaded: MuqEncoder, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    torch.save(load_file(folder / "model.safetensors"), tmp_path / "pytorch_model.bin")
    samples = noise(9_000)
    found = features(load_encoder(f"hf:{tmp_path}"), samples)  # type: ignore[arg-type]
    for ours, theirs in zip(found.frames, features(loaded, samples).frames, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    "change",
    [
        {"label_rate": 50},
        {"n_mels": 64},
        {"hop_length": 480},
        {"w2v2_config": {"position_embeddings_type": "relative"}},
    ],
)
def test_another_architecture_is_refused(
    folder: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
    save_file(muq_checkpoint(), tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"This MuQ has .* was expected"):
        load_encoder(f"hf:{tmp_path}")


def test_weights_that_lack_a_layer_are_refused(folder: Path, tmp_path: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "encoder_depth": 4}))
    save_file(muq_checkpoint(), tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"lack \d+ tensors.*conformer\.layers\.3\."):
        load_encoder(f"hf:{tmp_path}")


def test_parameters_are_those_that_the_last_layer_needs(loaded: MuqEncoder) -> None:
    encoder = copy.copy(loaded)
    encoder.net = copy.deepcopy(loaded.net).requires_grad_(True)
    samples = torch.from_numpy(noise(24_000))[None]
    found = encoder._forward(samples, torch.tensor([24_000]), (0, 3), "block")
    found.frames[-1].sum().backward()
    used = {name for name, p in encoder.net.named_parameters() if p.grad is not None}
    assert used == {name for name, _ in encoder.net.named_parameters() if encoder.is_used(name)}
