"""Mel scales: the three readings of "mel" that the encoders and the spectrograms need.

Their digits are part of the encoders: ``htk`` and ``kaldi`` mean one curve with constants that
differ in the seventh digit, and each is kept as its network was trained with it.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
MelScale = Literal["htk", "slaney", "kaldi"]

_BREAK_HZ = 700.0
_SLANEY_HZ_PER_MEL = 200.0 / 3
_SLANEY_LOG_FROM_HZ = 1000.0
_SLANEY_LOG_FROM_MEL = _SLANEY_LOG_FROM_HZ / _SLANEY_HZ_PER_MEL
_SLANEY_LOG_STEP = float(np.log(6.4) / 27)


def hz_to_mel(hz: npt.ArrayLike, scale: MelScale = "htk") -> Values:
    """Frequencies in mel.

    Args:
        hz: Frequencies in Hz, of any shape.
        scale: ``htk``: 2595 log10(1 + f / 700). ``kaldi``: 1127 ln(1 + f / 700). ``slaney``: linear
            below 1 kHz, logarithmic above (Auditory Toolbox, librosa's default).

    >>> hz_to_mel([0.0, 1000.0], "slaney").round(9).tolist()
    [0.0, 15.0]
    """
    return _SCALES[scale][0](np.asarray(hz, dtype=np.float64))


def mel_to_hz(mel: npt.ArrayLike, scale: MelScale = "htk") -> Values:
    """Frequencies in Hz, the inverse of ``hz_to_mel``.

    >>> mel_to_hz(hz_to_mel([100.0, 5000.0], "kaldi"), "kaldi").round(6).tolist()
    [100.0, 5000.0]
    """
    return _SCALES[scale][1](np.asarray(mel, dtype=np.float64))


def _slaney_mel(hz: Values) -> Values:
    above = np.log(np.maximum(hz, 1.0) / _SLANEY_LOG_FROM_HZ) / _SLANEY_LOG_STEP
    return np.where(
        hz >= _SLANEY_LOG_FROM_HZ, _SLANEY_LOG_FROM_MEL + above, hz / _SLANEY_HZ_PER_MEL
    )


def _slaney_hz(mel: Values) -> Values:
    above = _SLANEY_LOG_FROM_HZ * np.exp(_SLANEY_LOG_STEP * (mel - _SLANEY_LOG_FROM_MEL))
    return np.where(mel >= _SLANEY_LOG_FROM_MEL, above, mel * _SLANEY_HZ_PER_MEL)


_SCALES: dict[MelScale, tuple[Callable[[Values], Values], Callable[[Values], Values]]] = {
    "htk": (
        lambda hz: 2595.0 * np.log10(1.0 + hz / _BREAK_HZ),
        lambda mel: _BREAK_HZ * (10.0 ** (mel / 2595.0) - 1.0),
    ),
    "kaldi": (
        lambda hz: 1127.0 * np.log1p(hz / _BREAK_HZ),
        lambda mel: _BREAK_HZ * np.expm1(mel / 1127.0),
    ),
    "slaney": (_slaney_mel, _slaney_hz),
}
"""Hz to mel and back."""
