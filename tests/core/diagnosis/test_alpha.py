"""Alpha and margin of the rules, and the ranges of what cannot leave them."""

import ast
import dataclasses
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from usad_workbench.core.bias.error_consistency import excess_consistency
from usad_workbench.core.bias.routing import break_even_accuracy
from usad_workbench.core.diagnosis import rules as rules_module
from usad_workbench.core.diagnosis.data import DiagnosisConfig, load_diagnosis_data
from usad_workbench.core.diagnosis.excess_doubt import TestedExcess, doubt_of
from usad_workbench.core.diagnosis.record import diagnosis_document, store_diagnosis
from usad_workbench.core.diagnosis.rules import Rules, load_rules, shipped_rules
from usad_workbench.core.diagnosis.run import diagnose
from usad_workbench.core.diagnosis.shared_errors import SharedErrors
from usad_workbench.core.diagnosis.suite import compute_diagnosis
from usad_workbench.core.diagnosis.verdict_inputs import decide
from usad_workbench.core.diagnosis.verdict_on_falsification import StageChange, falsified
from usad_workbench.core.diagnosis.verdict_on_inheritance import inherited
from usad_workbench.core.diagnosis.verdict_on_mixture import general_or_mixture
from usad_workbench.core.diagnosis.verdict_on_routing import AgainstRouter, universal_or_routing
from usad_workbench.core.diagnosis.verdicts import Estimate
from usad_workbench.core.errors import ConfigError
from usad_workbench.core.evaluation.evaluate import evaluate
from usad_workbench.core.similarity.excess import excess_over_controls
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.workbench.presenters import layers
from usad_workbench.workbench.presenters.diagnosis import rows as panel_rows
from usad_workbench.workbench.presenters.diagnosis import stored
from usad_workbench.workbench.presenters.diagnosis.views import views_of
from usad_workbench.workbench.report import write_report

TEXT = load_rules()[1]


def rules(**changes: float) -> Rules:
    return dataclasses.replace(shipped_rules(), **changes)  # type: ignore[arg-type]


def about(value: float, reach: float, n: int = 500) -> Estimate:
    return Estimate(value=value, ci_low=value - reach, ci_high=value + reach, n_clips=n)


@pytest.mark.parametrize(("alpha", "is_shown"), [(0.0001, False), (0.05, True), (0.3, True)])
def test_verdicts_read_intervals_at_alpha(alpha: float, is_shown: bool) -> None:
    """An interval at 95% that leaves 0 out by little holds it at 99.99%."""
    asked = rules(alpha=alpha)
    gain = {"machines": about(0.05, 0.04)}
    none = {"speech": SharedErrors(answer="no", words="no")}
    general = general_or_mixture({}, gain, none, None, asked)
    assert (general.verdict == "more general") == is_shown
    better = {"w": {"speech": about(0.05, 0.04)}}
    assert falsified({}, None, {}, better, asked).verdict.startswith("falsified") == is_shown
    lost = {"speech": StageChange(estimate=about(-0.06, 0.04), q_value=0.00001)}
    assert falsified({}, lost, {}, {}, asked).verdict.startswith("falsified") == is_shown
    router = AgainstRouter(
        lead=about(-0.1, 0.08), cost_ratio=2.0, break_even=0.5, router_accuracy=about(0.6, 0.09)
    )
    assert (universal_or_routing({"d": router}, asked).verdict == "routing") == is_shown


@pytest.mark.parametrize(("alpha", "margin"), [(0.001, 0.005), (0.2, 0.03), (0.5, 0.125)])
def test_no_sentence_of_a_rule_keeps_another_level(alpha: float, margin: float) -> None:
    asked = rules(alpha=alpha, margin=margin)
    said = [
        general_or_mixture({}, {}, {}, None, asked).rule,
        universal_or_routing({}, asked).rule,
        falsified({}, None, {}, {}, asked).rule,
        inherited([], asked).rule,
    ]
    for rule in said:
        assert not re.search(r"0\.05\b|(?<![\d.])[015]%", rule), rule
        assert f"{100 - 100 * alpha:g}% intervals" in rule
    assert all(f"{100 * margin:g}%" in rule for rule in said[:3])
    assert f"at or below {alpha:g} " in said[2] and f"at or below {alpha:g} " in said[3]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("alpha", "0.0"),
        ("alpha", "1.0"),
        ("alpha", "nan"),
        ("alpha", "-0.05"),
        ("margin", "-0.01"),
        ("margin", "nan"),
        ("margin", "inf"),
        ("margin", "1.0"),
        ("min_clips", "0"),
        ("min_error_domains", "0"),
        ("explained", "1.2"),
        ("smallest_share", "0.0"),
        ("home_weight", "nan"),
        ("unseen_share", "-1.0"),
        ("smallest_kappa", "0.0"),
        ("smallest_class_kappa", "nan"),
        ("smallest_correlation", "1.5"),
    ],
)
def test_values_that_cannot_be_are_refused_by_name(tmp_path, name: str, value: str) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "rules.toml"
    file.write_text(re.sub(rf"(?m)^{name} = .*$", f"{name} = {value}", TEXT), encoding="utf-8")
    with pytest.raises(ConfigError, match=rf"{name} (is|must be) "):
        load_rules(file)


