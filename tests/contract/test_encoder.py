"""What every encoder promises, whatever it is: one suite over the whole registry.

Tolerances: float32 sums in another order differ by about 1e-6 of the largest value and
deep networks amplify that; 1e-4 of the largest value is allowed.
"""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from usad_workbench.core.clips import Clip, ClipBatch
from usad_workbench.core.encoders.registry import (
    encoder_specs,
    encoder_status,
    load_encoder,
    setup_encoders,
)
from usad_workbench.core.errors import ConfigError, ShapeError, UnknownNameError
from usad_workbench.core.models.encoder import Encoder, EncoderSpec, LayerFeatures

RELATIVE_TOLERANCE = 1e-4

pytestmark = pytest.mark.weights


def listed() -> list[str]:
    """What `make setup` fetches, and of the others what happens to be here."""
    names = encoder_specs()
    return [name for name in names if name in setup_encoders() or encoder_status(name).available]


@pytest.fixture(scope="module", params=listed())
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def encoder(name: str) -> Encoder:
    """Module scope makes pytest finish one encoder before it loads the next."""
    status = encoder_status(name)
    if not status.available:
        pytest.skip(status.reason)
    return load_encoder(name)


@pytest.fixture
def spec(encoder: Encoder) -> EncoderSpec:
    return encoder.spec


