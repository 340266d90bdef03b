"""No sound is in the sample data twice, and near copies are in one cluster."""

import csv

import numpy as np
import pytest
import soundfile
from scipy import fft

from usad_workbench.sample_data import sample_data_folder
from usad_workbench.sample_data.copies import SAME_RECORDINGS, with_second_names

MIN_CORRELATION, MIN_FLATTENED = 0.7, 0.35
"""Above both are near copies; ``sample_data.copies`` says what lies below."""
N_BANDS = 48
MAX_BAND_DISTANCE_DB = 3.0
"""Pairs whose levels by band differ by more (RMS over bands) are not compared: it saves 99 of 100 comparisons. The
copies that were found differ by 0.6 to 1.3 dB, but for one with a snare added (16 dB), which only a comparison of all
pairs finds."""


def read(name: str) -> list[dict[str, str]]:
    with (sample_data_folder() / name).open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def samples_of(row: dict[str, str]) -> np.ndarray:
    samples, _ = soundfile.read(sample_data_folder() / row["path"], dtype="float32")
    return samples - samples.mean()


def band_levels_db(samples: np.ndarray) -> np.ndarray:
    power = np.abs(fft.rfft(samples, 1 << 16)) ** 2
    bands = np.array([part.sum() for part in np.array_split(power, N_BANDS)])
    return 10 * np.log10(bands / bands.sum() + 1e-6)


def flattened(spectrum: np.ndarray) -> np.ndarray:
    power = np.convolve(np.abs(spectrum) ** 2, np.full(201, 1 / 201), "same")
    return spectrum / np.sqrt(power + 1e-12 * power.max())


def peak(one: np.ndarray, other: np.ndarray) -> float:
    """Highest absolute cross-correlation of two signals given by their spectra, 1 for copies."""
    energies = [np.square(fft.irfft(spectrum)).sum() for spectrum in (one, other)]
    return float(np.abs(fft.irfft(one.conj() * other)).max() / np.sqrt(np.prod(energies)))


def is_near_copy(one: np.ndarray, other: np.ndarray) -> bool:
    n = fft.next_fast_len(len(one) + len(other), real=True)
    spectra = fft.rfft(one, n), fft.rfft(other, n)
    if peak(*spectra) < MIN_CORRELATION:
        return False
    return peak(*(flattened(spectrum) for spectrum in spectra)) >= MIN_FLATTENED


def test_no_file_is_there_twice() -> None:
    hashes = [row["sha256"] for row in read("checksums.csv")]
    assert len(set(hashes)) == len(hashes)


@pytest.mark.parametrize("domain", ["speech", "sound", "music", "effects"])
def test_near_copies_are_in_one_cluster(domain: str) -> None:
    rows = [row for row in read("manifest.csv") if row["domain"] == domain]
    sounds = [samples_of(row) for row in rows]
    levels = np.array([band_levels_db(sound) for sound in sounds])
    found = []
    for place, row in enumerate(rows):
        distances = np.sqrt(np.square(levels[place + 1 :] - levels[place]).mean(axis=1))
        for other in place + 1 + np.flatnonzero(distances < MAX_BAND_DISTANCE_DB):
            if rows[other]["cluster_id"] != row["cluster_id"] and is_near_copy(
                sounds[place], sounds[other]
            ):
                found.append((row["clip_id"], rows[other]["clip_id"]))
    assert found == []


def test_the_walk_on_gravel_would_be_found_beside_that_on_rock() -> None:
    rows = {row["clip_id"]: row for row in read("manifest.csv")}
    gravel, rock = (
        samples_of(rows[f"sound_0ad_footstep_{name}_walking"]) for name in ("gravel", "rock")
    )
    other = samples_of(rows["sound_0ad_footstep_gravel_running"])
    assert np.sqrt(np.square(band_levels_db(gravel) - band_levels_db(rock)).mean()) < 1.0
    assert is_near_copy(gravel, rock)
    assert not is_near_copy(gravel, other)


def test_a_recording_under_two_names_tells_no_material() -> None:
    rows = {row["clip_id"]: row for row in read("manifest.csv")}
    for name in ("fs_gravel1", "footstep_gravel_walking", "footstep_rock_walking"):
        assert rows[f"sound_0ad_{name}"]["material"] == ""
    assert rows["sound_0ad_footstep_rock_running"]["material"] == "stone"


def test_the_corpus_has_no_second_name_of_a_sample_family() -> None:
    used = with_second_names(row["cluster_id"] for row in read("manifest.csv"))
    assert set(SAME_RECORDINGS) <= used
    assert not used & {
        row["cluster_id"] for row in read("corpus_manifest.csv") if row["domain"] != "speech"
    }
