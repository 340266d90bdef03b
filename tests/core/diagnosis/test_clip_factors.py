"""Which columns of a user's clips are asked as factors, and what is said of the others."""

import numpy as np
import pytest

from tests.planted import add_clips, add_encoder
from usad_workbench.core.diagnosis.clip_factors import clip_factors, left_out_columns
from usad_workbench.core.diagnosis.data import DiagnosisConfig, DiagnosisData, load_diagnosis_data
from usad_workbench.core.diagnosis.panels import nuisance
from usad_workbench.core.progress import no_progress
from usad_workbench.core.storage.workspace import Workspace

N, N_SPEAKERS = 96, 32


@pytest.fixture
def data(tmp_path) -> DiagnosisData:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(0)
    workspace = Workspace.create(tmp_path / "w")
    speaker = np.arange(N) % N_SPEAKERS
    snr = rng.normal(size=N) * 5 + 20
    age = rng.integers(20, 80, size=N_SPEAKERS).astype(float) + np.arange(N_SPEAKERS) / 100
    columns = {
        "domain": ["speech"] * N,
        "cluster_id": [f"s{i}" for i in speaker],
        "label": [f"w{i % 3}" for i in rng.permutation(N)],
        "snr_db": [f"{level:.3f}" for level in snr],
        "age": [str(age[i]) for i in speaker],
        "room": [f"r{i % 4}" for i in speaker],
        "distance_m": [str(1 + i % 2) for i in speaker],
        "remark": [f"take {i}" for i in range(N)],
        "speaker": [f"name {i}" for i in speaker],
        "site": ["lab"] * N,
        "loudness_db": [str(level) for level in rng.normal(size=N)],
    }
    add_clips(workspace, columns)
    x = rng.normal(size=(N, 6))
    x[:, 0] += snr / 2
    for name, role in (("s", "student"), ("t", "teacher")):
        add_encoder(workspace, name, role, None, [rng.normal(size=(N, 6)), x])  # type: ignore[arg-type]
    config = DiagnosisConfig(layers=(1,), n_permutations=39)
    return load_diagnosis_data(workspace, "s", teachers=["t"], config=config)


def test_every_column_of_numbers_is_a_factor(data: DiagnosisData) -> None:
    factors = {f.name: f.factor for f in clip_factors(data, "speech", data.rows("speech"))}
    is_continuous = {name: f.is_continuous for name, f in factors.items() if f is not None}
    assert is_continuous == {
        "room": False,
        "distance_m": False,
        "snr_db": True,
        "age": True,
        "loudness_db": True,
    }


def test_what_is_no_factor_is_named_with_the_reason(data: DiagnosisData) -> None:
    (words,) = left_out_columns(data, ["speech"])
    assert "remark in speech (more than 20 levels, which are no numbers)" in words
    assert "speaker in speech (it parts the clips as cluster_id does)" in words
    assert "snr_db" not in words and "site" not in words and "label" not in words


def test_a_planted_number_is_read_from_the_vectors(data: DiagnosisData) -> None:
    panel = nuisance.compute(data, no_progress)
    rows = {(r["factor"], r["encoder"], r["layer"]): r for r in panel.documents()}
    planted = rows["snr_db", "s", 1]
    assert planted["metric"] == "r2" and planted["accuracy"] > 0.5 and planted["p_value"] < 0.05
    assert rows["loudness_db", "s", 1]["accuracy"] < 0.2
    assert panel.warnings == left_out_columns(data, ["speech"])
