"""Every sound that a workspace takes can be drawn and heard."""

import numpy as np
import pytest

from usad_workbench.core.clips import Clip
from usad_workbench.workbench.presenters import sound


@pytest.mark.parametrize(
    ("rate_hz", "n_samples"),
    [
        (1, 9),
        (8, 400),
        (60, 60),
        (100, 1),
        (8000, 1),
        (16000, 2),
        (48000, 17),
        (768_000, 100_000),
        (10_000_000, 50_000),
        (16000, 16000 * 600),
    ],
)
def test_odd_rates_and_lengths_are_drawn(rate_hz: int, n_samples: int) -> None:
    samples = np.sin(np.arange(n_samples) * 0.7 + 1).astype(np.float32) / 2
    clip = Clip(samples=samples, sample_rate_hz=rate_hz)
    picture = sound.spectrogram(clip)
    assert picture.shape[0] == sound.N_BANDS and 1 <= picture.shape[1] <= sound.MAX_COLUMNS + 2
    assert np.isfinite(picture).all() and picture.max() == 0.0
    figure = sound.spectrogram_figure(clip)
    assert len(figure.layout.yaxis.ticktext) >= 1
    assert sound.thumbnail(clip)[:4] == b"\x89PNG"
    assert sound.wav_bytes(clip)[:4] == b"RIFF"


def test_a_tone_of_a_slow_sound_is_where_it_is() -> None:
    rate_hz, tone_hz = 8, 2.0
    samples = np.sin(2 * np.pi * tone_hz * np.arange(400) / rate_hz).astype(np.float32)
    picture = sound.spectrogram(Clip(samples=samples, sample_rate_hz=rate_hz))
    loudest = sound.band_centres_hz(rate_hz)[picture.mean(axis=1).argmax()]
    assert abs(loudest - tone_hz) < 0.5
