"""Every model class of transformers against hooks on its own module.

The reference loads the original class, calls its feature extractor and reads its blocks by
paths that are written down here a second time (``hub_folders``).
"""

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.core.encoders.hub_folders import SAMPLES, Sample, save
from tests.core.encoders.remote_folder import keep_code_apart
from usad_workbench.core.clips import Clip, ClipBatch
from usad_workbench.core.encoders.hub.folder import load_folder
from usad_workbench.core.encoders.hub.transformers_encoder import TransformersEncoder
from usad_workbench.core.models.encoder import TargetKind

RATE = 16_000
RELATIVE = {torch.float64: 1e-10, torch.float32: 1e-5}
WITH_MASK = ("AudioFlamingo3Encoder", "Qwen2AudioEncoder")
FILL_THEIR_WINDOW = (
    "whisper",
    "audioflamingo3_encoder",
    "qwen2_audio_encoder",
    "audio-spectrogram-transformer",
    "clap",
)
N_PATCH_ROWS = 5
"""(32 mel bands - patches of 8) // 6 + 1."""


@dataclass
class Case:
    sample: Sample
    original: nn.Module
    extractor: Any
    encoder: TransformersEncoder

    def double(self) -> "Case":
        net = copy.deepcopy(self.original).double()
        encoder = copy.copy(self.encoder)
        encoder.net = copy.deepcopy(self.encoder.net).double()
        return Case(self.sample, net, self.extractor, encoder)


@pytest.fixture(scope="module", params=list(SAMPLES))
def case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Case]:
    folder = tmp_path_factory.mktemp("model")
    sample = SAMPLES[request.param]
    original = save(sample, folder)
    known = {"name": "x", "role": "control", "domain": None, "licence": "?", "citation": "?"}
    with pytest.MonkeyPatch.context() as patch:
        keep_code_apart(patch, tmp_path_factory.mktemp("modules"))
        encoder = load_folder(folder, trust_remote_code=sample.has_own_code, **known)
        # Batches as large as an accelerator's: those of a CPU hold one window.
        encoder.cpu_batch_s = 240.0
        yield Case(sample, original, sample.extractor(), encoder)


def noise(duration_s: float, seed: int = 0) -> np.ndarray:
    """Noise whose level changes on the way, so that no two parts look alike."""
    rng = np.random.default_rng(seed)
    n = round(duration_s * RATE)
    level = 0.02 + 0.2 * np.abs(np.sin(np.arange(n) / RATE * (1.3 + seed)))
    return (rng.normal(size=n) * level).astype(np.float32)


@contextmanager
def listening(case: Case, kind: TargetKind) -> Iterator[list[Tensor]]:
    """Layers 0 to L of the original, or the feed-forward outputs of 1 to L."""
    seen: list[Tensor] = []
    blocks = list(case.original.get_submodule(case.sample.blocks))

    def keep(module: nn.Module, args: Any, result: Any) -> None:
        seen.append(result[0] if isinstance(result, tuple) else result)

    def enter(module: nn.Module, args: Any, kwargs: Any) -> None:
        seen.append(args[0] if args else kwargs["hidden_states"])

    handles = []
    if kind == "block":
        handles.append(blocks[0].register_forward_pre_hook(enter, with_kwargs=True))
    for block in blocks:
        source = block.get_submodule(case.sample.ffn) if kind == "ffn" else block
        handles.append(source.register_forward_hook(keep))
    yield seen
    for handle in handles:
        handle.remove()


