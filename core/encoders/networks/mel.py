"""Mel spectrograms in torch, equal to those that the teachers were trained with.

The filter matrix is computed here, so that a machine without librosa can run the
encoders; tests compare it, and the spectrograms, with librosa.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from usad_workbench.core.audio.mel_scale import hz_to_mel, mel_to_hz
from usad_workbench.core.models.frontend import without_autocast


@dataclass(frozen=True, kw_only=True, slots=True)
class MelConfig:
    """How samples become mel bands."""

    sample_rate_hz: int
    n_fft: int
    """Samples in a window (periodic Hann) and in its Fourier transform."""
    hop: int
    """Samples between frames."""
    n_mels: int
    scale: Literal["slaney", "htk"] = "slaney"
    norm: Literal["area", "sum", "peak"] = "area"
    """Each filter has equal area over frequency in Hz, weights that sum to 1, or a peak of 1."""
    low_hz: float = 0.0
    high_hz: float | None = None
    """Where the highest filter ends; none for half the sample rate."""
    edge: Literal["reflect", "constant"] = "reflect"
    """What lies before the first and behind the last sample; frames are centred."""


class MelSpectrogram(nn.Module):
    """Samples to mel power: [clip, sample] to [clip, frame, mel].

    A clip of n samples has 1 + floor(n / hop) frames.
    """

    filters: Tensor
    window: Tensor

    def __init__(self, config: MelConfig) -> None:
        super().__init__()
        self.config = config
        filters = torch.tensor(mel_filters(config))
        # Not persistent: they follow from the configuration and are no weights.
        self.register_buffer("filters", filters, persistent=False)
        self.register_buffer("window", torch.hann_window(config.n_fft), persistent=False)

    def forward(self, samples: Tensor, n_valid: Tensor | None = None) -> Tensor:
        """Power in each band.

        Args:
            samples: Clips longer than half a window, [clip, sample].
            n_valid: Samples of each clip where some end in padding, [clip]. Frames up to
                ``n_frames`` of it are then those of the clip alone.
        """
        with without_autocast(samples.device):  # half precision has no room for a power spectrum
            spectrum = torch.stft(
                self._extended(samples, n_valid),
                self.config.n_fft,
                self.config.hop,
                window=self.window,
                center=False,
                return_complex=True,
            )
            return (self.filters @ spectrum.abs().square()).transpose(1, 2)

    def n_frames(self, n_samples: Tensor) -> Tensor:
        """Frames of clips with so many samples, [clip] to [clip]."""
        return 1 + n_samples // self.config.hop

    def _extended(self, samples: Tensor, n_valid: Tensor | None) -> Tensor:
        """The clips with half a window of what lies before and behind them."""
        half = self.config.n_fft // 2
        if n_valid is None or self.config.edge == "constant":
            return F.pad(samples.unsqueeze(1), (half, half), self.config.edge).squeeze(1)
        extended = samples.new_zeros(len(samples), samples.shape[1] + 2 * half)
        for row, clip, n in zip(extended, samples, n_valid.tolist(), strict=True):
            row[: n + 2 * half] = F.pad(clip[None, :n], (half, half), self.config.edge)[0]
        return extended


def mel_filters(config: MelConfig) -> npt.NDArray[np.float32]:
    """Triangular filters, shape [mel, frequency], from the lowest to the highest frequency.

    Source: Slaney's Auditory Toolbox and HTK, in librosa's reading of both.

    >>> config = MelConfig(sample_rate_hz=16000, n_fft=512, hop=160, n_mels=8, norm="sum")
    >>> mel_filters(config).sum(axis=1).round(5).tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    """
    high_hz = config.sample_rate_hz / 2 if config.high_hz is None else config.high_hz
    low_mel, high_mel = hz_to_mel([config.low_hz, high_hz], config.scale)
    edges_hz = mel_to_hz(np.linspace(low_mel, high_mel, config.n_mels + 2), config.scale)
    bins_hz = np.arange(config.n_fft // 2 + 1) * config.sample_rate_hz / config.n_fft
    low, centre, high = edges_hz[:-2, None], edges_hz[1:-1, None], edges_hz[2:, None]
    rising = (bins_hz - low) / (centre - low)
    falling = (high - bins_hz) / (high - centre)
    filters = np.maximum(0.0, np.minimum(rising, falling))
    if config.norm == "area":
        filters *= 2.0 / (high - low)
    elif config.norm == "sum":
        filters /= np.maximum(filters.sum(axis=1, keepdims=True), np.finfo(float).tiny)
    return filters.astype(np.float32)
