"""What each model type of transformers does differently.

Whether a batch may be padded was measured: small random networks, a clip alone against the
same clip padded in a batch with its mask, in double precision. Where it says so the two agree to
1e-15; a group norm over time (0.01 off), stacked positional convolutions (data2vec, 0.02)
and the convolutions of the conformer (0.07) leak. An unknown type runs equal lengths.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from usad_workbench.core.encoders.hub.hidden_states import HiddenStatesEncoder, PublishedStudent
from usad_workbench.core.encoders.hub.muq import MuqEncoder, is_muq
from usad_workbench.core.encoders.hub.transformers_encoder import Samples, TransformersEncoder

_MEL_HOP = 160
"""Samples between two mel frames in Whisper, AST and Wav2Vec2-BERT: 10 ms at 16 kHz."""
_MEL_WINDOW = 400
"""Samples in an analysis window of AST and Wav2Vec2-BERT: 25 ms."""


class WaveformEncoder(TransformersEncoder):
    """wav2vec 2.0, HuBERT, WavLM, UniSpeech(-SAT): convolutions on samples, then blocks."""

    unused: tuple[str, ...] = ("masked_spec_embed", "adapter")
    cpu_batch_s = 4.0

    def find_hops(self) -> tuple[int, ...]:
        """Samples from frame to frame, by layer."""
        hop = 1
        for stride in self.config.conv_stride:
            hop *= int(stride)
        return (hop * self.squeeze(),) * len(self.dims())

    def squeeze(self) -> int:
        """Frames of the convolutions in one frame of the blocks."""
        return 1

    def is_used(self, name: str) -> bool:
        """Whether a layer depends on this parameter; a stable-norm model's last norm is not."""
        is_final_norm = name.startswith("encoder.layer_norm.")
        is_stable = bool(getattr(self.config, "do_stable_layer_norm", False))
        return super().is_used(name) and not (is_final_norm and is_stable)

    def can_pad(self) -> bool:
        """Whether a clip in a padded batch has the frames that it has alone."""
        # Its shift fills what lies behind a clip, where a clip alone has zeros.
        shifts_padding = bool(getattr(self.config, "conv_pos_batch_norm", False))
        return bool(self.config.feat_extract_norm == "layer") and not shifts_padding

    def min_samples(self) -> int:
        """What gives one frame in every layer."""
        n = self.squeeze()
        for kernel, stride in zip(
            self.config.conv_kernel[::-1], self.config.conv_stride[::-1], strict=True
        ):
            n = (n - 1) * stride + kernel
        return n

    def inputs(self, clips: list[Samples]) -> dict[str, Tensor]:
        """Samples, and their mask where a batch may be padded."""
        made = self.extractor(
            clips,
            sampling_rate=self.sample_rate_hz,
            padding=True,
            return_attention_mask=self.pads,
            return_tensors="pt",
        )
        return dict(made)

    def output_hop(self) -> int:
        """Samples from frame to frame of the network's own output."""
        return self.hops[-1] // self.squeeze()

    def n_frames(self, n_samples: int, hop: int) -> int:
        """Valid frames of a clip in a layer with this hop."""
        n = n_samples
        for kernel, stride in zip(self.config.conv_kernel, self.config.conv_stride, strict=True):
            n = (n - kernel) // stride + 1
        return n // (hop // self.output_hop())


class EqualLengthEncoder(WaveformEncoder):
    """MERT, data2vec: convolutions may see what lies behind a clip."""

    def can_pad(self) -> bool:
        """Never."""
        return False


class Data2VecEncoder(EqualLengthEncoder):
    """data2vec audio: its one norm lies before the blocks, whatever the configuration says."""

    def is_used(self, name: str) -> bool:
        """Whether a layer depends on this parameter."""
        return not name.startswith(self.unused)


class ConformerEncoder(EqualLengthEncoder):
    """wav2vec 2.0 with conformer blocks; of two feed-forward halves, the second is read."""

    ffn = "ffn2"
    unused = (*WaveformEncoder.unused, "encoder.layer_norm", "encoder.pos_conv_embed")


