"""Kaldi's filter banks for code of the hub that takes them from torchaudio.

The published students' code calls ``torchaudio.compliance.kaldi.fbank`` (MIT-SLS/USAD). The
torchaudio of the package index is built for one version of torch with CUDA; beside another it
makes every import of transformers fail. So where it is not installed, such code finds a module with
this one function while it is loaded, computed by our own front end.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

import torch
from torch import Tensor

from usad_workbench.core.errors import ConfigError
from usad_workbench.core.models.frontend import FrontendConfig, LogMel

_NAMES = ("torchaudio", "torchaudio.compliance", "torchaudio.compliance.kaldi")
_FIXED = {
    "dither": 0.0,
    "high_freq": 0.0,
    "min_duration": 0.0,
    "preemphasis_coefficient": 0.97,
    "remove_dc_offset": True,
    "round_to_power_of_two": True,
    "snip_edges": True,
    "subtract_mean": False,
    "use_energy": False,
    "use_log_fbank": True,
    "use_power": True,
    "vtln_warp": 1.0,
    "window_type": "hanning",
}
"""What our front end does, and no other values of."""
_WITHOUT_EFFECT = (
    "htk_compat",
    "energy_floor",
    "raw_energy",
    "blackman_coeff",
    "vtln_low",
    "vtln_high",
)
"""Where there is no energy, no Blackman window and no warping."""


@contextmanager
def torchaudio_stand_in() -> Iterator[None]:
    """Within the block code that imports torchaudio finds the stand-in, or the real one if installed."""
    from transformers.utils.import_utils import is_torchaudio_available

    # Asked now, so that transformers remembers the truth and not the stand-in.
    if is_torchaudio_available() or find_spec("torchaudio") is not None:
        yield
        return
    modules = {name: ModuleType(name, __doc__) for name in _NAMES}
    for name, module in modules.items():
        module.__spec__ = ModuleSpec(name, None, is_package=True)
        module.__path__ = []
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(modules[parent], child, module)
    modules[_NAMES[-1]].fbank = fbank  # type: ignore[attr-defined]
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in _NAMES:
            sys.modules.pop(name, None)


def fbank(
    waveform: Tensor,
    *,
    sample_frequency: float = 16_000.0,
    num_mel_bins: int = 23,
    frame_length: float = 25.0,
    frame_shift: float = 10.0,
    low_freq: float = 20.0,
    channel: int = -1,
    window_type: str = "povey",
    **options: object,
) -> Tensor:
    """The log-mel bands that torchaudio's function of this name gives, [frame, mel].

    Args:
        waveform: [channel, sample].
        sample_frequency: Hz.
        num_mel_bins: Bands.
        frame_length: Of a window, ms.
        frame_shift: Between windows, ms.
        low_freq: Lower end of the first band, Hz.
        channel: Which is read; negative for the first.
        window_type: Only "hanning" is computed; torchaudio's own default is another.
        options: Further ones of torchaudio's function, as far as they have the values of ours.

    Raises:
        ConfigError: an option that our front end does not have.
    """
    options["window_type"] = window_type
    if "dither" not in options:
        options["dither"] = 0.0
    for name, value in options.items():
        if name not in _WITHOUT_EFFECT and _FIXED.get(name, ...) != value:
            raise ConfigError(
                f"The model's code calls torchaudio's fbank with {name} = {value!r}, which is not "
                "computed without torchaudio. Install the torchaudio that belongs to your torch "
                "(see PyTorch's installation page)."
            )
    log_mel = _log_mel(sample_frequency, num_mel_bins, frame_length, frame_shift, low_freq)
    samples = waveform[max(channel, 0)].unsqueeze(0)
    bands: Tensor = log_mel.to(waveform.device)(samples)[0][0]
    return bands.to(waveform.dtype)


@cache
def _log_mel(rate_hz: float, n_mels: int, window_ms: float, hop_ms: float, low_hz: float) -> LogMel:
    config = FrontendConfig(
        sample_rate_hz=round(rate_hz),
        window=round(rate_hz * window_ms / 1000),
        hop=round(rate_hz * hop_ms / 1000),
        n_mels=n_mels,
        low_hz=low_hz,
        mean=0.0,
        std=0.5,  # divided by twice this: the bands as they are
    )
    with torch.device("cpu"):
        return LogMel(config)
