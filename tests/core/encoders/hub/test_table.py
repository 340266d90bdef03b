"""The named encoders of the hub: what the table says of each, against its own architecture."""

from typing import Any

import pytest
import torch
import transformers as tf

from usad_workbench.core.encoders.hub.families import FAMILIES
from usad_workbench.core.encoders.hub.table import HUB
from usad_workbench.core.encoders.lazy import import_object
from usad_workbench.core.encoders.quiet import without_meant_warnings
from usad_workbench.core.encoders.registry import (
    encoder_specs,
    encoder_status,
    get_weights,
    load_encoder,
    setup_encoders,
)
from usad_workbench.core.encoders.row import HubSource
from usad_workbench.core.errors import UntrustedCodeError, WeightsError
from usad_workbench.core.models.sizes import SIZES
from usad_workbench.training import train

LARGE = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
    "conv_bias": False,
}
RAW = {"do_normalize": False}


def whisper(dim: int, layers: int, n_mels: int = 80) -> tuple[Any, Any]:
    return (
        tf.WhisperConfig(
            d_model=dim,
            encoder_layers=layers,
            encoder_attention_heads=dim // 64,
            encoder_ffn_dim=4 * dim,
            num_mel_bins=n_mels,
        ),
        tf.WhisperFeatureExtractor(feature_size=n_mels),
    )


with without_meant_warnings():
    AST = tf.ASTFeatureExtractor()

ARCHITECTURES: dict[str, tuple[Any, Any]] = {
    "wavlm-base-plus": (tf.WavLMConfig(), tf.Wav2Vec2FeatureExtractor()),
    "wavlm-large": (tf.WavLMConfig(**LARGE), tf.Wav2Vec2FeatureExtractor()),
    "hubert-base": (tf.HubertConfig(), tf.Wav2Vec2FeatureExtractor()),
    "data2vec-audio-base": (tf.Data2VecAudioConfig(), tf.Wav2Vec2FeatureExtractor()),
    "w2v-bert-2.0": (tf.Wav2Vec2BertConfig(), tf.SeamlessM4TFeatureExtractor()),
    "whisper-large-v3": whisper(1280, 32, 128),
    "openai-whisper-tiny": whisper(384, 4),
    "openai-whisper-base": whisper(512, 6),
    "openai-whisper-small": whisper(768, 12),
    "openai-whisper-medium": whisper(1024, 24),
    "openai-whisper-large-v2": whisper(1280, 32),
    "af-whisper": (tf.AudioFlamingo3EncoderConfig(), tf.WhisperFeatureExtractor(feature_size=128)),
    "ast": (tf.ASTConfig(), AST),
    "clap": (tf.ClapAudioConfig(), tf.ClapFeatureExtractor()),
    "clap-music": (
        tf.ClapAudioConfig(
            patch_embeds_hidden_size=128,
            depths=[2, 2, 12, 2],
            num_attention_heads=[4, 8, 16, 32],
            hidden_size=1024,
        ),
        tf.ClapFeatureExtractor(),
    ),
}
"""The published configurations, as far as transformers' defaults and the papers give them."""
TEACHERS = {
    "wavlm-base-plus": "speech",
    "wavlm-large": "speech",
    "atst-frame": "sound",
    "muq-large-msd-iter": "music",
    "whisper-large-v3": "speech",
    "af-whisper": None,
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_specs_are_those_of_the_architectures(name: str) -> None:
    config, extractor = ARCHITECTURES[name]
    # Of CLAP the repositories hold both towers.
    family = FAMILIES["clap" if name.startswith("clap") else config.model_type]
    with torch.device("meta"):
        if family.model:
            net = import_object(family.model)(config)
        else:
            net = tf.AutoModel.from_config(config)
    spec = HUB[name].spec
    known = {"role": spec.role, "domain": spec.domain, "citation": spec.citation}
    encoder = family(net, extractor, "", name=name, licence=spec.licence, **known)
    assert encoder.spec == spec


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("wavlm-large", (49, 499, 1499)),
        ("wavlm-base-plus", (49, 499, 1499)),
        ("whisper-large-v3", (50, 500, 1500)),
        ("af-whisper", (50, 500, 1500)),
    ],
)
def test_frames_of_1_10_and_30_s(name: str, expected: tuple[int, ...]) -> None:
    """Reference: frames of the published teachers; Whisper's own 1500 cut to the clip."""
    config, extractor = ARCHITECTURES[name]
    # Of CLAP the repositories hold both towers.
    family = FAMILIES["clap" if name.startswith("clap") else config.model_type]
    with torch.device("meta"):
        net = (
            import_object(family.model)(config)
            if family.model
            else tf.AutoModel.from_config(config)
        )
    known = {"role": "teacher", "domain": None, "citation": "", "licence": ""}
    encoder = family(net, extractor, "", name=name, **known)
    hop = encoder.hops[0]
    assert tuple(encoder.n_frames(s * 16_000, hop) for s in (1, 10, 30)) == expected
    if name == "af-whisper":
        pooled = [encoder.n_frames(s * 16_000, encoder.output_hop()) for s in (1, 10, 30)]
        assert pooled == [25, 250, 750]
        assert (
            encoder.frame_rate_hz(32, "output") == 25.0
            and encoder.frame_rate_hz(32, "block") == 50.0
        )
    assert encoder.window_samples() == 30 * 16_000


