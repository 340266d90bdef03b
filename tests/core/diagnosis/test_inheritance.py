"""The panels inheritance and disagreements on planted encoders."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from tests.planted import add_clips, add_encoder
from usad_workbench.core.diagnosis.controls import controls_for
from usad_workbench.core.diagnosis.data import DiagnosisConfig, load_diagnosis_data
from usad_workbench.core.diagnosis.panel import cell_name
from usad_workbench.core.diagnosis.panels import disagreements, inheritance
from usad_workbench.core.progress import no_progress
from usad_workbench.core.storage.distillation import set_distillation
from usad_workbench.core.storage.workspace import Workspace

DOMAINS, N, DIM = ("music", "speech"), 120, 16


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """All hear the same; in speech ``s`` also has what only its teacher ``a`` has."""
    rng = np.random.default_rng(0)
    workspace = Workspace.create(tmp_path_factory.mktemp("inheritance") / "w")
    n = N * len(DOMAINS)
    domains = [DOMAINS[i // N] for i in range(n)]
    ids = [f"{d}{i % 30}" for i, d in enumerate(domains)]
    add_clips(workspace, {"domain": domains, "cluster_id": ids})
    content = rng.normal(size=(n, 6))

    def encoder(own=None):
        own = rng.normal(size=(n, 6)) if own is None else own
        both = np.hstack([content, own]) @ np.linalg.qr(rng.normal(size=(DIM, DIM)))[0][:12]
        return [rng.normal(size=(n, DIM)), both + 0.3 * rng.normal(size=(n, DIM))]

    own = rng.normal(size=(n, 6))
    in_speech = (np.arange(n) >= N)[:, None]
    copied = np.where(in_speech, own, rng.normal(size=(n, 6)))
    add_encoder(workspace, "a", "teacher", "speech", encoder(own))
    add_encoder(workspace, "b", "teacher", "music", encoder())
    add_encoder(workspace, "s", "student", None, encoder(copied))
    for i in range(4):
        add_encoder(workspace, f"k{i}", "control", "speech", encoder())
    for i in range(3):
        add_encoder(workspace, f"twin{i}", "student", None, encoder())
    add_encoder(workspace, "own", "student", None, encoder(own))
    set_distillation(workspace, "s", [("a", "speech", 1), ("b", "music", 1)])
    set_distillation(workspace, "own", [("a", "speech", 1)])
    controls = [*(f"k{i}" for i in range(4)), *(f"twin{i}" for i in range(3)), "own"]
    config = DiagnosisConfig(layers=(1,))
    data = load_diagnosis_data(workspace, "s", controls=controls, config=config)
    return SimpleNamespace(data=data, panel=inheritance.PANEL.compute(data, no_progress))


def cells(panel, **wanted):
    return [row for row in panel.documents() if all(row[k] == v for k, v in wanted.items())]


def test_controls_are_those_that_could_stand_in_the_place(found):
    assert controls_for(found.data, "a", "teacher") == [f"k{i}" for i in range(4)]
    assert controls_for(found.data, "b", "teacher") == []
    students = [f"twin{i}" for i in range(3)]
    assert sorted(controls_for(found.data, "a", "student")) == students
    assert sorted(controls_for(found.data, "b", "student")) == ["own", *students]


def test_the_copied_teacher_is_found_in_its_domain_only(found):
    yes = {(r["teacher"], r["domain"]) for r in found.panel.documents() if r["inherited"] == "yes"}
    assert yes == {("a", "speech")}
    for row in cells(found.panel, teacher="a", domain="speech", form="controls for the teacher"):
        assert row["excess"] > 0.1
        assert row["q_value"] <= 0.05
        assert row["ci_low"] < row["excess"] < row["ci_high"]
        assert row["p_kind"] == "one case against 4 controls, t(3), one-sided"
        assert row["home_minus_others"] > 0.1
        assert row["home_minus_others_p_value"] < 0.05
        assert row["dim"] == row["control_dim"] == DIM
    for row in cells(found.panel, teacher="a", domain="music"):
        assert row["inherited"] == "no"
        assert math.isnan(row["home_minus_others"])


def test_a_pair_is_judged_by_simes_over_its_cells_and_holm_over_pairs(found):
    cells_of: dict[tuple[str, str], list[float]] = {}
    for row in found.panel.documents():
        if not math.isnan(row["p_value"]):
            cells_of.setdefault((row["teacher"], row["domain"]), []).append(row["p_value"])
    simes = {
        pair: min(len(p) * one / (place + 1) for place, one in enumerate(sorted(p)))
        for pair, p in cells_of.items()
    }
    adjusted, worst = {}, 0.0
    for left, (pair, value) in zip(
        range(len(simes), 0, -1), sorted(simes.items(), key=lambda item: item[1]), strict=True
    ):
        worst = max(worst, left * value)
        adjusted[pair] = min(1.0, worst)
    for row in found.panel.documents():
        pair = row["teacher"], row["domain"]
        if pair in adjusted and not math.isnan(row["p_value"]):
            assert row["pair_p_value"] == pytest.approx(adjusted[pair], rel=1e-12)
            assert row["inherited"] != "yes" or adjusted[pair] <= 0.05
    assert len(adjusted) > 2


def test_rows_have_the_columns_and_drivers_add_up_to_the_excess(found):
    assert all(list(row) == list(found.panel.columns) for row in found.panel.documents())
    behind = {one.cell: one for one in found.panel.influential}
    for row in found.panel.documents():
        names = ("teacher", "domain", "layer", "measure", "form")
        one = behind[cell_name(**{name: row[name] for name in names})]
        assert len(one.clip_ids) == N
        assert one.influence.mean() == pytest.approx(row["excess"], abs=1e-8)


def test_without_exchangeable_controls_nothing_is_testable(found):
    workspace = found.data.workspace
    config = DiagnosisConfig(layers=(1,))
    data = load_diagnosis_data(workspace, "s", controls=["k0"], config=config)
    panel = inheritance.PANEL.compute(data, no_progress)
    assert {row["inherited"] for row in panel.documents()} == {"not testable"}
    assert all(math.isnan(row["p_value"]) for row in panel.documents())
    alone = cells(panel, teacher="b")
    assert all("no exchangeable control" in row["reason"] for row in alone)
    assert all("one control: no p" in row["reason"] for row in cells(panel, teacher="a"))
    assert "a has 0 controls for the student and 1 for the teacher" in panel.warnings[0]


def test_disagreements_name_the_nearest_teacher_of_every_measure(found):
    panel = disagreements.PANEL.compute(found.data, no_progress)
    assert [row["domain"] for row in panel.documents()] == list(DOMAINS)
    speech = panel.documents()[1]
    assert speech["measures"]["debiased_linear_cka"] == "a"
    assert speech["measures"]["mutual_knn"] == "a"
    assert speech["n_clips"] == N
    assert speech["readings"]["mutual_knn|a"] > speech["readings"]["mutual_knn|b"]
    assert set(panel.columns) <= set(speech)
