"""The papers' teachers that transformers has, at their own rates, windows and front ends.

Widths and depths are small and random; strides, mel bands and windows are the published ones.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as tf

from tests.core.encoders.hub_folders import AF, LAYER_NORM, WAVE, WHISPER, Sample, save
from usad_workbench.core.clips import Clip, ClipBatch
from usad_workbench.core.encoders.hub.table import HUB
from usad_workbench.core.encoders.hub.transformers_encoder import TransformersEncoder
from usad_workbench.core.encoders.registry import load_encoder
from usad_workbench.core.errors import ShapeError
from usad_workbench.core.models.encoder import LayerFeatures, TargetKind

RATE = 16_000
REAL_WINDOW = {"num_mel_bins": 128, "max_source_positions": 1500}


def wavlm(config: dict[str, Any], normalise: bool) -> Sample:
    return Sample(
        net=lambda: tf.WavLMModel(tf.WavLMConfig(**config)),
        extractor=lambda: tf.Wav2Vec2FeatureExtractor(
            do_normalize=normalise, return_attention_mask=normalise
        ),
        blocks="encoder.layers",
        ffn="feed_forward",
        pads=normalise,
    )


def whisper_like(net: Any) -> Sample:
    extractor = tf.WhisperFeatureExtractor(feature_size=128)
    return Sample(net=net, extractor=lambda: extractor, blocks="", ffn="fc2", pads=True)


TEACHERS = {
    "wavlm-base-plus": wavlm(WAVE, normalise=False),
    "wavlm-large": wavlm(LAYER_NORM, normalise=True),
    "whisper-large-v3": whisper_like(
        lambda: tf.WhisperForConditionalGeneration(tf.WhisperConfig(**{**WHISPER, **REAL_WINDOW}))
    ),
    "af-whisper": whisper_like(
        lambda: tf.AudioFlamingo3Encoder(tf.AudioFlamingo3EncoderConfig(**{**AF, **REAL_WINDOW}))
    ),
}


class Teacher:
    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.original: Any = save(TEACHERS[name], folder)
        encoder = load_encoder(f"hf:{folder}")
        assert isinstance(encoder, TransformersEncoder)
        self.encoder = encoder

    def features(self, *clips: np.ndarray, kind: TargetKind = "block") -> LayerFeatures:
        batch = ClipBatch.from_clips([Clip(samples=c, sample_rate_hz=RATE) for c in clips])
        return self.encoder.features(batch, [1, 2] if kind == "ffn" else None, kind)


@pytest.fixture(scope="module")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Teacher]:
    return {name: Teacher(name, tmp_path_factory.mktemp(name)) for name in TEACHERS}


def noise(duration_s: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    samples = rng.normal(scale=0.1, size=round(duration_s * RATE)) + 0.05
    return samples.astype(np.float32)


def assert_close(found: Any, expected: Any, relative: float = 1e-5) -> None:
    limit = relative * float(expected.abs().max())
    torch.testing.assert_close(found, expected, rtol=0, atol=limit)


@pytest.mark.parametrize(
    ("name", "n_frames"),
    [
        ("wavlm-base-plus", (49, 499, 1499)),
        ("wavlm-large", (49, 499, 1499)),
        ("whisper-large-v3", (50, 500, 1500)),
        ("af-whisper", (50, 500, 1500)),
    ],
)
@pytest.mark.parametrize("kind", ["block", "ffn", "output"])
def test_frames_of_1_10_and_30_s(
    teachers: dict[str, Teacher], name: str, n_frames: tuple[int, ...], kind: TargetKind
) -> None:
    """AF-Whisper's own output is pooled in pairs."""
    for duration_s, n in zip((1, 10, 30), n_frames, strict=True):
        found = teachers[name].features(noise(duration_s), kind=kind)
        last = n // 2 if (name, kind) == ("af-whisper", "output") else n
        expected = [n] * (len(found.layers) - 1) + [last]
        assert [frames.shape[1] for frames in found.frames] == expected
        assert [int(valid[0]) for valid in found.n_valid] == expected
        assert found.frame_rates_hz[-1] == 50.0 * last / n


@pytest.mark.parametrize("name", TEACHERS)
def test_what_the_table_says_is_true_of_the_small_one(
    teachers: dict[str, Teacher], name: str
) -> None:
    listed, found = HUB[name].spec, teachers[name].encoder.spec
    for field in ("pads", "has_ffn", "sample_rate_hz", "min_duration_s"):
        assert getattr(listed, field) == getattr(found, field), field
    assert set(listed.frame_rates_hz) == set(found.frame_rates_hz)
    assert (listed.role, listed.domain) == ("teacher", None if name == "af-whisper" else "speech")


