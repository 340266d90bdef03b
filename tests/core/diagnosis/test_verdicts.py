"""Each verdict on evidence that its rule was written for, and on evidence just short of it."""

import dataclasses
import math
from pathlib import Path

import pytest

from usad_workbench.core.diagnosis.panels.inheritance import InheritanceRow
from usad_workbench.core.diagnosis.rules import load_rules
from usad_workbench.core.diagnosis.shared_errors import SharedErrors
from usad_workbench.core.diagnosis.verdict_on_falsification import StageChange, falsified
from usad_workbench.core.diagnosis.verdict_on_inheritance import inherited
from usad_workbench.core.diagnosis.verdict_on_mixture import general_or_mixture
from usad_workbench.core.diagnosis.verdict_on_routing import AgainstRouter, universal_or_routing
from usad_workbench.core.diagnosis.verdicts import Estimate
from usad_workbench.core.errors import ConfigError
from usad_workbench.core.similarity import Measure

RULES, TEXT = load_rules()


def about(value: float, reach: float = 0.005, n_clips: int = 500) -> Estimate:
    return Estimate(value=value, ci_low=value - reach, ci_high=value + reach, n_clips=n_clips)


EXPLAINED = {"speech": about(0.95), "music": about(0.92)}
SHARED = {d: SharedErrors(answer="yes", words="yes") for d in ("speech", "music")}
OPEN = SharedErrors(answer="undecided", words="undecided")
OWN = SharedErrors(answer="no", words="no")


def test_a_mixture_needs_all_three() -> None:
    gains = {"machines": about(0.0)}
    found = general_or_mixture(EXPLAINED, gains, SHARED, None, RULES)
    assert found.verdict == "mostly mixture"
    short = [
        (EXPLAINED | {"music": about(0.85)}, gains, SHARED),
        (EXPLAINED, {"machines": about(0.02)}, SHARED),
        (EXPLAINED, {"machines": about(0.0, n_clips=50)}, SHARED),
        (EXPLAINED, gains, SHARED | {"music": OPEN}),
        ({}, gains, SHARED),
    ]
    for explained, gain, errors in short:
        assert general_or_mixture(explained, gain, errors, None, RULES).verdict == "undecided"


def test_more_general_needs_unseen_domains_and_errors_of_its_own() -> None:
    gains = {"machines": about(0.05), "animals": about(0.0, reach=0.05)}
    none = {"speech": OWN}
    assert general_or_mixture({}, gains, none, None, RULES).verdict == "more general"
    # No copied errors were found, but an excess that matters is not ruled out.
    unsure = general_or_mixture({}, gains, {"speech": OPEN}, None, RULES)
    assert unsure.verdict == "undecided"
    assert general_or_mixture({}, gains, SHARED, None, RULES).verdict == "undecided"
    assert general_or_mixture({}, gains, {}, None, RULES).verdict == "undecided"
    assert general_or_mixture({}, {}, none, None, RULES).verdict == "undecided"


def test_a_lead_on_taught_domains_alone_is_optimised_for_them() -> None:
    found = general_or_mixture(EXPLAINED, {}, {}, about(0.05), RULES)
    assert found.verdict == "benchmark-optimised"
    assert general_or_mixture(EXPLAINED, {}, {}, about(0.05, 0.06), RULES).verdict == "undecided"


def beside_router(
    lead: float, cost: float, break_even: float = math.nan, accuracy: float | None = None
) -> AgainstRouter:
    return AgainstRouter(
        lead=about(lead),
        cost_ratio=cost,
        break_even=break_even,
        router_accuracy=None if accuracy is None else about(accuracy),
    )


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (beside_router(0.0, 0.5), "universal"),
        (beside_router(0.0, 2.0), "undecided"),
        (beside_router(-0.1, 0.5, 0.9, 0.8), "universal"),
        (beside_router(-0.1, 0.5, 0.7, 0.8), "routing"),
        (beside_router(-0.1, 0.5), "undecided"),
    ],
)
def test_universal_or_routing_in_one_domain(found: AgainstRouter, verdict: str) -> None:
    assert universal_or_routing({"speech": found}, RULES).verdict == verdict


def test_a_router_that_fails_in_one_domain_says_nothing_about_another() -> None:
    fails, pays = beside_router(0.0, 2.0, 5.0, 0.8), beside_router(-0.1, 0.5, 0.7, 0.8)
    assert universal_or_routing({"a": fails, "b": pays}, RULES).verdict == "routing"
    unclear = beside_router(0.0, 2.0, 0.7, 0.7)
    assert universal_or_routing({"a": fails, "b": unclear}, RULES).verdict == "undecided"
    unseen = beside_router(0.0, 0.5)  # no route is right there
    assert universal_or_routing({"a": fails, "b": unseen}, RULES).verdict == "universal"
    small = dataclasses.replace(pays, lead=dataclasses.replace(pays.lead, n_clips=9))
    assert universal_or_routing({"a": fails, "b": small}, RULES).verdict == "universal"


def change(value: float, reach: float = 0.005, q: float = 0.01, n_clips: int = 500) -> StageChange:
    return StageChange(estimate=about(value, reach, n_clips), q_value=q)


