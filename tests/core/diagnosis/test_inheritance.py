"""The panels inheritance and disagreements on planted encoders."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from tests.core.diagnosis.simulate_inheritance import answers_of
from tests.inheritance_worlds import KINDS, data_of, designs_of, make_world, workspace_of
from tests.planted import add_clips, add_encoder
from usad_workbench.core.diagnosis.carriers import Carrier
from usad_workbench.core.diagnosis.controls import controls_for, design_for
from usad_workbench.core.diagnosis.data import DiagnosisConfig, load_diagnosis_data
from usad_workbench.core.diagnosis.panel import cell_name
from usad_workbench.core.diagnosis.panels import disagreements, inheritance
from usad_workbench.core.progress import no_progress
from usad_workbench.core.similarity import holm
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
    for i in range(5):
        add_encoder(workspace, f"k{i}", "control", "speech", encoder())
    for i in range(4):
        add_encoder(workspace, f"twin{i}", "student", None, encoder())
    add_encoder(workspace, "own", "student", None, encoder(own))
    set_distillation(workspace, "s", [("a", "speech", 1), ("b", "music", 1)])
    set_distillation(workspace, "own", [("a", "speech", 1)])
    controls = [*(f"k{i}" for i in range(5)), *(f"twin{i}" for i in range(4)), "own"]
    config = DiagnosisConfig(layers=(1,))
    data = load_diagnosis_data(workspace, "s", controls=controls, config=config)
    return SimpleNamespace(data=data, panel=inheritance.PANEL.compute(data, no_progress))


def cells(panel, **wanted):
    return [row for row in panel.documents() if all(row[k] == v for k, v in wanted.items())]


def test_everybody_stands_where_they_could(found):
    twins, placebos = [f"twin{i}" for i in range(4)], [f"k{i}" for i in range(5)]
    assert controls_for(found.data, "a", "teacher") == placebos
    assert controls_for(found.data, "b", "teacher") == []
    assert sorted(controls_for(found.data, "a", "student")) == twins
    assert sorted(controls_for(found.data, "b", "student")) == ["own", *twins]
    design = design_for(found.data, "a")
    assert (sorted(design.peers), list(design.placebos)) == (twins, placebos)
    assert design.families == tuple(range(5)) and design.form == "peers and placebos"
    # own learned from a: beside it a is no stranger to the peers, and b taught the student.
    assert set(design_for(found.data, "b").placebos) == set(placebos)


def test_the_copied_teacher_is_found_in_its_domain_only(found):
    yes = {(r["teacher"], r["domain"]) for r in found.panel.documents() if r["inherited"] == "yes"}
    assert yes == {("a", "speech")}
    for row in cells(found.panel, teacher="a", domain="speech"):
        assert row["excess"] > 0.1 and row["over_peers"] > 0.1
        assert row["q_value"] <= 0.05
        assert row["ci_low"] < row["excess"] < row["ci_high"]
        assert row["p_value"] == max(row["p_peers"], row["p_placebos"])
        assert max(abs(gain) for gain in row["placebos"].values()) < row["over_peers"]
        assert set(row["placebos"]) == {f"k{i}" for i in range(5)}
    for row in cells(found.panel, teacher="a", domain="music"):
        assert row["inherited"] in ("no", "undecided") and not row["is_home"]
    measures = {row["measure"] for row in found.panel.documents()}
    assert measures == {
        "debiased_linear_cka",
        "partial_linear_cka",
        "standardised_linear_cka",
        "standardised_partial_cka",
    }


def test_a_pair_is_judged_by_simes_over_its_cells_and_weighted_holm_over_pairs(found):
    cells_of: dict[tuple[str, str], list[float]] = {}
    for row in found.panel.documents():
        cells_of.setdefault((row["teacher"], row["domain"]), []).append(row["p_value"])
    simes = {
        pair: min(len(p) * one / (place + 1) for place, one in enumerate(sorted(p)))
        for pair, p in cells_of.items()
    }
    home = {("a", "speech"), ("b", "music")}
    assert len(simes) == 4
    # Half of the level for the two pairs at home, half for the two others.
    adjusted = dict(zip(simes, holm(np.array([simes[pair] for pair in simes])), strict=True))
    for row in found.panel.documents():
        pair = row["teacher"], row["domain"]
        assert row["pair_p_value"] == pytest.approx(adjusted[pair], rel=1e-12)
        assert row["inherited"] != "yes" or adjusted[pair] <= 0.05
        assert row["is_home"] == (pair in home)


def test_rows_have_the_columns_and_drivers_add_up_to_the_excess(found):
    assert all(list(row) == list(found.panel.columns) for row in found.panel.documents())
    behind = {one.cell: one for one in found.panel.influential}
    for row in found.panel.documents():
        names = ("teacher", "domain", "layer", "measure", "form")
        one = behind[cell_name(**{name: row[name] for name in names})]
        assert len(one.clip_ids) == N
        assert one.influence.mean() == pytest.approx(row["excess"], abs=1e-8)


def test_without_peers_and_with_one_control_nothing_is_testable(found):
    workspace = Workspace.open(found.data.workspace.folder)
    taught = [("a", "speech", 1), ("b", "music", 1)]
    set_distillation(workspace, "s", [*taught, *((f"k{i}", None, 1) for i in range(1, 5))])
    config = DiagnosisConfig(layers=(1,))
    data = load_diagnosis_data(workspace, "s", teachers=["a", "b"], controls=["k0"], config=config)
    panel = inheritance.PANEL.compute(data, no_progress)
    set_distillation(workspace, "s", taught)
    assert {row["inherited"] for row in panel.documents()} == {"not testable"}
    assert all(math.isnan(row["p_value"]) for row in panel.documents())
    for row in panel.documents():
        assert "no two peers of the student without" in row["reason"]
        assert "at least 2 families are needed; add students" in row["reason"]


@pytest.mark.parametrize("kind", ["placebo, 8 controls", "one family, 4 controls"])
def test_worlds_place_encoders_as_the_suite_does(kind, tmp_path):
    world = make_world(KINDS[kind], 0)
    workspace = workspace_of(world, tmp_path / "w")
    named = [*world.peers, *world.placebos]
    stored = load_diagnosis_data(workspace, "s", controls=named)
    for teacher, design in designs_of(data_of(world), world).items():
        found = design_for(stored, teacher)
        assert set(found.order) == set(design.order)
        assert (found.form, len(set(found.families))) == (design.form, len(set(design.families)))
        assert bool(found.reason) == bool(design.reason)


@pytest.mark.parametrize(
    ("kind", "answers"),
    [
        ("placebo, 8 peers", {"no", "undecided"}),
        ("better teacher, 8 peers told", {"through label", "no", "undecided"}),
        ("shared shortcut, 8 peers", {"through loudness_db", "undecided"}),
        ("better at all, 8 peers told", {"no", "undecided"}),
        ("one family, 4 controls", {"not testable"}),
        ("one family not told, 4 controls", {"not testable"}),
        ("less-trained peers, 8", {"not testable"}),
        ("less-trained peers, 8 told", {"no", "undecided"}),
        ("20 % copied, 8 peers", {"yes", "undecided"}),
        ("50 % copied, 8 controls", {"yes"}),
        ("50 % copied, a rogue dimension", {"yes"}),
        ("50 % copied, 3 students", {"yes"}),
    ],
)
def test_a_planted_world_gets_its_answer(kind, answers):
    """One seed of each; fifty of all: ``simulate_inheritance``."""
    world = make_world(KINDS[kind], 2)
    data = data_of(world)
    panel = inheritance.panel_of(data, designs_of(data, world), no_progress)
    said = answers_of(panel.rows, data.config.rules)
    assert said["t in speech"] in answers
    assert "yes" not in {said["t in sound"], said["u in sound"], said["u in speech"]}


@pytest.mark.parametrize(
    ("kind", "answer"),
    [("better teacher, 8 peers told", "through label"), ("50 % copied, 8 peers", "yes")],
)
def test_a_label_of_many_classes_is_asked_within_them(kind: str, answer: str) -> None:
    """Erasing 39 directions of 64 would leave nothing of any excess to compare with."""
    world = make_world(KINDS[kind], 2)
    rng = np.random.default_rng(0)
    world.clips["label"] = [f"{label}-{rng.integers(10)}" for label in world.clips.label]
    data = data_of(world, ("speech",))
    panel = inheritance.panel_of(data, designs_of(data, world), no_progress)
    assert answers_of(panel.rows, data.config.rules)["t in speech"] == answer


def test_what_carries_an_excess_stands_in_the_cell_that_was_looked_at() -> None:
    world = make_world(KINDS["shared shortcut, 8 peers"], 2)
    data = data_of(world, ("speech",))
    rows = inheritance.panel_of(data, designs_of(data, world), no_progress).rows
    through = [row for row in rows if row.inherited == "through loudness_db"]
    (looked_at,) = [row for row in rows if row.carrier is not None and row.teacher == "t"]
    assert looked_at == min(through, key=lambda row: row.p_value)
    assert looked_at.excess_after_erasure < 0.2 * looked_at.excess
    assert all(math.isnan(row.excess_by_chance) for row in rows if row.carrier is None)


def test_a_column_that_cannot_be_asked_is_named(monkeypatch) -> None:
    world = make_world(KINDS["50 % copied, 8 peers"], 2)
    data = data_of(world, ("speech",))
    nan = math.nan
    unknown = Carrier(column="label", before=nan, after=nan, by_chance=nan)
    monkeypatch.setattr(inheritance, "carriers_of", lambda *_, **__: [unknown])
    rows = inheritance.panel_of(data, designs_of(data, world), no_progress).rows
    said = [row.reason for row in rows if row.inherited == "yes" and row.teacher == "t"]
    assert [bool(one) for one in said].count(True) == 1
    assert "whether label carries it is not known" in "".join(said)


@pytest.mark.parametrize("plain", ["no", "undecided"])
def test_a_partial_reading_is_a_no_only_beside_those_that_rule_sizes_out(plain: str) -> None:
    row = inheritance.InheritanceRow(
        teacher="t",
        domain="speech",
        layer=0,
        teacher_layer=0,
        measure="debiased_linear_cka",
        inherited=plain,
        n_clips=200,
        n_clusters=40,
    )
    partial = replace(row, measure="partial_linear_cka", inherited="no")
    found = inheritance._without_sizeless_no([row, partial])
    assert [one.inherited for one in found] == [plain, plain]


def test_disagreements_name_the_nearest_teacher_of_every_measure(found):
    panel = disagreements.PANEL.compute(found.data, no_progress)
    assert [row["domain"] for row in panel.documents()] == list(DOMAINS)
    speech = panel.documents()[1]
    assert speech["measures"]["debiased_linear_cka"] == "a"
    assert speech["measures"]["mutual_knn"] == "a"
    assert speech["n_clips"] == N
    assert speech["readings"]["mutual_knn|a"] > speech["readings"]["mutual_knn|b"]
    assert set(panel.columns) <= set(speech)