@torch.no_grad()
def original(case: Case, samples: np.ndarray, kind: TargetKind = "block") -> list[Tensor]:
    """What the original says of one clip that fits its window: [frame, dim] per layer."""
    net: Any = case.original
    dtype = next(net.parameters()).dtype
    name = type(net).__name__
    inputs = {"return_attention_mask": True} if name in WITH_MASK else {}
    made = case.extractor(samples, sampling_rate=RATE, return_tensors="pt", **inputs)
    values = made["input_features" if "input_features" in made else "input_values"].to(dtype)
    with listening(case, kind) as seen:
        if name.startswith("Whisper"):
            net.model.encoder(values)
        elif name.startswith("AudioFl"):
            out = net(values, made["attention_mask"])
        elif name == "Qwen2AudioEncoder":  # as its language model calls it
            valid = torch.arange(values.shape[-1] // 2) < (made["attention_mask"].sum() + 1) // 2
            net(values, attention_mask=valid[None, None, None])
        elif name.startswith("Clap"):
            net.audio_model(values, is_longer=torch.zeros(1, 1, dtype=torch.bool))
        elif name == "Wav2Vec2BertModel":
            net(values, attention_mask=made["attention_mask"])
        else:
            out = net(values)
    if kind == "output":
        return [out.last_hidden_state[0]]
    return [as_frames(case, hidden)[0] for hidden in seen]


def as_frames(case: Case, hidden: Tensor) -> Tensor:
    if type(case.original).__name__ == "ASTModel":
        rows = hidden[:, 2:].reshape(len(hidden), N_PATCH_ROWS, -1, hidden.shape[-1])
        return sum(rows[:, i] for i in range(N_PATCH_ROWS)) / N_PATCH_ROWS
    if type(case.original).__name__ == "ClapModel":
        # The image is the spectrogram cut in four along time, the cuts stacked.
        size = math.isqrt(hidden.shape[1])
        cuts = hidden.reshape(len(hidden), size, size, -1).split(size // 4, dim=1)
        return torch.cat([cut.mean(1) for cut in cuts], dim=1)
    return hidden


def assert_equal(found: Tensor, expected: Tensor) -> None:
    atol = RELATIVE[found.dtype] * float(expected.abs().max())
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)


def encode(case: Case, *clips: np.ndarray, kind: TargetKind = "block") -> list[list[Tensor]]:
    """Valid frames by clip and layer."""
    batch = ClipBatch.from_clips([Clip(samples=c, sample_rate_hz=RATE) for c in clips])
    first = 1 if kind == "ffn" else 0
    layers = range(first, case.encoder.spec.n_layers + 1)
    found = case.encoder.features(batch, layers, kind)
    return [
        [f[at, : int(n[at])] for f, n in zip(found.frames, found.n_valid, strict=True)]
        for at in range(len(clips))
    ]


def compare(case: Case, duration_s: float, kind: TargetKind = "block") -> None:
    samples = noise(duration_s)
    (found,) = encode(case, samples, kind=kind)
    expected = original(case, samples, kind)
    assert len(found) == len(expected) > 0
    for ours, theirs in zip(found, expected, strict=True):
        if not case.sample.pads:
            assert len(ours) == len(theirs)
        assert_equal(ours, theirs[: len(ours)])


def shortened(case: Case) -> float:
    """The window in seconds; where 30 s is a choice and no need, 2 s do."""
    rate = case.encoder.sample_rate_hz
    assert case.encoder.window_samples() == case.sample.window_s * rate
    if case.sample.window_s == 30.0:
        case.encoder.window_samples = lambda: 2 * rate  # type: ignore[method-assign]
    return case.encoder.window_samples() / rate


def test_one_clip(case: Case) -> None:
    compare(case, 1.1)
    compare(case.double(), 0.83)


def test_feed_forward_outputs(case: Case) -> None:
    assert case.encoder.spec.has_ffn == bool(case.sample.ffn)
    if case.sample.ffn:
        compare(case.double(), 1.1, "ffn")


def test_a_padded_batch_and_one_of_equal_lengths(case: Case) -> None:
    case = case.double()
    assert case.encoder.spec.pads == case.sample.pads
    durations = (0.7, 1.2, 0.95) if case.sample.pads else (0.95,) * 3
    clips = [noise(duration, seed) for seed, duration in enumerate(durations)]
    for found, clip in zip(encode(case, *clips), clips, strict=True):
        for ours, theirs in zip(found, original(case, clip), strict=True):
            assert_equal(ours, theirs[: len(ours)])


def test_a_batch_counts_what_the_network_runs(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    one_s = RATE
    run_s = case.sample.window_s if case.encoder.fills_window else 1.0
    assert case.encoder.fills_window == (case.original.config.model_type in FILL_THEIR_WINDOW)
    for limit_s in (4.0, 60.0):
        monkeypatch.setattr(case.encoder, "cpu_batch_s", limit_s)
        batches = list(case.encoder.batches([one_s] * 120))
        assert len(batches[0]) == min(max(math.floor(limit_s / run_s), 1), 64)
        assert sorted(place for batch in batches for place in batch) == list(range(120))


def test_valid_frames_are_those_of_the_duration(case: Case) -> None:
    for duration_s in (0.5, 1.0, 1.27):
        (found,) = encode(case, noise(duration_s))
        for frames, rate in zip(found, case.encoder.spec.frame_rates_hz, strict=True):
            assert abs(len(frames) - duration_s * rate) <= 1.5


def test_a_clip_longer_than_the_window(case: Case) -> None:
    """Each part is the original's on its own window; windows meet in the overlap's middle."""
    case = case.double()
    window_s = shortened(case)
    samples = noise(1.55 * window_s)
    n, hops = len(samples), [round(RATE / r) for r in case.encoder.spec.frame_rates_hz]
    grid = math.lcm(*hops, round(case.encoder.output_hop()))
    window = round(window_s * RATE)
    second = math.ceil((n - window) / grid) * grid
    assert hops[0] == case.sample.hop and second < window
    cut = (second + window) // 2 // grid * grid
    left, right = original(case, samples[:window]), original(case, samples[second:])
    (found,) = encode(case, samples)
    for ours, before, after, hop in zip(found, left, right, hops, strict=True):
        expected = torch.cat([before[: cut // hop], after[(cut - second) // hop :]])
        assert_equal(ours, expected[: len(ours)])
        assert abs(len(ours) - n / hop) <= 2


def test_several_windows_and_clips_in_one_batch(case: Case) -> None:
    case = case.double()
    window_s = shortened(case)
    lengths = (2.3, 0.4, 1.2) if case.sample.pads else (2.3,) * 2
    clips = [noise(window_s * n, seed) for seed, n in enumerate(lengths)]
    for found, clip in zip(encode(case, *clips), clips, strict=True):
        (alone,) = encode(case, clip)
        for ours, theirs in zip(found, alone, strict=True):
            assert_equal(ours, theirs)


def test_parameters_are_those_that_the_last_layer_needs(case: Case) -> None:
    encoder = copy.copy(case.encoder)
    encoder.net = copy.deepcopy(case.encoder.net).requires_grad_(True)
    clip, layers = noise(1.0), tuple(range(encoder.spec.n_layers + 1))
    found = encoder._forward(
        torch.from_numpy(clip)[None], torch.tensor([len(clip)]), layers, "block"
    )
    found.frames[-1].sum().backward()
    used = {name for name, p in encoder.net.named_parameters() if p.grad is not None}
    assert used == {name for name, _ in encoder.net.named_parameters() if encoder.is_used(name)}


def test_the_shortest_clip(case: Case) -> None:
    shortest = round(case.encoder.spec.min_duration_s * RATE)
    (found,) = encode(case, noise(shortest / RATE))
    assert all(len(frames) >= 1 and frames.isfinite().all() for frames in found)


def test_some_layers_are_those_of_all_layers(case: Case) -> None:
    clip = Clip(samples=noise(0.6), sample_rate_hz=RATE)
    everything = case.encoder.encode(clip)
    for layers in ((0,), (-1,), (1, 0)):
        some = case.encoder.encode(clip, layers)
        for layer, frames in zip(some.layers, some.frames, strict=True):
            assert torch.equal(frames, everything.of(layer))