def test_wavlm_large_hears_standardised_samples(teachers: dict[str, Teacher]) -> None:
    """The witness: samples as they are give something else. Base+ takes them as they are."""
    samples = noise(1.3)
    standardised = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
    for name, heard in (("wavlm-large", standardised), ("wavlm-base-plus", samples)):
        with torch.no_grad():
            output = teachers[name].original(torch.from_numpy(heard)[None]).last_hidden_state
        assert_close(teachers[name].features(samples, kind="output").frames[-1], output)
    large = teachers["wavlm-large"]
    assert_close(large.features(8 * samples).frames[-1], large.features(samples).frames[-1])
    with torch.no_grad():
        unchanged = large.original(torch.from_numpy(samples)[None]).last_hidden_state
    found = large.features(samples, kind="output").frames[-1]
    assert float((unchanged - found).abs().max()) > 0.1


@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")  # of WavLM itself
def test_wavlm_base_plus_takes_equal_lengths_because_padding_leaks(
    teachers: dict[str, Teacher],
) -> None:
    """The witness: a clip in a padded batch of the original, with its mask, is another."""
    teacher, clips = teachers["wavlm-base-plus"], [noise(0.7, 1), noise(1.2, 2)]
    padded = torch.zeros(2, len(clips[1]))
    for row, clip in zip(padded, clips, strict=True):
        row[: len(clip)] = torch.from_numpy(clip)
    mask = torch.tensor(
        [[1] * len(clips[0]) + [0] * (len(clips[1]) - len(clips[0])), [1] * len(clips[1])]
    )
    with torch.no_grad():
        together = teacher.original(padded, attention_mask=mask).last_hidden_state[0]
    alone = teacher.features(clips[0]).frames[-1][0]
    assert float((together[: len(alone)] - alone).abs().max()) > 1e-3
    with pytest.raises(ShapeError, match="equal length"):
        teacher.features(*clips)


def test_wavlm_large_has_its_last_layer_before_the_final_norm(
    teachers: dict[str, Teacher],
) -> None:
    teacher, samples = teachers["wavlm-large"], noise(1.0)
    last = teacher.features(samples).frames[-1]
    output = teacher.features(samples, kind="output").frames[-1]
    assert_close(teacher.original.encoder.layer_norm(last).detach(), output)
    assert float((last - output).abs().max()) > 0.1


@pytest.mark.parametrize("name", ["whisper-large-v3", "af-whisper"])
@pytest.mark.parametrize(
    ("n_samples", "n_frames"),
    [(1, 1), (159, 1), (480, 2), (16_000, 50), (20_321, 64), (479_999, 1500)],
)
def test_kept_frames_are_the_first_of_the_window(
    teachers: dict[str, Teacher], name: str, n_samples: int, n_frames: int
) -> None:
    """One in 320 samples, of the 1500 of the original's own front end with 128 bands."""
    teacher, samples = teachers[name], noise(30)[:n_samples]
    made = TEACHERS[name].extractor()(
        samples, sampling_rate=RATE, return_attention_mask=True, return_tensors="pt"
    )
    assert made["input_features"].shape == (1, 128, 3000)
    seen: list[Any] = []
    net = teacher.original.model.encoder if name.startswith("whisper") else teacher.original
    handle = net.layers[1].register_forward_hook(
        lambda module, args, out: seen.append(out[0] if isinstance(out, tuple) else out)
    )
    masked = {} if name.startswith("whisper") else {"input_features_mask": made["attention_mask"]}
    with torch.no_grad():
        output = net(made["input_features"], **masked).last_hidden_state
    handle.remove()
    (expected,) = seen
    assert expected.shape[1] == 1500
    found = teacher.features(samples).frames[-1]
    assert found.shape[1] == n_frames
    assert_close(found, expected[:, : found.shape[1]])
    found = teacher.features(samples, kind="output").frames[-1]
    assert found.shape[1] == (max(n_frames // 2, 1) if masked else n_frames)
    assert_close(found, output[:, : found.shape[1]])


def test_af_whisper_is_told_where_a_clip_ends(teachers: dict[str, Teacher]) -> None:
    """Its mask changes valid frames: without it silence is heard, as Whisper does."""
    teacher, samples = teachers["af-whisper"], noise(4)
    made = TEACHERS["af-whisper"].extractor()(samples, sampling_rate=RATE, return_tensors="pt")
    everything = torch.ones(1, 3000, dtype=torch.long)
    with torch.no_grad():
        unmasked = teacher.original(made["input_features"], everything).last_hidden_state
    found = teacher.features(samples, kind="output").frames[-1]
    assert found.shape[1] == 100
    assert float((found - unmasked[:, :100]).abs().max()) > 1e-3


def test_every_whisper_is_named_with_its_own_size() -> None:
    sizes = {
        "tiny": (4, 384),
        "base": (6, 512),
        "small": (12, 768),
        "medium": (24, 1024),
        "large-v2": (32, 1280),
    }
    for size, (n_layers, dim) in sizes.items():
        spec = HUB[f"openai-whisper-{size}"].spec
        assert (spec.n_layers, spec.dims[0]) == (n_layers, dim)
        assert (spec.role, spec.domain) == ("control", "speech")
    assert HUB["whisper-large-v3"].spec.dims == (1280,) * 33