def tone(spec: EncoderSpec, duration_s: float, seed: int = 0) -> Clip:
    """A gliding tone with overtones in noise, another one for each seed."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(duration_s * spec.sample_rate_hz)) / spec.sample_rate_hz
    pitch, glide = rng.uniform(110, 440), rng.uniform(-50, 150)
    phase = 2 * np.pi * (pitch * time + glide * time**2 / 2)
    samples = sum(np.sin(k * phase) / k for k in range(1, 6)) * rng.uniform(0.1, 0.2)
    samples = samples + rng.normal(scale=0.01, size=len(time))
    return Clip(samples=samples.astype(np.float32), sample_rate_hz=spec.sample_rate_hz)


def run(encoder: Encoder, *clips: Clip) -> LayerFeatures:
    return encoder.features(ClipBatch.from_clips(clips))


def modules(encoder: Encoder) -> list[nn.Module]:
    return [value for value in vars(encoder).values() if isinstance(value, nn.Module)]


def assert_close(found: torch.Tensor, expected: torch.Tensor) -> None:
    allowed = RELATIVE_TOLERANCE * max(float(expected.abs().max()), 1e-6)
    torch.testing.assert_close(found, expected, rtol=0, atol=allowed)


@pytest.mark.parametrize("duration_s", [1.0, 3.3])
def test_layers_dims_and_frame_rates_are_those_of_the_spec(
    encoder: Encoder, spec: EncoderSpec, duration_s: float
) -> None:
    features = run(encoder, tone(spec, duration_s))
    assert features.layers == tuple(range(spec.n_layers + 1))
    assert tuple(frames.shape[2] for frames in features.frames) == spec.dims
    assert features.frame_rates_hz == spec.frame_rates_hz
    for frames, n_valid, rate in zip(
        features.frames, features.n_valid, spec.frame_rates_hz, strict=True
    ):
        assert frames.shape[:2] == (1, int(n_valid))
        expected = duration_s * rate if rate else 1
        assert abs(int(n_valid) - expected) <= 1


def test_native_output_is_that_of_the_spec(encoder: Encoder, spec: EncoderSpec) -> None:
    features = run(encoder, tone(spec, 1.0))
    if spec.native_dim is None:
        assert features.native is None
        with pytest.raises(ConfigError, match="mean"):
            features.pooled("native")
    else:
        (native,) = features.pooled("native")
        assert native.shape == (1, spec.native_dim)
        assert torch.isfinite(native).all()
        only_first = encoder.embed(tone(spec, 1.0), layers=0, pooling="native")
        np.testing.assert_allclose(only_first[0], native[0].numpy(), rtol=1e-5, atol=1e-6)


def test_parameter_count_is_that_of_the_spec(encoder: Encoder, spec: EncoderSpec) -> None:
    """Counted by who receives a gradient from the last layer: nothing unused is counted."""
    trainable = copy.deepcopy(encoder)
    for module in modules(trainable):
        module.requires_grad_(True)
    clip = tone(spec, 1.0)
    features = trainable._forward(
        torch.from_numpy(clip.samples)[None],
        torch.tensor([len(clip.samples)]),
        tuple(range(spec.n_layers + 1)),
        "block",
    )
    if features.frames[-1].requires_grad:
        features.frames[-1].sum().backward()
    used = [p for module in modules(trainable) for p in module.parameters() if p.grad is not None]
    assert sum(p.numel() for p in used) == spec.n_params


def test_says_where_it_comes_from(encoder: Encoder, spec: EncoderSpec) -> None:
    assert spec == encoder_specs()[spec.name]
    assert spec.licence and spec.citation
    assert len(encoder.weights_sha256) == 64
    assert len(spec.layer_names) in (0, spec.n_layers + 1)


def test_runs_twice_alike_and_on_no_gradient(encoder: Encoder, spec: EncoderSpec) -> None:
    first, second = run(encoder, tone(spec, 1.0)), run(encoder, tone(spec, 1.0))
    for a, b in zip(first.frames, second.frames, strict=True):
        assert torch.equal(a, b)
        assert a.dtype == torch.float32 and torch.isfinite(a).all()
        assert not a.requires_grad
    parameters = [p for module in modules(encoder) for p in module.parameters()]
    assert not any(p.requires_grad for p in parameters)
    assert not any(module.training for module in modules(encoder))


def test_a_clip_alone_equals_the_same_clip_in_a_batch(encoder: Encoder, spec: EncoderSpec) -> None:
    durations = (0.6, 2.1, 1.337) if spec.pads else (1.337,) * 3
    clips = [tone(spec, duration, seed) for seed, duration in enumerate(durations)]
    together = run(encoder, *clips)
    for i, clip in enumerate(clips):
        alone = run(encoder, clip)
        for layer in alone.layers:
            n = int(alone.n_valid[layer][0])
            assert int(together.n_valid[layer][i]) == n
            assert_close(together.frames[layer][i, :n], alone.frames[layer][0, :n])
        if alone.native is not None and together.native is not None:
            assert_close(together.native[i], alone.native[0])


def test_other_content_gives_other_vectors_in_the_order_of_the_clips(
    encoder: Encoder, spec: EncoderSpec
) -> None:
    one, two = tone(spec, 1.0, seed=1), tone(spec, 1.0, seed=2)
    forth, back = run(encoder, one, two), run(encoder, two, one)
    for a, b in zip(forth.pooled(), back.pooled(), strict=True):
        assert_close(a, b.flip(0))
        difference = (a[0] - a[1]).norm() / a.norm()
        assert difference > 1e-3


def test_some_layers_are_the_same_as_all_layers(encoder: Encoder, spec: EncoderSpec) -> None:
    clip = tone(spec, 0.8)
    everything = encoder.encode(clip)
    for layers in {(0,), (-1,), (spec.n_layers // 2,), (spec.n_layers, 0)[: spec.n_layers + 1]}:
        some = encoder.encode(clip, layers)
        assert some.layers == tuple(i % (spec.n_layers + 1) for i in layers)
        for layer, frames in zip(some.layers, some.frames, strict=True):
            assert torch.equal(frames, everything.of(layer))


def test_no_two_layers_are_equal(encoder: Encoder, spec: EncoderSpec) -> None:
    features = run(encoder, tone(spec, 1.0))
    for i, a in enumerate(features.frames):
        for b in features.frames[i + 1 :]:
            assert a.shape != b.shape or not torch.allclose(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("duration_s", [0.001, 0.03])
def test_a_very_short_clip_is_padded_with_silence(
    encoder: Encoder, spec: EncoderSpec, duration_s: float
) -> None:
    features = run(encoder, tone(spec, duration_s))
    for frames, n_valid in zip(features.frames, features.n_valid, strict=True):
        assert frames.shape[1] >= 1 and int(n_valid) >= 1
        assert torch.isfinite(frames).all()
    assert all(torch.isfinite(vector).all() for vector in features.pooled())


def test_silence_gives_finite_frames(encoder: Encoder, spec: EncoderSpec) -> None:
    """Files of silence are refused where they are read; a silent cut must not spoil a batch."""
    silent = np.zeros(spec.sample_rate_hz, np.float32)
    loud = tone(spec, 1.0)
    features = run(encoder, Clip(samples=silent, sample_rate_hz=spec.sample_rate_hz), loud)
    for frames, alone in zip(features.frames, run(encoder, loud).frames, strict=True):
        assert torch.isfinite(frames).all()
        assert_close(frames[1], alone[0])
    assert features.native is None or torch.isfinite(features.native).all()


def test_full_scale_noise_gives_finite_frames(encoder: Encoder, spec: EncoderSpec) -> None:
    rng = np.random.default_rng(0)
    samples = rng.uniform(-1, 1, spec.sample_rate_hz).astype(np.float32)
    features = run(encoder, Clip(samples=samples, sample_rate_hz=spec.sample_rate_hz))
    assert all(torch.isfinite(frames).all() for frames in features.frames)


def test_ffn_targets_exist_only_where_the_spec_says_so(encoder: Encoder, spec: EncoderSpec) -> None:
    batch = ClipBatch.from_clips([tone(spec, 1.0)])
    if not spec.has_ffn:
        with pytest.raises(ConfigError, match="ffn"):
            encoder.features(batch, kind="ffn")
        return
    layers = range(1, spec.n_layers + 1)
    blocks, ffns = encoder.features(batch, layers), encoder.features(batch, layers, kind="ffn")
    assert ffns.layers == blocks.layers
    for block, ffn in zip(blocks.frames, ffns.frames, strict=True):
        assert ffn.shape == block.shape
        assert not torch.allclose(ffn, block)


def test_wrong_layers_are_refused(encoder: Encoder, spec: EncoderSpec) -> None:
    clip = tone(spec, 0.5)
    for layers in (spec.n_layers + 1, -spec.n_layers - 2, [0, 0], []):
        with pytest.raises(UnknownNameError, match="Layer 0 enters the first block"):
            encoder.encode(clip, layers)


def test_batches_that_it_cannot_take_are_refused(encoder: Encoder, spec: EncoderSpec) -> None:
    other = Clip(samples=np.ones(8000, np.float32), sample_rate_hz=8000)
    with pytest.raises(ShapeError, match="8000 Hz"):
        run(encoder, other)
    if not spec.pads:
        with pytest.raises(ShapeError, match="equal length"):
            run(encoder, tone(spec, 0.5), tone(spec, 0.6))


def test_loading_draws_nothing_from_the_generator(encoder: Encoder, name: str) -> None:
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    load_encoder(name)
    assert torch.equal(torch.rand(1), expected)