def test_the_papers_teachers_have_feed_forward_outputs() -> None:
    for name, domain in TEACHERS.items():
        spec = encoder_specs()[name]
        assert (spec.role, spec.domain, spec.has_ffn) == ("teacher", domain, True)


def test_controls_exist_for_every_domain_and_all_rows_say_where_they_come_from() -> None:
    domains = {row.spec.domain for row in HUB.values() if row.spec.role == "control"}
    assert domains == {"speech", "sound", "music"}
    for name, row in HUB.items():
        source = row.source
        assert isinstance(source, HubSource)
        assert row.spec.name == name and row.spec.licence == source.licence
        assert row.spec.citation and source.repo.count("/") == 1 and source.size_mb > 0
    assert "non-commercial" in HUB["usad2-base"].spec.licence
    assert "non-commercial" not in HUB["usad-base"].spec.licence


def test_published_students_have_the_published_sizes() -> None:
    students = {n: row.spec for n, row in HUB.items() if row.spec.role == "student"}
    assert len(students) == 10
    for name, spec in students.items():
        size = SIZES[name.removeprefix("usad2-").removeprefix("usad-").removesuffix("-plus")]
        assert spec.dims == (128,) + (size.dim,) * size.n_layers
        source = HUB[name].source
        assert isinstance(source, HubSource) and source.needs_remote_code


def test_none_is_fetched_unasked_or_collides() -> None:
    assert not set(HUB) & set(setup_encoders())
    assert len(encoder_specs()) >= len(HUB) + len(setup_encoders())


def test_what_is_not_here_says_how_to_get_it(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    status = encoder_status("wavlm-large")
    assert not status.available
    assert "usad encoders get wavlm-large" in status.reason
    assert "microsoft/wavlm-large" in status.reason
    with pytest.raises(WeightsError, match="usad encoders get wavlm-large"):
        load_encoder("wavlm-large")
    assert "usad encoders get usad2-base --trust-remote-code" in encoder_status("usad2-base").reason


def test_code_of_a_repository_needs_trust() -> None:
    for act in (load_encoder, get_weights):
        with pytest.raises(UntrustedCodeError, match=r"MIT-SLS/USAD-Base.*--trust-remote-code"):
            act("usad-base")


def test_a_recipe_that_names_them_finds_them_and_says_what_to_get(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    start = "start.student=usad-demo"
    with pytest.raises(WeightsError, match=r"get whisper-large-v3.*get af-whisper"):
        train("plus-large", tmp_path / "run", [start])
    assert not (tmp_path / "run").exists()