def test_every_panel_figure_and_text_obeys(copied: Workspace, tmp_path) -> None:  # type: ignore[no-untyped-def]
    evaluate(copied, protocols=["knn"], seeds=1, cost=False)
    strict, loose = rules(alpha=1e-9, margin=0.0), rules(alpha=0.9, margin=0.001)
    outs, equal, counts = {}, {}, {}
    for asked in (strict, loose):
        config = DiagnosisConfig(n_permutations=99, layers=(2,), rules=asked)
        data = load_diagnosis_data(copied, "s", config=config)
        found = compute_diagnosis(data, ["similarity", "inheritance", "routing"])
        verdicts = decide(found, asked)
        found = replace(found, verdicts=verdicts, rules_text=TEXT)
        store_diagnosis(copied, found)
        answer = diagnosis_document(found)
        assert (answer["alpha"], answer["margin"]) == (asked.alpha, asked.margin)
        (run,) = stored.diagnoses(copied.sql)
        assert run.alpha == stored.alpha_for(copied.sql, "s") == asked.alpha
        rows = layers.similarity(copied.sql, "s", "a", "debiased_linear_cka")
        panel = found.panels["similarity"]
        view = views_of("similarity", panel.columns, run.alpha)[0]
        outs[asked.alpha] = (
            sum(layers.stand_out(rows)),
            sum(panel_rows.stands_out(r, view) for r in panel.documents()),
        )
        equal[asked.alpha] = {
            r["verdict"] for r in found.panels["routing"].documents() if r["system"] == "k"
        }
        report = write_report(tmp_path / "r.html", found, verdicts, "", copied)
        text = report.read_text(encoding="utf-8")
        assert f"q ≤ {asked.alpha:g}" in text and "q ≤ 0.05" not in text
        said = copied.sql("SELECT string_agg(statement, '') AS s FROM nearest_teachers").s[0]
        counts[asked.alpha] = said.count("does not stand out")
    assert outs[strict.alpha] == (0, 0)
    assert counts[strict.alpha] == 6 > counts[loose.alpha]  # 3 domains, 2 measures
    assert min(outs[loose.alpha]) > 0
    assert equal[strict.alpha] == {"undecided"} != equal[loose.alpha]
    few = load_diagnosis_data(
        copied, "s", config=DiagnosisConfig(n_permutations=19, rules=strict)
    ).warnings
    assert any("can be as low as 1e-09" in one for one in few)


CELL = TestedExcess(value=0.1, ci_low=math.nan, ci_high=math.nan, detectable=0.1, level=0.8)
"""At a level of .8 an excess of .08 would matter."""


@pytest.mark.parametrize(
    ("low", "high", "level", "words"),
    [
        (-0.1, 0.07, 0.8, ""),
        (0.01, 0.07, 0.8, "its interval lies above 0"),
        (-0.5, -0.1, 0.8, ""),
        (-0.1, 0.09, 0.8, "an excess of up to +0.090 is not ruled out, +0.080 would matter"),
        (-0.1, 0.07, 0.5, "an excess of up to +0.070 is not ruled out, +0.050 would matter"),
        (-0.1, 0.9, math.nan, ""),  # a partial reading says no size
        (0.1, 0.9, math.nan, "its interval lies above 0"),
        (math.nan, math.nan, 0.8, "no excess is ruled out"),
    ],
)
def test_a_no_needs_0_in_the_interval_and_an_excess_ruled_out(low, high, level, words) -> None:  # type: ignore[no-untyped-def]
    found = doubt_of(replace(CELL, ci_low=low, ci_high=high, level=level), rules())
    assert found.startswith(words) and bool(found) == bool(words)


@pytest.mark.parametrize("observed", [0.05, 0.5, 0.99])
def test_no_excess_passes_what_a_similarity_can_be(observed: float) -> None:
    rng = np.random.default_rng(0)
    controls = np.array([0.05, 0.9])
    left = rng.normal(size=(12, 3))
    found = excess_over_controls(
        observed, controls, left[:, 0], left[:, 1:], n_clips=60, n_clusters=12
    )
    limits = (found.ci_low, found.ci_high, found.clips_low, found.clips_high)
    assert all(-1 <= one <= 1 for one in limits)
    assert found.detectable(0.05) > 1  # nothing could have been found: no such number is shown


def test_excess_of_kappa_keeps_its_own_range() -> None:
    rng = np.random.default_rng(0)
    right = rng.random((3, 60)) < 0.5
    found = excess_consistency(right[0], right[0], [right[1], ~right[0]], np.arange(60) % 12)
    assert found.value > 1 and found.ci_high == 2.0


@pytest.mark.parametrize("student", [0.0, 0.3, 0.39, 0.91, 1.0])
def test_the_accuracy_that_a_router_needs_is_an_accuracy(student: float) -> None:
    needed = break_even_accuracy(student, 0.9, 0.4)
    assert needed == (0.0 if student < 0.4 else 1.0)
    router = AgainstRouter(
        lead=about(0.0, 0.1), cost_ratio=1.0, break_even=needed, router_accuracy=None
    )
    said = universal_or_routing({"d": router}, rules()).evidence["break-even accuracy of a router"]
    assert "accuracy would do" in said["d"]


def test_no_module_of_the_diagnosis_has_a_level_of_its_own() -> None:
    folder = Path(rules_module.__file__).parent
    levels = {
        (file.name, node.value)
        for file in folder.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in (0.05, 0.01)
    }
    assert not levels
    for file in folder.rglob("*.py"):
        words = set(re.findall(r"\w+", file.read_text(encoding="utf-8")))
        assert not words & {"ALPHA", "MARGIN"}, f"{file.name} reads a constant"


def test_pages_name_the_same_unseen_domains_as_the_diagnosis(copied: Workspace) -> None:
    """Also where a diagnosis has other teachers than the record."""
    assert stored.unseen_for(copied.sql, "s") == {"machines"}
    found = diagnose(
        copied,
        "s",
        teachers=["a", "k"],
        panels=["attribution"],
        layers=[2],
        n_permutations=1,
        n_processes=1,
    )
    assert found.unseen_domains == ["machines", "music"]
    assert stored.unseen_for(copied.sql, "s") == {"machines", "music"}
