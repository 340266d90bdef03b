"""CREPE reads the pitch of real notes."""

import numpy as np
import pytest
import torch

from tests.core.encoders.sample_clips import clip, pretrained, rows
from usad_workbench.core.encoders.networks.crepe import CrepeEncoder

pytestmark = pytest.mark.weights

NOT_ONE_PITCH = {"drawbar-organ"}
"""Its lowest pipes sound below the note that is played."""


def cents_error(encoder: CrepeEncoder, row: dict[str, str]) -> float:
    """Median over the held part of a note, against its MIDI number in equal temperament."""
    samples = torch.from_numpy(clip(row, 16_000).samples)[None]
    hz, _ = encoder.track(samples)
    held = hz[0, 5:45].numpy()  # 0.1 s to 0.9 s
    played = 440.0 * 2.0 ** ((int(row["pitch"]) - 69) / 12)
    return float(np.median(1200 * np.log2(held / played)))


def test_notes_of_fifteen_instruments_have_the_pitch_that_was_played() -> None:
    encoder = pretrained("crepe-tiny")
    assert isinstance(encoder, CrepeEncoder)
    notes = [row for row in rows(instrument="*") if row["instrument"] not in NOT_ONE_PITCH]
    errors: dict[str, list[float]] = {}
    for row in notes[::3]:
        errors.setdefault(row["instrument"], []).append(abs(cents_error(encoder, row)))
    assert len(errors) == 15
    for instrument, of_notes in errors.items():
        assert np.median(of_notes) < 25, instrument
    # Measured on all 180 notes: 98 % within 50 cents, medians of 1.4 to 7 cents.
    everything = np.concatenate(list(errors.values()))
    assert np.mean(everything < 50) > 0.9


def test_silence_has_a_lower_pitch_probability_than_a_note() -> None:
    encoder = pretrained("crepe-tiny")
    assert isinstance(encoder, CrepeEncoder)
    note = torch.from_numpy(clip(rows(instrument="flute")[0], 16_000).samples)[None]
    _, of_note = encoder.track(note)
    _, of_silence = encoder.track(torch.zeros(1, 16_000))
    assert of_note[0, 5:45].median() > 0.5 > of_silence.max()
