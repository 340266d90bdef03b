"""Log-mel bands as Kaldi computes them, in torch, for padded batches.

The published students read ``torchaudio.compliance.kaldi.fbank`` with 128 bands (USAD,
arXiv 2506.18843, code of MIT-SLS/USAD). torchaudio is no dependency here, and its
function takes one clip at a time; this one takes a batch and gives each clip the bands
it would have alone.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from usad_workbench.core.audio.mel_scale import hz_to_mel
from usad_workbench.core.errors import ShapeError
from usad_workbench.core.models.stem import zero_padding

PREEMPHASIS = 0.97  # Kaldi's default
LOG_FLOOR = float(np.finfo(np.float32).eps)  # Kaldi floors the energies here before the log


@dataclass(frozen=True, kw_only=True, slots=True)
class FrontendConfig:
    """How samples become normalised log-mel bands; the defaults are the published ones."""

    sample_rate_hz: int = 16_000
    window: int = 400
    """Samples in a window, 25 ms."""
    hop: int = 160
    """Samples between windows, 10 ms."""
    n_mels: int = 128
    low_hz: float = 20.0
    """Lower end of the first band, Kaldi's default; the last ends at half the rate."""
    mean: float = -4.268
    """AudioSet's, as in SSAST and EAT."""
    std: float = 4.569
    """The bands are divided by twice this."""


class LogMel(nn.Module):
    """Samples to normalised log-mel bands: [clip, sample] to [clip, frame, mel].

    A clip of n samples has 1 + floor((n - 400) / 160) frames (only whole windows, Kaldi's
    ``snip_edges``). Always float32: half precision has no room for the power spectrum.
    """

    filters: Tensor
    taper: Tensor

    def __init__(self, config: FrontendConfig | None = None) -> None:
        super().__init__()
        self.config = config or FrontendConfig()
        self.n_fft = 1 << (self.config.window - 1).bit_length()
        # Not persistent: they follow from the configuration and are no weights.
        # torch.tensor heeds `with torch.device(...)`, as all else in here; from_numpy does not.
        filters = torch.tensor(kaldi_mel_filters(self.config, self.n_fft))
        self.register_buffer("filters", filters, persistent=False)
        taper = torch.hann_window(self.config.window, periodic=False, dtype=torch.float64)
        self.register_buffer("taper", taper.float(), persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # A model brought to half precision keeps these: they would lose five digits.
        exact = dict(self.named_buffers())
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, buffer in self.named_buffers():
            if buffer.dtype != torch.float32:
                setattr(self, name, exact[name].to(buffer.device))
        return self

    def n_frames(self, n_samples: Tensor) -> Tensor:
        """Frames of clips with this many samples."""
        n_hops = (n_samples - self.config.window).div(self.config.hop, rounding_mode="floor")
        return (1 + n_hops).clamp(min=0)

    def forward(
        self, samples: Tensor, n_valid: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """The bands and the number of valid frames per clip; frames behind are zero.

        Args:
            samples: Shape [clip, sample], in [-1, 1].
            n_valid: Valid samples per clip, shape [clip]; all where none, then all frames
                are valid too and none is said.

        Raises:
            ShapeError: a clip shorter than one window.
        """
        self._check(samples, n_valid)
        with without_autocast(samples.device):
            log_mel = self._log_mel(self._without_offset(samples.float(), n_valid))
            normalised = (log_mel - self.config.mean) / (2 * self.config.std)
        n_frames = None if n_valid is None else self.n_frames(n_valid)
        return zero_padding(normalised, n_frames), n_frames

    def _check(self, samples: Tensor, n_valid: Tensor | None) -> None:
        shortest = samples.shape[1]
        # Reading a value would make an accelerator wait and break a compiled graph: there
        # a clip that is too short has no frames.
        reads = not torch.compiler.is_compiling()
        if n_valid is not None and n_valid.device.type == "cpu" and reads:
            shortest = min(shortest, int(n_valid.min()))
        if shortest < self.config.window:
            raise ShapeError(
                f"The shortest clip has {shortest} samples, at least {self.config.window} (one "
                "window) are needed. Pad it with zeros."
            )

    def _without_offset(self, samples: Tensor, n_valid: Tensor | None) -> Tensor:
        # The mean over the valid samples only, or a clip would change with its neighbours.
        if n_valid is None:
            return samples - samples.double().mean(1, keepdim=True).float()
        valid = zero_padding(samples, n_valid)
        mean = valid.double().sum(1, keepdim=True) / n_valid.unsqueeze(1)
        return zero_padding(valid - mean.float(), n_valid)

    def _log_mel(self, samples: Tensor) -> Tensor:
        windows = samples.unfold(1, self.config.window, self.config.hop)
        windows = windows - windows.mean(dim=2, keepdim=True)  # Kaldi's remove_dc_offset
        # Pre-emphasis within the window; Kaldi takes the first sample as its own past.
        past = F.pad(windows, (1, 0), mode="replicate")[..., :-1]
        tapered = (windows - PREEMPHASIS * past) * self.taper
        power = torch.view_as_real(torch.fft.rfft(tapered, n=self.n_fft)).square().sum(-1)
        energies = power[..., :-1] @ self.filters.T
        log_mel: Tensor = energies.clamp(min=LOG_FLOOR).log()
        return log_mel


def without_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """A context in which operations keep their precision, on any device."""
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


def kaldi_mel_filters(config: FrontendConfig, n_fft: int) -> npt.NDArray[np.float32]:
    """Triangular filters, shape [mel, n_fft / 2], as Kaldi's ``MelBanks``.

    Equally spaced on Kaldi's mel scale, triangles in mel, not in Hz; the bin
    at half the sample rate is left out.
    """
    low, high = hz_to_mel([config.low_hz, config.sample_rate_hz / 2], "kaldi")
    edges = low + np.arange(config.n_mels + 2) * (high - low) / (config.n_mels + 1)
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    bins = hz_to_mel(np.arange(n_fft // 2) * config.sample_rate_hz / n_fft, "kaldi")
    rising, falling = (bins - left) / (centre - left), (right - bins) / (right - centre)
    filters: npt.NDArray[np.float32] = np.maximum(0.0, np.minimum(rising, falling)).astype(
        np.float32
    )
    return filters
