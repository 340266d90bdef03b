"""Changed clips through real encoders, stored once; the panel made of them."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from usad_workbench.core.diagnosis import intervention_runs as measuring
from usad_workbench.core.diagnosis.clip_factors import loudness_db
from usad_workbench.core.diagnosis.data import load_diagnosis_data
from usad_workbench.core.diagnosis.intervention_runs import draw_sample, measure_interventions
from usad_workbench.core.diagnosis.panels.interventions import PANEL
from usad_workbench.core.embedding import embed
from usad_workbench.core.encoders.registry import load_encoder
from usad_workbench.core.interventions import INTERVENTIONS
from usad_workbench.core.models.spec import Precision
from usad_workbench.core.progress import no_progress
from usad_workbench.core.storage.importing import SourceClip, import_clips
from usad_workbench.core.storage.workspace import Workspace

RATE_HZ, N_CLIPS = 16_000, 24
NAMES = ("usad-demo", "log-mel-statistics")
KEYS = [(one.name, one.strength) for one in INTERVENTIONS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 loud noisy tones of 12 clusters and 3 labels, embedded by two encoders."""
    root = tmp_path_factory.mktemp("interventions")
    rng = np.random.default_rng(0)
    sources = []
    for i in range(N_CLIPS):
        t = np.arange(RATE_HZ // 2) / RATE_HZ
        x = 0.3 * np.sin(2 * np.pi * (300 + 200 * (i % 3) + 5 * i) * t)
        x = x + 0.05 * rng.normal(size=len(t))
        path = root / f"{i:02d}.wav"
        soundfile.write(path, x.astype(np.float32), RATE_HZ, subtype="FLOAT")
        fields = {"domain": "sound", "cluster_id": f"c{i % 12}", "label": f"l{i % 3}"}
        sources.append(SourceClip(path=path, fields=fields))
    workspace = Workspace.create(root / "workspace")
    import_clips(workspace, sources)
    for name in NAMES:
        embed(workspace, load_encoder(name))
    return workspace.folder


def test_three_clips_end_to_end_and_from_the_cache(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = load_diagnosis_data(Workspace.open(folder), "usad-demo")
    seen: list[int] = []
    found = measure_interventions(
        data, lambda done, total, what: seen.append(total), clips_per_domain=3, n_processes=1
    )
    assert found.warnings == [] and seen == [2, 2]
    assert set(found.distances) == {("log-mel-statistics", 0)} | {
        ("usad-demo", layer) for layer in range(9)
    }
    assert all(np.isfinite(matrix).all() for matrix in found.distances.values())
    # A log-mel statistic is a mean and a deviation for each of 80 bands: gain moves every
    # mean by the same, so +12 dB moves twice as far as +6 dB, whatever the clip.
    levels = found.distances["log-mel-statistics", 0]
    twelve, six = (levels[KEYS.index(("gain", value))] for value in (12.0, 6.0))
    np.testing.assert_allclose(twelve, 2 * six, rtol=1e-3)
    np.testing.assert_allclose(twelve, twelve[0], rtol=1e-3)
    # Nothing is loaded a second time.
    monkeypatch.setattr(measuring, "load_encoder", lambda name, **_: pytest.fail(f"loaded {name}"))
    again = measure_interventions(data, no_progress, clips_per_domain=3, n_processes=1)
    for key, matrix in found.distances.items():
        np.testing.assert_array_equal(matrix, again.distances[key])


def test_a_killed_run_goes_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = load_diagnosis_data(Workspace.open(folder), "usad-demo")
    whole = measure_interventions(data, no_progress, clips_per_domain=4, n_processes=1)
    with data.workspace.database.write() as connection:
        connection.execute("DELETE FROM interventions WHERE clip_id = ?", [whole.clips.clip_id[1]])
    loaded: list[str] = []

    def load(name: str, precision: Precision) -> object:
        loaded.append(name)
        return load_encoder(name, precision=precision)

    monkeypatch.setattr(measuring, "load_encoder", load)
    again = measure_interventions(data, no_progress, clips_per_domain=4, n_processes=1)
    assert sorted(loaded) == sorted(NAMES)
    for key, matrix in whole.distances.items():
        np.testing.assert_allclose(again.distances[key], matrix, rtol=1e-3, atol=1e-5)


def test_other_audio_is_named_and_not_measured(folder: Path) -> None:
    """And what could not be measured is asked for again when its audio is back."""
    workspace = Workspace.open(folder)
    data = load_diagnosis_data(workspace, "usad-demo")
    with workspace.database.write() as connection:
        connection.execute("DELETE FROM interventions")
    sample = draw_sample(data, 3)
    other, gone, left = (workspace.audio_path(str(path)) for path in sample.path)
    held = {file: file.read_bytes() for file in (other, gone)}
    try:
        soundfile.write(other, np.sin(np.arange(RATE_HZ // 2)), RATE_HZ, subtype="FLOAT")
        gone.unlink()
        found = measure_interventions(data, no_progress, clips_per_domain=3, n_processes=1)
        levels = loudness_db(data)
    finally:
        for file, content in held.items():
            file.write_bytes(content)
    changed, missing = found.warnings
    assert sample.clip_id[0] in changed and str(other) in changed
    assert "has changed since it was imported" in changed
    assert missing == "interventions: 1 of 3 sampled clips have no audio"
    for matrix in found.distances.values():
        assert np.isnan(matrix[:, :2]).all() and np.isfinite(matrix[:, 2]).all(), left
    assert set(data.clips.clip_id[levels.isna()]) == set(sample.clip_id[:2])
    assert loudness_db(data).notna().all()


def test_the_sample_has_as_many_clusters_as_it_can(folder: Path) -> None:
    data = load_diagnosis_data(Workspace.open(folder), "usad-demo")
    sample = draw_sample(data, 12)
    assert sample.cluster_id.nunique() == 12
    assert draw_sample(data, 12).clip_id.tolist() == sample.clip_id.tolist()


def test_panel_says_what_was_measured_and_what_was_not(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = measure_interventions
    monkeypatch.setattr(
        "usad_workbench.core.diagnosis.panels.interventions.measure_interventions",
        lambda data, progress: real(data, progress, clips_per_domain=8, n_processes=1),
    )
    known = load_encoder

    def load(name: str, precision: Precision) -> object:
        here = "mfcc-statistics" if name == "log-mel-statistics" else name
        encoder = known(here, precision=precision)
        return encoder

    monkeypatch.setattr(measuring, "load_encoder", load)
    workspace = Workspace.open(folder)
    with workspace.database.write() as connection:
        connection.execute("DELETE FROM interventions")
    panel = PANEL.compute(load_diagnosis_data(workspace, "usad-demo"), no_progress)
    assert {key for row in panel.documents() for key in row} <= set(panel.columns)
    mine = [row for row in panel.documents() if row["encoder"] == "usad-demo"]
    assert len(mine) == 9 * len(INTERVENTIONS)
    for row in mine:
        assert row["n_clips"] == row["n_clusters"] == 8 and row["reason"] == ""
        assert row["ci_low"] <= row["displacement"] <= row["ci_high"]
    # Louder noise moves further.
    noise = [
        row["displacement"]
        for row in mine
        if row["layer"] == 8 and row["intervention"] == "white-noise"
    ]
    assert noise == sorted(noise)
    # The weights of the other encoder are not those of its stored vectors.
    other = [row for row in panel.documents() if row["encoder"] == "log-mel-statistics"]
    assert {row["reason"] for row in other} == {"not measured: no audio or no encoder"}
    assert any("weights are not those" in one for one in panel.warnings)
    assert len(panel.influential) == len(mine)
