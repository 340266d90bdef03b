"""Small random models of transformers in the hub's own format."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import transformers as tf
from torch import nn

from tests.core.encoders.remote_folder import give_own_code

WAVE = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
LAYER_NORM = {**WAVE, "feat_extract_norm": "layer", "do_stable_layer_norm": True}
WHISPER = {
    "d_model": 32,
    "encoder_layers": 2,
    "encoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "num_mel_bins": 16,
    "max_source_positions": 100,
    "decoder_layers": 1,
    "decoder_ffn_dim": 16,
    "decoder_attention_heads": 2,
    "vocab_size": 20,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
    "max_target_positions": 8,
}
AF = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "num_mel_bins": 16,
    "max_source_positions": 100,
}
QWEN = {
    "d_model": 32,
    "encoder_layers": 2,
    "encoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "num_mel_bins": 16,
    "max_source_positions": 100,
}
AST = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "patch_size": 8,
    "frequency_stride": 6,
    "time_stride": 5,
    "max_length": 128,
    "num_mel_bins": 32,
}
CLAP = {
    "window_size": 4,
    "num_mel_bins": 16,
    "spec_size": 64,
    "patch_size": 4,
    "patch_stride": [4, 4],
    "depths": [2, 2],
    "num_attention_heads": [2, 4],
    "patch_embeds_hidden_size": 16,
    "hidden_size": 32,
    "projection_dim": 16,
    "enable_fusion": True,
}


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One model class and where its parts are, written down a second time."""

    net: Callable[[], nn.Module]
    """The whole model, as it is saved."""
    extractor: Callable[[], Any]
    blocks: str
    """Of the whole model."""
    ffn: str
    pads: bool
    window_s: float = 30.0
    hop: int = 320
    has_own_code: bool = False
    """Whether the folder brings the class along; the original is then transformers' of the same
    network."""


def _wave(kind: str, config: dict[str, Any]) -> Callable[[], nn.Module]:
    return lambda: getattr(tf, f"{kind}Model")(getattr(tf, f"{kind}Config")(**config))


def wave_extractor(normalise: bool) -> Callable[[], Any]:
    return lambda: tf.Wav2Vec2FeatureExtractor(
        do_normalize=normalise, return_attention_mask=normalise
    )


def whisper_extractor() -> Any:
    return tf.WhisperFeatureExtractor(feature_size=16, chunk_length=2)


def _wave_sample(kind: str, config: dict[str, Any], *, pads: bool, ffn: str, hop: int) -> Sample:
    return Sample(
        net=_wave(kind, config),
        extractor=wave_extractor("feat_extract_norm" in config),
        blocks="encoder.layers",
        ffn=ffn,
        pads=pads,
        hop=hop,
    )


def _clap() -> nn.Module:
    text = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "vocab_size": 20,
    }
    return tf.ClapModel(tf.ClapConfig(text_config=text, audio_config=CLAP, projection_dim=16))


SAMPLES = {
    name: _wave_sample(kind, config, pads=pads, ffn=ffn, hop=hop)
    for name, kind, config, pads, ffn, hop in (
        ("wav2vec2", "Wav2Vec2", WAVE, False, "feed_forward", 320),
        ("hubert-layer", "Hubert", LAYER_NORM, True, "feed_forward", 320),
        ("wavlm-base", "WavLM", WAVE, False, "feed_forward", 320),
        ("wavlm-large", "WavLM", LAYER_NORM, True, "feed_forward", 320),
        ("unispeech", "UniSpeech", LAYER_NORM, True, "feed_forward", 320),
        ("unispeech-sat", "UniSpeechSat", LAYER_NORM, True, "feed_forward", 320),
        (
            "data2vec",
            "Data2VecAudio",
            {**LAYER_NORM, "num_conv_pos_embeddings": 3, "conv_pos_kernel_size": 7},
            False,
            "feed_forward",
            320,
        ),
        (
            "conformer",
            "Wav2Vec2Conformer",
            {**WAVE, "feat_extract_norm": "layer"},
            False,
            "ffn2",
            320,
        ),
        ("sew", "SEW", {**WAVE, "conv_dim": (16,) * 13}, False, "feed_forward", 640),
    )
}
SAMPLES |= {
    "mert": Sample(
        net=_wave("Hubert", WAVE),
        extractor=wave_extractor(True),
        blocks="encoder.layers",
        ffn="feed_forward",
        pads=False,
        has_own_code=True,
    ),
    "w2v-bert": Sample(
        net=lambda: tf.Wav2Vec2BertModel(
            tf.Wav2Vec2BertConfig(**{k: v for k, v in WAVE.items() if "conv" not in k})
        ),
        extractor=tf.SeamlessM4TFeatureExtractor,
        blocks="encoder.layers",
        ffn="ffn2",
        pads=True,
    ),
    "whisper": Sample(
        net=lambda: tf.WhisperForConditionalGeneration(tf.WhisperConfig(**WHISPER)),
        extractor=whisper_extractor,
        blocks="model.encoder.layers",
        ffn="fc2",
        pads=True,
        window_s=2.0,
    ),
    "af-whisper": Sample(
        net=lambda: tf.AudioFlamingo3Encoder(tf.AudioFlamingo3EncoderConfig(**AF)),
        extractor=whisper_extractor,
        blocks="layers",
        ffn="fc2",
        pads=True,
        window_s=2.0,
    ),
    "qwen2-audio": Sample(
        net=lambda: tf.Qwen2AudioEncoder(tf.Qwen2AudioEncoderConfig(**QWEN)),
        extractor=whisper_extractor,
        blocks="layers",
        ffn="fc2",
        pads=True,
        window_s=2.0,
    ),
    "ast": Sample(
        net=lambda: tf.ASTModel(tf.ASTConfig(**AST)),
        extractor=lambda: tf.ASTFeatureExtractor(num_mel_bins=32, max_length=128),
        blocks="layers",
        ffn="mlp",
        pads=True,
        window_s=1.28,
        hop=800,
    ),
    "clap": Sample(
        net=_clap,
        extractor=lambda: tf.ClapFeatureExtractor(
            feature_size=16, max_length_s=2, sampling_rate=16_000, frequency_max=8000
        ),
        blocks="audio_model.audio_encoder.layers",
        ffn="",
        pads=True,
        window_s=2.0,
        hop=500,
    ),
}


def save_clap_with_words(folder: Path) -> nn.Module:
    """A small CLAP as the hub has it: both towers, front end, and a tokenizer of bytes."""
    from tokenizers import ByteLevelBPETokenizer

    pieces = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    pieces.train_from_iterator(["dog barking", "rain on a roof"], 300, special_tokens=special)
    text = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "vocab_size": 300,
        "max_position_embeddings": 34,
    }
    config = tf.ClapConfig(text_config=text, audio_config=CLAP, projection_dim=16)
    net = save(replace(SAMPLES["clap"], net=lambda: tf.ClapModel(config)), folder)
    tokenizer = tf.RobertaTokenizerFast(
        tokenizer_object=pieces._tokenizer, model_max_length=32, pad_token="<pad>"
    )
    tokenizer.save_pretrained(folder)
    return net


def save(sample: Sample, folder: Path) -> nn.Module:
    """Writes model and feature extractor and returns the model, with norms that do something."""
    torch.manual_seed(0)
    net = sample.net().eval()
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    net.save_pretrained(folder)
    sample.extractor().save_pretrained(folder)
    if sample.has_own_code:
        give_own_code(folder)
    return net
