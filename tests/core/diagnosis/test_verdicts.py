"""Each verdict on evidence that its rule was written for, and on evidence just short of it."""

import math

import pytest

from usad_workbench.core.diagnosis.rules import load_rules
from usad_workbench.core.diagnosis.verdicts import (
    Estimate,
    falsified,
    general_or_mixture,
    inherited,
    universal_or_routing,
)
from usad_workbench.core.errors import ConfigError

RULES, TEXT = load_rules()


def about(value: float, reach: float = 0.005, n_clips: int = 500) -> Estimate:
    return Estimate(value=value, ci_low=value - reach, ci_high=value + reach, n_clips=n_clips)


EXPLAINED = {"speech": about(0.95), "music": about(0.92)}
SHARED = {"speech": about(0.2), "music": about(0.1)}


def test_a_mixture_needs_all_three() -> None:
    gains = {"machines": about(0.0)}
    found = general_or_mixture(EXPLAINED, gains, SHARED, None, RULES)
    assert found.verdict == "mostly mixture"
    short = [
        (EXPLAINED | {"music": about(0.85)}, gains, SHARED),
        (EXPLAINED, {"machines": about(0.02)}, SHARED),
        (EXPLAINED, {"machines": about(0.0, n_clips=50)}, SHARED),
        (EXPLAINED, gains, {"speech": about(0.2), "music": about(0.1, reach=0.2)}),
        ({}, gains, SHARED),
    ]
    for explained, gain, errors in short:
        assert general_or_mixture(explained, gain, errors, None, RULES).verdict == "undecided"


def test_more_general_needs_unseen_domains_and_errors_of_its_own() -> None:
    gains = {"machines": about(0.05), "animals": about(0.0, reach=0.05)}
    none = {"speech": about(0.0, reach=0.1)}
    assert general_or_mixture({}, gains, none, None, RULES).verdict == "more general"
    assert general_or_mixture({}, gains, SHARED, None, RULES).verdict == "undecided"
    assert general_or_mixture({}, gains, {}, None, RULES).verdict == "undecided"
    assert general_or_mixture({}, {}, none, None, RULES).verdict == "undecided"


def test_a_lead_on_taught_domains_alone_is_optimised_for_them() -> None:
    found = general_or_mixture(EXPLAINED, {}, {}, about(0.05), RULES)
    assert found.verdict == "benchmark-optimised"
    assert general_or_mixture(EXPLAINED, {}, {}, about(0.05, 0.06), RULES).verdict == "undecided"


def test_universal_or_routing() -> None:
    equal, worse = {"speech": about(0.0)}, {"speech": about(-0.1)}
    assert universal_or_routing(equal, 0.5, math.nan, None, RULES).verdict == "universal"
    assert universal_or_routing(equal, 2.0, math.nan, None, RULES).verdict == "undecided"
    assert universal_or_routing(worse, 0.5, 0.9, about(0.8), RULES).verdict == "universal"
    assert universal_or_routing(worse, 0.5, 0.7, about(0.8), RULES).verdict == "routing"
    assert universal_or_routing(worse, 0.5, math.nan, None, RULES).verdict == "undecided"


def test_the_falsifiers() -> None:
    fine = {"machines": about(0.05)}
    beaten = {"whisper": {"speech": about(0.1), "music": about(-0.1)}}
    assert falsified(fine, {}, "", beaten, RULES).verdict == "not falsified"
    assert falsified(fine, None, "", beaten, RULES).verdict == "undecided"
    unseen = falsified({"machines": about(-0.1)}, {}, "", beaten, RULES)
    assert unseen.verdict == "falsified: fails on unseen domains"
    everywhere = {"whisper": {"speech": about(0.1), "music": about(0.1)}}
    assert falsified(fine, {}, "", everywhere, RULES).verdict == (
        "falsified: whisper is better everywhere"
    )
    lost = falsified(fine, {"digit": "-0.1"}, "", beaten, RULES)
    assert lost.verdict == "falsified: the second stage makes it worse"
    assert lost.evidence["after alignment to an LLM"] == "not measured"


def test_inherited_counts_only_tested_rows() -> None:
    def row(teacher: str, domain: str, answer: str) -> dict[str, str]:
        return {"teacher": teacher, "domain": domain, "inherited": answer}

    assert inherited([row("a", "speech", "not testable")]).verdict == "not testable"
    assert inherited([row("a", "speech", "no")]).verdict == "no inheritance found"
    found = inherited([row("a", "speech", "yes"), row("a", "music", "no"), row("b", "music", "no")])
    assert found.verdict == "inherited: a in speech"
    assert found.evidence["a"] == {"speech": "yes", "music": "no"}


def test_rules_are_strict(tmp_path) -> None:  # type: ignore[no-untyped-def]
    own = tmp_path / "rules.toml"
    own.write_text(TEXT.replace("margin = 0.01", "margin = 0.05"))
    assert load_rules(own)[0].margin == 0.05
    for wrong in (TEXT.replace("alpha = 0.05", "alpha = 2.0"), TEXT + "\n[extra]\nx = 1\n"):
        own.write_text(wrong)
        with pytest.raises(ConfigError):
            load_rules(own)
