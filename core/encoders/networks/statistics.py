"""Baselines without weights: mean and standard deviation of a spectral front end.

What any encoder has to beat. One 'frame' per clip: the mean of each band or coefficient
over time, then the standard deviation of each.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict

import torch
from torch import Tensor, nn

from usad_workbench.core.encoders.networks.frozen import FrozenEncoder
from usad_workbench.core.encoders.networks.mel import MelConfig, MelSpectrogram
from usad_workbench.core.models.encoder import LayerFeatures, TargetKind, masked_mean
from usad_workbench.core.models.spec import EncoderSpec

# Silence outside the clip, so that padding in a batch is what a clip alone has too.
_MEL = MelConfig(sample_rate_hz=16_000, n_fft=400, hop=160, n_mels=80, edge="constant")
_FLOOR = 1e-10
"""Power below this is taken for it (-100 dB)."""
N_MFCC = 20
"""librosa's default number of coefficients."""


class StatisticsNet(nn.Module):
    """Samples to log-mel bands or to cepstral coefficients."""

    basis: Tensor | None

    def __init__(self, n_mfcc: int | None) -> None:
        super().__init__()
        self.mel = MelSpectrogram(_MEL)
        basis = None if n_mfcc is None else cosine_basis(n_mfcc, _MEL.n_mels)
        self.register_buffer("basis", basis, persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        """[clip, sample] to [clip, frame, band], natural logarithm of power."""
        log_mel: Tensor = self.mel(samples).clamp(min=_FLOOR).log()
        return log_mel if self.basis is None else log_mel @ self.basis.T


class StatisticsEncoder(FrozenEncoder):
    """Mean and standard deviation as the contract wants them."""

    net: StatisticsNet

    def _forward(
        self, samples: Tensor, n_valid: Tensor, layers: tuple[int, ...], kind: TargetKind
    ) -> LayerFeatures:
        frames = self.net(samples)
        n_frames = self.net.mel.n_frames(n_valid)
        mean = masked_mean(frames, n_frames)
        deviation = (frames - mean.unsqueeze(1)).square()
        std = masked_mean(deviation, n_frames).sqrt()
        return self._whole({0: torch.cat([mean, std], dim=1).unsqueeze(1)}, layers)


def cosine_basis(n_coefficients: int, n_bands: int) -> Tensor:
    """Rows of the orthonormal discrete cosine transform (type II), [coefficient, band].

    >>> basis = cosine_basis(4, 4)
    >>> torch.allclose(basis @ basis.T, torch.eye(4), atol=1e-6)
    True
    """
    band = torch.arange(n_bands, dtype=torch.float64) + 0.5
    order = torch.arange(n_coefficients, dtype=torch.float64).unsqueeze(1)
    basis = torch.cos(math.pi / n_bands * order * band) * math.sqrt(2.0 / n_bands)
    basis[0] /= math.sqrt(2.0)
    return basis.float()


def load_log_mel(spec: EncoderSpec) -> StatisticsEncoder:
    """Statistics of 80 log-mel bands."""
    return _encoder(spec, None)


def load_mfcc(spec: EncoderSpec) -> StatisticsEncoder:
    """Statistics of 20 mel-frequency cepstral coefficients."""
    return _encoder(spec, N_MFCC)


def _encoder(spec: EncoderSpec, n_mfcc: int | None) -> StatisticsEncoder:
    configuration = {"mel": asdict(_MEL), "floor": _FLOOR, "n_mfcc": n_mfcc}
    text = json.dumps(configuration, sort_keys=True)
    return StatisticsEncoder(spec, StatisticsNet(n_mfcc), hashlib.sha256(text.encode()).hexdigest())
