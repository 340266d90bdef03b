"""Mel spectrograms against librosa, which the teachers were trained with."""

from typing import Any

import librosa
import numpy as np
import pytest
import scipy.fft
import torch

from usad_workbench.core.clips import Clip, ClipBatch
from usad_workbench.core.encoders.hub import muq
from usad_workbench.core.encoders.networks import aisfx, atst, ge2e, musicnn, statistics, whisper
from usad_workbench.core.encoders.networks.mel import MelConfig, MelSpectrogram, mel_filters
from usad_workbench.core.encoders.registry import load_encoder

CONFIGS: dict[str, tuple[MelConfig, dict[str, Any]]] = {
    "whisper": (whisper._MEL, {}),
    "aisfx": (aisfx._MEL, {"norm": 1.0, "htk": True, "fmin": 0.0, "fmax": 22050.0}),
    "musicnn": (musicnn._MEL, {}),
    "ge2e": (ge2e._MEL, {}),
    "statistics": (statistics._MEL, {}),
    "atst": (atst._MEL, {"htk": True, "norm": None, "fmin": 60.0, "fmax": 7800.0}),
    "muq": (muq._MEL, {"htk": True, "norm": None}),
}


def noise(n_samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=0.1, size=n_samples).astype(np.float32)


@pytest.mark.parametrize("name", CONFIGS)
def test_filters_and_spectrogram_equal_librosa(name: str) -> None:
    config, options = CONFIGS[name]
    shape = {"sr": config.sample_rate_hz, "n_fft": config.n_fft, "n_mels": config.n_mels}
    filters = librosa.filters.mel(**shape, **options)
    np.testing.assert_allclose(mel_filters(config), filters, atol=1e-6 * filters.max())
    samples = noise(config.sample_rate_hz + 123)
    expected = librosa.feature.melspectrogram(
        y=samples, hop_length=config.hop, pad_mode=config.edge, **shape, **options
    ).T
    found = MelSpectrogram(config)(torch.from_numpy(samples)[None])[0].numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6 * expected.max())


@pytest.mark.parametrize("edge", ["reflect", "constant"])
def test_a_padded_clip_has_the_frames_of_the_clip_alone(edge: Any) -> None:
    config = MelConfig(sample_rate_hz=16_000, n_fft=400, hop=160, n_mels=40, edge=edge)
    mel = MelSpectrogram(config)
    clips = [noise(3000, 1), noise(5001, 2)]
    batch = ClipBatch.from_clips([Clip(samples=c, sample_rate_hz=16_000) for c in clips])
    n_valid = torch.from_numpy(batch.n_valid)
    together = mel(torch.from_numpy(batch.samples), n_valid)
    for row, clip, n_frames in zip(together, clips, mel.n_frames(n_valid).tolist(), strict=True):
        alone = mel(torch.from_numpy(clip)[None])[0]
        assert n_frames == len(alone)
        torch.testing.assert_close(row[:n_frames], alone, rtol=1e-4, atol=1e-6)


def test_statistics_are_those_of_librosa_and_scipy() -> None:
    samples = noise(20_000)
    power = librosa.feature.melspectrogram(
        y=samples, sr=16_000, n_fft=400, hop_length=160, n_mels=80, pad_mode="constant"
    )
    log_mel = np.log(np.maximum(power, 1e-10))
    cepstrum = scipy.fft.dct(log_mel, axis=0, type=2, norm="ortho")[: statistics.N_MFCC]
    clip = Clip(samples=samples, sample_rate_hz=16_000)
    for name, frames in (("log-mel-statistics", log_mel), ("mfcc-statistics", cepstrum)):
        expected = np.concatenate([frames.mean(axis=1), frames.std(axis=1)])
        (found,) = load_encoder(name).embed(clip)
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
