"""Mel scales against librosa, there and back."""

import librosa
import numpy as np
import pytest

from usad_workbench.core.audio.mel_scale import MelScale, hz_to_mel, mel_to_hz

HZ = np.array([0.0, 20.0, 440.0, 999.9, 1000.0, 4000.0, 11025.0, 24000.0])


@pytest.mark.parametrize(("scale", "htk"), [("slaney", False), ("htk", True)])
def test_librosa_agrees(scale: MelScale, htk: bool) -> None:
    mel = hz_to_mel(HZ, scale)
    np.testing.assert_allclose(mel, librosa.hz_to_mel(HZ, htk=htk), rtol=1e-12)
    np.testing.assert_allclose(mel_to_hz(mel, scale), librosa.mel_to_hz(mel, htk=htk), rtol=1e-12)


@pytest.mark.parametrize("scale", ["htk", "kaldi", "slaney"])
def test_there_and_back(scale: MelScale) -> None:
    np.testing.assert_allclose(mel_to_hz(hz_to_mel(HZ, scale), scale), HZ, rtol=1e-12, atol=1e-9)


def test_kaldi_and_htk_are_one_curve_to_six_digits_and_no_more() -> None:
    htk, kaldi = hz_to_mel(HZ[1:]), hz_to_mel(HZ[1:], "kaldi")
    np.testing.assert_allclose(htk, kaldi, rtol=1e-5)
    assert not np.array_equal(htk, kaldi)
