"""GE2E tells speakers apart."""

import numpy as np
import numpy.typing as npt
import pytest
import torch

from tests.core.encoders.sample_clips import clip, pretrained, rows, vectors
from usad_workbench.core.encoders.networks.ge2e import Ge2eEncoder, raise_volume, window_starts


def verification(
    of: npt.NDArray[np.float32], speakers: npt.NDArray[np.str_]
) -> tuple[float, float]:
    """Mean cosine within minus between speakers, and the equal error rate of all pairs."""
    first, second = np.triu_indices(len(of), 1)
    cosines = np.sum(of[first] * of[second], axis=1)
    same = speakers[first] == speakers[second]
    thresholds = np.quantile(cosines, np.linspace(0, 1, 1001))
    misses = np.array([np.mean(cosines[same] < t) for t in thresholds])
    alarms = np.array([np.mean(cosines[~same] >= t) for t in thresholds])
    at = int(np.argmin(np.abs(misses - alarms)))
    margin = float(cosines[same].mean() - cosines[~same].mean())
    return margin, float(misses[at] + alarms[at]) / 2


@pytest.mark.weights
def test_clips_of_one_voice_are_nearer_than_clips_of_two() -> None:
    """Measured: margin .234, equal error rate .101 (176 clips, 7 voices, two languages of one)."""
    encoder = pretrained("ge2e")
    longer = [row for row in rows(voice="*") if clip(row, 16_000).duration_s > 1.0]
    speakers = np.array([row["voice"] for row in longer])
    assert len(set(speakers)) == 7
    margin, equal_error_rate = verification(vectors(encoder, longer, -1, "native"), speakers)
    assert margin > 0.2
    assert equal_error_rate < 0.13


@pytest.mark.weights
def test_speaker_vectors_have_unit_length_and_no_negative_part() -> None:
    encoder = pretrained("ge2e")
    (vector,) = encoder.embed(clip(rows(voice="june")[0], 16_000), layers=0, pooling="native")
    assert vector.min() >= 0
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


@pytest.mark.weights
def test_windows_of_a_long_clip_are_averaged() -> None:
    """The vector of a clip of two windows, against the two windows by hand."""
    encoder = pretrained("ge2e")
    assert isinstance(encoder, Ge2eEncoder)
    torch.manual_seed(0)
    samples = 0.1 * torch.randn(1, 16_000 * 237 // 100)
    assert window_starts(samples.shape[1]) == [0, 77]
    mel = encoder.net.mel(samples)
    by_hand = [
        encoder.net.speaker_vectors(mel[:, s : s + 160], torch.tensor([160])) for s in (0, 77)
    ]
    expected = torch.nn.functional.normalize(torch.cat(by_hand).mean(dim=0), dim=0)
    found = encoder._native(samples, [samples.shape[1]])[0]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_only_quiet_clips_are_raised() -> None:
    clips = torch.stack([torch.full((8,), value) for value in (0.0, 0.001, 0.5)])
    raised = raise_volume(clips, torch.tensor([8, 8, 8]))
    levels_db = 20 * raised.square().mean(dim=1).sqrt().log10()
    assert levels_db[0] == -torch.inf
    assert levels_db[1].item() == pytest.approx(-30, abs=1e-3)
    assert torch.equal(raised[2], clips[2])
