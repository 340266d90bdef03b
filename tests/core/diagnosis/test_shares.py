"""The panels attribution, variance and partial on a student that copies in one domain."""

import math

import pytest

from usad_workbench.core.diagnosis.data import DiagnosisConfig, DiagnosisData, load_diagnosis_data
from usad_workbench.core.diagnosis.panel import cell_name
from usad_workbench.core.diagnosis.panels import attribution, partial, variance
from usad_workbench.core.progress import no_progress

KINDS = {kind.name: kind for kind in (attribution.PANEL, variance.PANEL, partial.PANEL)}


@pytest.fixture
def panels(copied):
    data = load_diagnosis_data(copied, "s", config=DiagnosisConfig(layers=(2,), n_permutations=19))
    return {name: kind.compute(data, no_progress) for name, kind in KINDS.items()}


def row_of(panel, **wanted):
    (row,) = [row for row in panel.documents() if all(row[k] == v for k, v in wanted.items())]
    return row


def test_the_copied_domain_stands_out(panels):
    shares = {d: row_of(panels["attribution"], domain=d) for d in ("speech", "music")}
    assert shares["speech"]["shares"]["a"] > 0.8
    assert shares["speech"]["p_value"]["a"] == pytest.approx(0.05)
    assert shares["music"]["shares"]["a"] < 0.2
    parts = {d: row_of(panels["variance"], domain=d) for d in ("speech", "music")}
    assert parts["speech"]["unique_ci_low"]["a"] > 0.2
    assert parts["music"]["unique_ci_low"]["a"] < 0
    assert parts["speech"]["retention"]["a"] > 0.5 > parts["music"]["retention"]["a"]
    for row in parts.values():
        whole = sum(row["unique"].values()) + row["shared"] + row["residual"]
        assert whole == pytest.approx(1, abs=1e-9)
    near = row_of(panels["partial"], domain="speech", teacher="a")
    assert near["given"] == ("b",)
    assert near["ci_low"] > 0.5 > row_of(panels["partial"], domain="music", teacher="a")["ci_high"]


def test_rows_have_the_columns_and_cells_the_clips(panels):
    for panel in panels.values():
        assert {key for row in panel.documents() for key in row} <= set(panel.columns)
        assert all(row["n_clips"] == 80 and row["n_clusters"] == 10 for row in panel.documents())
    for name in ("attribution", "variance"):
        drivers = {one.cell: one for one in panels[name].influential}
        clips = drivers[cell_name(domain="speech", layer=2, teacher="a")]
        assert len(clips.clip_ids) == 80
        assert clips.influence[0] == max(clips.influence)


def test_a_domain_of_one_cluster_has_a_reason(copied, monkeypatch):
    data = load_diagnosis_data(copied, "s", config=DiagnosisConfig(layers=(2,)))
    monkeypatch.setattr(DiagnosisData, "clusters", lambda _, rows: ["one"] * len(rows))
    for kind in KINDS.values():
        rows = kind.compute(data, no_progress).documents()
        assert len(rows) >= 3
        for row in rows:
            assert "cluster" in row["reason"]
            assert math.isnan(row.get("value", row.get("total", row.get("novel"))))
