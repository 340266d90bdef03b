"""GE2E: a speaker encoder, supervised on speaker labels (Resemblyzer 0.1.4).

Wan et al., "Generalized End-to-End Loss for Speaker Verification", 2018
(arXiv:1710.10467).

Layer 0 is the mel power (40 bands, no logarithm), layers 1 to 3 are the hidden sequences
of three LSTMs that run over the whole clip. ``native`` is the 256-d speaker vector of
unit length: the published procedure of windows of 1.6 s at 1.3 per second, each a vector
of unit length, averaged and scaled to unit length again. A clip below 1.6 s is one window
of its own length; published code pads it with silence, after which the last hidden state
says less about the voice (equal error rate on the voices of the sample data .28 against
.21, on clips above 1 s .11 against .10).

Quiet clips are raised to -30 dBFS, as published. The published removal of long silences
is left out: it needs a voice detector, and layers would no longer be in step with time.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from usad_workbench.core.encoders.formats import read_torch_weights
from usad_workbench.core.encoders.networks.frozen import FrozenEncoder, build_pretrained
from usad_workbench.core.encoders.networks.mel import MelConfig, MelSpectrogram
from usad_workbench.core.models.encoder import LayerFeatures, TargetKind
from usad_workbench.core.models.spec import EncoderSpec

_MEL = MelConfig(sample_rate_hz=16_000, n_fft=400, hop=160, n_mels=40)
_DIM = 256
_N_LSTM = 3
_MIN_LEVEL_DB = -30.0
"""Clips below this root mean square are raised to it."""
_WINDOW = 160
"""Frames in the 1.6 s that one speaker vector was trained on."""
_WINDOW_STEP = 77
"""Frames between windows: 1.3 windows per second."""
_MIN_COVERAGE = 0.75
"""A last window with less of the clip in it is left out, unless it is the only one."""


class Ge2eNet(nn.Module):
    """Mel frames to the hidden sequence of each LSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.mel = MelSpectrogram(_MEL)
        widths = (_MEL.n_mels, *([_DIM] * (_N_LSTM - 1)))
        self.lstms = nn.ModuleList(nn.LSTM(width, _DIM, batch_first=True) for width in widths)
        self.speaker = nn.Linear(_DIM, _DIM)

    def forward(self, mel: Tensor) -> list[Tensor]:
        """[clip, frame, mel] to every layer, each [clip, frame, dim]."""
        frames = [mel]
        for lstm in self.lstms:
            out, _ = lstm(frames[-1])
            frames.append(out)
        return frames

    def speaker_vectors(self, mel: Tensor, n_frames: Tensor) -> Tensor:
        """Windows [window, frame, mel], valid frames [window], to unit vectors [window, 256]."""
        last = self(mel)[-1][torch.arange(len(mel), device=mel.device), n_frames - 1]
        return F.normalize(F.relu(self.speaker(last)), dim=1)


class Ge2eEncoder(FrozenEncoder):
    """GE2E as the contract wants it. LSTMs only look back, so padding does not leak."""

    net: Ge2eNet

    def _forward(
        self, samples: Tensor, n_valid: Tensor, layers: tuple[int, ...], kind: TargetKind
    ) -> LayerFeatures:
        samples = raise_volume(samples, n_valid)
        frames = self.net(self.net.mel(samples, n_valid))
        n_frames = self.net.mel.n_frames(n_valid)
        native = self._native(samples, n_valid.tolist())
        return self._layer_features(
            {i: frames[i] for i in layers}, dict.fromkeys(layers, n_frames), native
        )

    def _native(self, samples: Tensor, n_valid: list[int]) -> Tensor:
        """The speaker vector of each clip, [clip, 256]."""
        windows, n_windows = [], []
        for clip, n in zip(samples, n_valid, strict=True):
            starts = window_starts(n)
            # One window ends with the clip; of several the last may reach behind it.
            end = (starts[-1] + _WINDOW) * _MEL.hop if len(starts) > 1 else n
            mel = self.net.mel(F.pad(clip[None, :n], (0, max(end - n, 0))))[0]
            windows += [mel[start : start + _WINDOW] for start in starts]
            n_windows.append(len(starts))
        n_frames = torch.tensor([len(window) for window in windows], device=samples.device)
        padded = nn.utils.rnn.pad_sequence(windows, batch_first=True)
        vectors = torch.split(self.net.speaker_vectors(padded, n_frames), n_windows)
        return F.normalize(torch.stack([part.mean(dim=0) for part in vectors]), dim=1)


def raise_volume(samples: Tensor, n_valid: Tensor) -> Tensor:
    """Clips whose level is below -30 dBFS raised to it; silence and louder ones as they are.

    >>> quiet = torch.full((1, 4), 0.001)
    >>> raise_volume(quiet, torch.tensor([4])).square().mean().sqrt().log10().mul(20).round()
    tensor(-30.)
    """
    level = (samples.square().sum(dim=1) / n_valid).sqrt()
    target = 10.0 ** (_MIN_LEVEL_DB / 20.0)
    gain = torch.where((level > 0) & (level < target), target / level, 1.0)
    return samples * gain.unsqueeze(1)


def window_starts(n_samples: int) -> list[int]:
    """First frame of each window of a clip.

    >>> window_starts(16_000), window_starts(48_000)
    ([0], [0, 77, 154])
    """
    n_frames = -(-(n_samples + 1) // _MEL.hop)
    starts = list(range(0, max(1, n_frames - _WINDOW + _WINDOW_STEP + 1), _WINDOW_STEP))
    coverage = (n_samples - starts[-1] * _MEL.hop) / (_WINDOW * _MEL.hop)
    return starts[:-1] if coverage < _MIN_COVERAGE and len(starts) > 1 else starts


def load(spec: EncoderSpec) -> Ge2eEncoder:
    """GE2E with its pretrained weights.

    Raises:
        WeightsError: the weights are missing or damaged.
    """
    net, sha256 = build_pretrained(spec.name, Ge2eNet)
    return Ge2eEncoder(spec, net, sha256)


def convert(members: dict[str, bytes]) -> dict[str, Tensor]:
    """The network of the checkpoint, without the loss's scale and the optimiser."""
    (checkpoint,) = members.values()
    state = read_torch_weights(checkpoint)["model_state"]
    converted = {f"speaker.{part}": state[f"linear.{part}"] for part in ("weight", "bias")}
    for i in range(_N_LSTM):
        for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            converted[f"lstms.{i}.{part}_l0"] = state[f"lstm.{part}_l{i}"]
    return converted