def test_the_falsifiers() -> None:
    fine = {"machines": about(0.05)}
    beaten = {"whisper": {"speech": about(0.1), "music": about(-0.1)}}
    same = {"speech": change(0.0, q=1.0)}
    assert falsified(fine, same, {}, beaten, RULES).verdict == "not falsified"
    assert falsified(fine, None, {}, beaten, RULES).verdict == "undecided"
    unseen = falsified({"machines": about(-0.1)}, same, {}, beaten, RULES)
    assert unseen.verdict == "falsified: fails on unseen domains"
    everywhere = {"whisper": {"speech": about(0.1), "music": about(0.1)}}
    assert falsified(fine, same, {}, everywhere, RULES).verdict == (
        "falsified: whisper is better everywhere"
    )
    lost = falsified(fine, same | {"machines": change(-0.1)}, {}, beaten, RULES)
    assert lost.verdict == "falsified: the second stage makes it worse in machines"
    assert lost.evidence["after alignment to an LLM"] == "not measured"


@pytest.mark.parametrize(
    "open_",
    [
        change(-0.1, reach=0.095),  # the upper limit is within the margin
        change(-0.1, q=0.2),  # one of many domains
        change(-0.1, n_clips=50),
        change(0.0, reach=0.05, q=1.0),  # not shown, and not ruled out
        change(-0.1, reach=math.nan, q=math.nan),
    ],
)
def test_a_second_stage_just_short_of_the_rule_leaves_it_open(open_: StageChange) -> None:
    beaten = {"whisper": {"speech": about(0.1), "music": about(-0.1)}}
    found = falsified({"machines": about(0.05)}, {"speech": open_}, {}, beaten, RULES)
    assert found.verdict == "undecided"


def row_of(
    teacher: str,
    domain: str,
    answer: str,
    ci_high: float = 0.1,
    measure: Measure = "mutual_knn",
) -> InheritanceRow:
    return InheritanceRow(
        teacher=teacher,
        domain=domain,
        layer=1,
        teacher_layer=1,
        measure=measure,
        inherited=answer,
        ci_high=ci_high,
        n_clips=100,
        n_clusters=10,
    )


def test_inherited_counts_only_tested_rows() -> None:
    found = inherited([row_of("a", "speech", "not testable", math.nan)], RULES)
    assert found.verdict == "not testable"
    rows = [row_of("a", "speech", "no"), row_of("b", "music", "not testable", math.nan)]
    found = inherited(rows, RULES)
    assert found.verdict == "no inheritance found"
    assert found.evidence == {"a": {"speech": "no"}, "b": {"music": "not testable"}}
    rows = [row_of("a", "speech", "yes"), row_of("a", "music", "no"), row_of("b", "music", "no")]
    found = inherited(rows, RULES)
    assert found.verdict == "inherited: a in speech"
    assert found.evidence["a"] == {"speech": "yes", "music": "no"}
    assert inherited([], RULES).verdict == "undecided"


@pytest.mark.parametrize("ci_high", [4.6, 0.2, math.nan])
def test_a_no_that_rules_nothing_out_is_undecided(ci_high: float) -> None:
    """Two controls and one degree of freedom: no excess that matters is excluded."""
    assert inherited([row_of("a", "speech", "no", 0.29, "debiased_linear_cka")], RULES).verdict == (
        "no inheritance found"
    )
    wide = row_of("a", "speech", "no", ci_high)
    for rows in ([wide], [wide, row_of("a", "speech", "no"), row_of("b", "music", "no")]):
        found = inherited(rows, RULES)
        assert found.verdict == "undecided"
        assert "is not ruled out" in found.evidence["a"]["speech"]
    assert inherited([wide, row_of("b", "music", "yes")], RULES).verdict == (
        "inherited: b in music"
    )


def test_rules_are_strict(tmp_path) -> None:  # type: ignore[no-untyped-def]
    own = tmp_path / "rules.toml"
    own.write_text(TEXT.replace("margin = 0.01", "margin = 0.05"))
    assert load_rules(own)[0].margin == 0.05
    for wrong in (TEXT.replace("alpha = 0.05", "alpha = 2.0"), TEXT + "\n[extra]\nx = 1\n"):
        own.write_text(wrong)
        with pytest.raises(ConfigError):
            load_rules(own)


def test_rules_take_association_tests_of_ones_own(tmp_path: Path) -> None:
    one = '[[associations]]\nname = "n"\nx = "a = 1"\ny = "a = 2"\na = "b = 1"\nb = "b = 2"\n'
    file = tmp_path / "rules.toml"
    file.write_text(f"{TEXT}\n{one}", encoding="utf-8")
    (found,) = load_rules(file)[0].associations
    assert (found.name, found.x, found.b) == ("n", "a = 1", "b = 2")
    assert RULES.associations == ()
    for wrong in (one + one, one.replace("y =", "z =")):
        file.write_text(f"{TEXT}\n{wrong}", encoding="utf-8")
        with pytest.raises(ConfigError, match=r"each name once|associations"):
            load_rules(file)