class SewEncoder(WaveformEncoder):
    """SEW: blocks at half the rate of its output."""

    unused = (*WaveformEncoder.unused, "encoder.upsample")
    cpu_batch_s = 10.0

    def squeeze(self) -> int:
        """Frames of the convolutions in one frame of the blocks."""
        return int(self.config.squeeze_factor)


class W2vBertEncoder(TransformersEncoder):
    """Wav2Vec2-BERT: log-mel in pairs of frames, conformer blocks that mask their padding."""

    ffn = "ffn2"
    unused = ("masked_spec_embed", "adapter", "intermediate_ffn", "inner_layer_norm")
    cpu_batch_s = 60.0

    def find_hops(self) -> tuple[int, ...]:
        """Samples from frame to frame, by layer."""
        return (2 * _MEL_HOP,) * len(self.dims())

    def can_pad(self) -> bool:
        """Always."""
        return True

    def min_samples(self) -> int:
        """What gives one frame in every layer."""
        return _MEL_WINDOW + _MEL_HOP

    def inputs(self, clips: list[Samples]) -> dict[str, Tensor]:
        """Normalised log-mel bands and their mask."""
        rate = self.sample_rate_hz
        return dict(self.extractor(clips, sampling_rate=rate, return_tensors="pt"))

    def n_frames(self, n_samples: int, hop: int) -> int:
        """Valid frames of a clip in a layer with this hop."""
        return (1 + (n_samples - _MEL_WINDOW) // _MEL_HOP) // 2


class WhisperEncoder(TransformersEncoder):
    """Whisper: every clip in 30 s of log-mel, as it was trained; silence is no padding to it."""

    model = "transformers.models.whisper.modeling_whisper:WhisperEncoder"
    fills_window = True
    prefixes = ("model.encoder.", "encoder.", "")
    blocks = "layers"
    ffn = "fc2"
    unused = ("layer_norm.",)

    def check_front_end(self) -> None:
        """Mel bands and the length of the window."""
        self.expect("mel bands", self.extractor.feature_size, self.config.num_mel_bins)
        n_frames = 2 * self.config.max_source_positions
        self.expect("mel frames", self.extractor.nb_max_frames, n_frames)

    def find_hops(self) -> tuple[int, ...]:
        """Samples from frame to frame, by layer."""
        return (2 * _MEL_HOP,) * len(self.dims())

    def window_samples(self) -> int:
        """The only length that there is."""
        return int(self.config.max_source_positions) * 2 * _MEL_HOP

    def inputs(self, clips: list[Samples]) -> dict[str, Tensor]:
        """Log-mel bands of the whole window."""
        made = self.extractor(clips, sampling_rate=self.sample_rate_hz, return_tensors="pt")
        return {"input_features": made["input_features"]}

    def n_frames(self, n_samples: int, hop: int) -> int:
        """Valid frames of a clip in a layer with this hop."""
        return max(-(-(n_samples // _MEL_HOP) // 2), 1)


class AfWhisperEncoder(WhisperEncoder):
    """The encoder of Audio Flamingo 3: Whisper's, with a mask and an output pooled in pairs."""

    model = "transformers:AudioFlamingo3Encoder"
    part = "audio_config"
    prefixes = ("audio_tower.", "model.audio_tower.", "")

    def inputs(self, clips: list[Samples]) -> dict[str, Tensor]:
        """Log-mel bands of the whole window and the mask of the clip's own."""
        made = self.extractor(
            clips,
            sampling_rate=self.sample_rate_hz,
            return_attention_mask=True,
            return_tensors="pt",
        )
        return {
            "input_features": made["input_features"],
            "input_features_mask": made["attention_mask"],
        }

    def n_frames(self, n_samples: int, hop: int) -> int:
        """Valid frames of a clip in a layer with this hop."""
        n_mel = -(-n_samples // _MEL_HOP)
        return max(-(-n_mel // 2) // (hop // (2 * _MEL_HOP)), 1)

    def output_hop(self) -> int:
        """Samples from frame to frame of the pooled output: 25 Hz."""
        return 4 * _MEL_HOP


class Qwen2AudioEncoder(AfWhisperEncoder):
    """The encoder of Qwen2-Audio, and copies of AF-Whisper as such: the same network."""

    @classmethod
    def read_config(cls, folder: Path, trust_remote_code: bool) -> Any:
        """What ``model`` is called with, under the other class's names."""
        from transformers import AudioFlamingo3EncoderConfig

        found = super().read_config(folder, trust_remote_code)
        names = (
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "intermediate_size",
            "num_mel_bins",
            "max_source_positions",
            "activation_function",
            "scale_embedding",
        )
        return AudioFlamingo3EncoderConfig(**{name: getattr(found, name) for name in names})


class AstEncoder(TransformersEncoder):
    """Audio Spectrogram Transformer: patches, averaged over frequency to one frame per time.

    The two summary tokens are left out.
    """

    blocks = "layers"
    ffn = "mlp"
    unused = ("layernorm.",)
    fills_window = True

    def check_front_end(self) -> None:
        """Mel bands and the length of the window."""
        self.expect("mel bands", self.extractor.num_mel_bins, self.config.num_mel_bins)
        self.expect("mel frames", self.extractor.max_length, self.config.max_length)

    def find_hops(self) -> tuple[int, ...]:
        """Samples from frame to frame, by layer."""
        return (int(self.config.time_stride) * _MEL_HOP,) * len(self.dims())

    def window_samples(self) -> int:
        """The only length that there is; 10.24 s in the published models."""
        return int(self.config.max_length) * _MEL_HOP

    def min_samples(self) -> int:
        """One analysis window."""
        return _MEL_WINDOW

    def inputs(self, clips: list[Samples]) -> dict[str, Tensor]:
        """Log-mel bands of the whole window."""
        rate = self.sample_rate_hz
        return dict(self.extractor(clips, sampling_rate=rate, return_tensors="pt"))

    def arrange(self, hidden: Tensor, layer: int) -> Tensor:
        """Patches [clip, 2 + frequency × time, dim] to [clip, time, dim]."""
        n_rows = (
            self.config.num_mel_bins - self.config.patch_size
        ) // self.config.frequency_stride + 1
        n_clips, _, dim = hidden.shape
        return hidden[:, 2:].reshape(n_clips, n_rows, -1, dim).mean(1)

    def output(self, result: Any) -> Tensor:
        """The normalised patches, as frames."""
        return self.arrange(result.last_hidden_state, self.spec.n_layers)

    def n_frames(self, n_samples: int, hop: int) -> int:
        """Valid frames of a clip in a layer with this hop."""
        n_mel = 1 + (n_samples - _MEL_WINDOW) // _MEL_HOP
        return max((n_mel * _MEL_HOP - int(self.config.patch_size) * _MEL_HOP) // hop + 1, 1)


class ClapEncoder(TransformersEncoder):
    """The audio tower of CLAP (HTS-AT): four stages of windowed attention on a folded image.

    Each stage ends in a merging of patches, so layers differ in width and rate. Patches are
    averaged over frequency. A clip is repeated to fill the window of 10 s, and never taken
    for a longer one, which the published front end does at random.
    """

    model = "transformers:ClapAudioModel"
    part = "audio_config"
    prefixes: tuple[str, ...] = ("audio_model.", "clap.audio_model.", "")
    tower = "audio_encoder"
    """Path of the tower in the network."""
    blocks = "audio_encoder.layers"
    ffn = ""
    unused: tuple[str, ...] = (
        "audio_encoder.norm.",
        "audio_encoder.patch_embed.fusion_model.",
        "audio_encoder.patch_embed.mel_conv2d.",
    )
    fills_window = True

    def check_front_end(self) -> None:
        """Mel bands."""
        self.expect("mel bands", self.extractor.feature_size, self.config.num_mel_bins)

    def dims(self) -> tuple[int, ...]:
        """Width of each layer."""
        n_stages, first = len(self.config.depths), int(self.config.patch_embeds_hidden_size)
        return tuple(first * 2 ** min(i, n_stages - 1) for i in range(n_stages + 1))

    def layer_names(self) -> tuple[str, ...]:
        """Patches and what leaves each stage."""
        return ("patches", *(f"stage {i}" for i in range(1, self.n_blocks + 1)))

    def grids(self) -> list[tuple[int, int, int]]:
        """Patches of each layer: folds in time, rows of frequency, columns of time."""
        encoder: Any = self.net.get_submodule(self.tower)
        sizes = [*encoder.input_resolutions, encoder.input_resolutions[-1]]
        return [(encoder.freq_ratio, high // encoder.freq_ratio, wide) for high, wide in sizes]

    def find_hops(self) -> tuple[int, ...]:
        """Samples from frame to frame, by layer."""
        window = self.window_samples()
        return tuple(round(window / (folds * wide)) for folds, _, wide in self.grids())

    def window_samples(self) -> int:
        """The only length that there is; 10 s in the published models."""
        return int(self.extractor.nb_max_samples)

    def inputs(self, clips: list[Samples]) -> dict[str, Tensor]:
        """Log-mel bands of the whole window; no clip is longer."""
        rate = self.sample_rate_hz
        made = dict(self.extractor(clips, sampling_rate=rate, return_tensors="pt"))
        return {**made, "is_longer": torch.zeros(len(clips), 1, dtype=torch.bool)}

    def arrange(self, hidden: Tensor, layer: int) -> Tensor:
        """Patches of the folded image, [clip, patch, dim], to [clip, time, dim]."""
        n_clips, _, dim = hidden.shape
        return hidden.reshape(n_clips, *self.grids()[layer], dim).mean(2).flatten(1, 2)

    def output(self, result: Any) -> Tensor:
        """The normalised patches [clip, dim, frequency, time], as frames."""
        frames: Tensor = result.last_hidden_state.mean(2).transpose(1, 2)
        return frames

    def n_frames(self, n_samples: int, hop: int) -> int:
        """Valid frames of a clip in a layer with this hop."""
        return -(-n_samples // hop)


class ClapJointEncoder(ClapEncoder):
    """CLAP with the projection into the space that it shares with words: pooling ``native``.

    Of a clip longer than the window it is the mean of its windows' vectors at length one.
    """

    model = "transformers:ClapAudioModelWithProjection"
    prefixes = ("", "clap.")
    tower = "audio_model.audio_encoder"
    blocks = "audio_model.audio_encoder.layers"
    unused = (*(f"audio_model.{name}" for name in ClapEncoder.unused), "audio_projection.")

    def native_dim(self) -> int:
        """Width of the shared space."""
        return int(self.config.projection_dim)

    def native(self, result: Any) -> Tensor:
        """Vectors of length one, [clip, dim]."""
        return torch.nn.functional.normalize(result.audio_embeds, dim=-1)


FAMILIES: dict[str, type[TransformersEncoder]] = {
    "wav2vec2": WaveformEncoder,
    "hubert": WaveformEncoder,
    "wavlm": WaveformEncoder,
    "unispeech": WaveformEncoder,
    "unispeech-sat": WaveformEncoder,
    "data2vec-audio": Data2VecEncoder,
    "mert_model": EqualLengthEncoder,
    "wav2vec2-conformer": ConformerEncoder,
    "sew": SewEncoder,
    "wav2vec2-bert": W2vBertEncoder,
    "whisper": WhisperEncoder,
    "audioflamingo3": AfWhisperEncoder,
    "audioflamingo3_encoder": AfWhisperEncoder,
    "qwen2_audio": Qwen2AudioEncoder,
    "qwen2_audio_encoder": Qwen2AudioEncoder,
    "audio-spectrogram-transformer": AstEncoder,
    "clap": ClapJointEncoder,
    "clap_audio_model": ClapEncoder,
    "usad": PublishedStudent,
    "usad2": PublishedStudent,
    "usad_student": PublishedStudent,
}
"""By ``model_type`` of ``config.json``; any other is a ``HiddenStatesEncoder``."""


def find_family(description: dict[str, Any]) -> type[TransformersEncoder]:
    """What runs the model that a ``config.json`` describes.

    >>> find_family({"model_type": "whisper"}).__name__, find_family({"w2v2_config": {}}).__name__
    ('WhisperEncoder', 'MuqEncoder')
    """
    if is_muq(description):
        return MuqEncoder
    return FAMILIES.get(str(description.get("model_type", "")), HiddenStatesEncoder)
