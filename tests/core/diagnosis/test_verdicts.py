"""Each verdict on evidence that its rule was written for, and on evidence just short of it."""

import dataclasses
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from usad_workbench.core.diagnosis.inheritance_row import InheritanceRow
from usad_workbench.core.diagnosis.rules import load_rules
from usad_workbench.core.diagnosis.shared_errors import SharedErrors
from usad_workbench.core.diagnosis.verdict_on_falsification import StageChange, falsified
from usad_workbench.core.diagnosis.verdict_on_inheritance import inherited
from usad_workbench.core.diagnosis.verdict_on_mixture import general_or_mixture
from usad_workbench.core.diagnosis.verdict_on_routing import AgainstRouter, universal_or_routing
from usad_workbench.core.diagnosis.verdicts import Estimate, Verdict
from usad_workbench.core.errors import ConfigError

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


def row_of(teacher: str, domain: str, answer: str, **more: Any) -> InheritanceRow:
    return InheritanceRow(
        teacher=teacher,
        domain=domain,
        layer=1,
        teacher_layer=1,
        **{
            "measure": "debiased_linear_cka",
            "inherited": answer,
            "excess": 0.01,
            "ci_low": -0.02,
            "ci_high": 0.04,
            "p_value": 0.4,
            "detectable": 0.03,
            "level": 0.8,
            "n_clips": 100,
            "n_clusters": 10,
            **more,
        },
    )


def words_of(found: Verdict) -> dict[str, dict[str, str]]:
    return {
        teacher: {domain: answer.split(":")[0] for domain, answer in of.items()}
        for teacher, of in found.evidence.items()
        if not isinstance(of, str)
    }


def test_inherited_counts_only_tested_rows() -> None:
    nothing = row_of("a", "speech", "not testable", reason="no peers; add students")
    found = inherited([nothing], RULES)
    assert found.verdict == "not testable"
    assert found.evidence["a"]["speech"] == "not testable: no peers; add students"
    rows = [row_of("a", "speech", "no"), row_of("b", "music", "not testable")]
    found = inherited(rows, RULES)
    assert found.verdict == "no inheritance found"
    assert words_of(found) == {"a": {"speech": "no"}, "b": {"music": "not testable"}}
    rows = [row_of("a", "speech", "yes"), row_of("a", "music", "no"), row_of("b", "music", "no")]
    found = inherited(rows, RULES)
    assert found.verdict == "inherited: a in speech"
    assert words_of(found)["a"] == {"speech": "yes", "music": "no"}
    assert inherited([], RULES).verdict == "undecided"


def test_an_answer_comes_with_its_numbers_the_placebos_and_what_is_missing() -> None:
    shown = row_of(
        "a",
        "speech",
        "yes",
        excess=0.2,
        ci_low=0.1,
        ci_high=0.3,
        over_peers=0.22,
        placebos={"k": 0.01, "m": 0.03},
        peers=("p", "q"),
        p_value=1e-5,
    )
    weaker = replace(shown, measure="standardised_linear_cka", inherited="undecided", excess=0.1)
    said = inherited([weaker, shown], RULES).evidence["a"]["speech"]
    assert said.startswith("yes: excess +0.200 [+0.100, +0.300] (debiased linear cka, layer 1), ")
    assert "over 2 peers +0.220, placebos +0.010 to +0.030, n = 100 clips in 10 clusters" in said
    wide = row_of("a", "speech", "undecided", ci_high=0.2, detectable=0.15)
    said = inherited([wide, row_of("a", "speech", "no")], RULES).evidence["a"]["speech"]
    assert said.startswith("undecided: an excess of up to +0.200 is not ruled out, +0.080 would")
    assert "one of 0.150 could have been found" in said and "--controls" in said


def test_what_a_column_carries_is_named_and_is_not_inherited() -> None:
    carried = row_of(
        "a",
        "speech",
        "through loudness_db",
        p_value=1e-5,
        carrier="loudness_db",
        excess_after_erasure=0.01,
        excess_by_chance=0.28,
    )
    found = inherited([carried, row_of("b", "speech", "no")], RULES)
    assert found.verdict == "through loudness_db: a in speech"
    said = "+0.010 without loudness_db (+0.280 with values of other clusters in its place)"
    assert said in found.evidence["a"]["speech"]
    both = inherited([carried, row_of("b", "speech", "yes", p_value=1e-5)], RULES)
    assert both.verdict == "inherited: b in speech; through loudness_db: a in speech"


@pytest.mark.parametrize("answers", [("no", "undecided"), ("undecided",)])
def test_one_reading_in_doubt_bars_the_no(answers: tuple[str, ...]) -> None:
    wide = {"ci_high": 0.6}
    rows = [row_of("a", "speech", one, **(wide if one == "undecided" else {})) for one in answers]
    found = inherited([*rows, row_of("b", "music", "no")], RULES)
    assert found.verdict == "undecided"
    assert "is not ruled out" in found.evidence["a"]["speech"]
    assert inherited([*rows, row_of("b", "music", "yes")], RULES).verdict == "inherited: b in music"


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
