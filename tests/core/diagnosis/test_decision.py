"""Which rows the rules read: domains by name, the linear probe, what is unseen."""

import math
from typing import Any

from usad_workbench.core.diagnosis.decision import decide
from usad_workbench.core.diagnosis.panel import Panel
from usad_workbench.core.diagnosis.rules import load_rules
from usad_workbench.core.diagnosis.suite import Diagnosis
from usad_workbench.core.diagnosis.verdicts import Verdict

RULES = load_rules()[0]
LEADS = {
    "teachers-pca-mixture": {"speech": 0.0, "machines": 0.05},
    "oracle-domain-router": {"speech": -0.2, "machines": 0.02},
    "t": {"speech": -0.1, "machines": 0.1},
    "u": {"speech": 0.2, "machines": 0.02},
}
ROLES = {"t": "teacher", "u": "teacher"}


def _routing_rows(protocol: str, sign: float = 1.0) -> list[dict[str, Any]]:
    rows = []
    for domain in ("speech", "machines"):
        empty: dict[str, Any] = {
            "domain": domain,
            "task": "mean of tasks",
            "protocol": protocol,
            "n_clips": 300,
            "break_even": math.nan,
            "router_accuracy": math.nan,
            "router_ci_low": math.nan,
            "router_ci_high": math.nan,
            "n_params": 10.0,
            "student_minus": math.nan,
            "student_minus_ci_low": math.nan,
            "student_minus_ci_high": math.nan,
        }
        rows.append(empty | {"system": "s", "role": "student", "value": 0.5})
        for system, leads in LEADS.items():
            lead = sign * leads[domain]
            rows.append(
                empty
                | {
                    "system": system,
                    "role": ROLES.get(system, "system"),
                    "value": 0.5 - lead,
                    "student_minus": lead,
                    "student_minus_ci_low": lead - 0.01,
                    "student_minus_ci_high": lead + 0.01,
                    "break_even": 0.7,
                }
            )
        learned = {"system": "learned-domain-router", "role": "system", "value": 0.5}
        rows.append(
            empty
            | learned
            | {"router_accuracy": 0.9, "router_ci_low": 0.85, "router_ci_high": 0.95}
        )
    return rows


def _panel(name: str, rows: list[dict[str, Any]]) -> Panel:
    return Panel(name=name, columns={}, rows=rows)


def _decide(**panels: list[dict[str, Any]]) -> dict[str, Verdict]:
    found = Diagnosis(
        student="s",
        layers=[4],
        domains=["speech", "machines"],
        unseen_domains=["machines"],
        teachers=["t", "u"],
        controls=[],
        baselines=[],
        n_clips=600,
        n_clusters=60,
        seed=0,
        selection="",
        panels={name: _panel(name, rows) for name, rows in panels.items()},
        warnings=[],
    )
    return {one.question: one for one in decide(found, RULES)}


def test_only_what_was_computed_is_decided() -> None:
    assert _decide() == {}
    row = {"teacher": "t", "domain": "speech", "measure": "mutual_knn", "inherited": "no"}
    assert set(_decide(inheritance=[row])) == {"inherited"}


def test_unseen_domains_decide_and_the_linear_probe_is_read() -> None:
    rows = _routing_rows("linear") + _routing_rows("knn", sign=-1.0)
    error = {
        "protocol": "linear",
        "domain": "speech",
        "q_value": 0.5,
        "excess": 0.0,
        "excess_ci_low": -0.1,
        "excess_ci_high": 0.1,
        "n_clips": 300,
    }
    found = _decide(routing=rows, errors=[error])
    general = found["general-or-mixture"]
    assert general.verdict == "more general"
    assert general.evidence["gain over the mixture on unseen domains"] == {
        "machines": "+0.050 [+0.040, +0.060], n = 300"
    }
    # Best teacher in speech is t (behind it by .1), in machines u (ahead of it by .02).
    lead = general.evidence["lead on taught minus lead on unseen domains"]
    assert lead.startswith("-0.120 [-0.134, -0.106]")
    knn_only = _decide(routing=_routing_rows("knn", sign=-1.0), errors=[])
    assert knn_only["general-or-mixture"].verdict == "undecided"


def test_routing_and_falsifiers_read_their_own_systems() -> None:
    found = _decide(routing=_routing_rows("linear"))
    routing = found["universal-or-routing"]
    assert routing.verdict == "routing"
    assert routing.evidence["learned router's accuracy"]["speech"].startswith("+0.900")
    assert routing.evidence["break-even accuracy of a router"]["speech"] == 0.7
    falsifiers = found["falsified"].evidence
    assert falsifiers["student minus best teacher on unseen domains"] == {
        "machines": "+0.020 [+0.010, +0.030], n = 300"
    }
    assert falsifiers["supervised encoder minus student"]["t"]["speech"].startswith("+0.100")
    assert falsifiers["second stage minus first"] == "not measured"


def test_only_stages_of_one_student_speak_of_the_second_stage() -> None:
    lost = {
        "quantity": "mean of tasks",
        "relation": "second stage",
        "name": "mean of tasks",
        "domain": "speech",
        "difference": -0.1,
        "ci_low": -0.15,
        "ci_high": -0.05,
        "q_value": 0.01,
        "n_clips": 300,
    }
    found = _decide(routing=_routing_rows("linear"), comparison=[lost])["falsified"]
    assert found.verdict == "falsified: the second stage makes it worse in speech"
    words = {"speech": "-0.100 [-0.150, -0.050], n = 300, q = 0.01"}
    assert found.evidence["second stage minus first"] == words
    # The first stage minus the second: the same loss with the opposite sign.
    turned = {"relation": "first stage", "difference": 0.1, "ci_low": 0.05, "ci_high": 0.15}
    back = _decide(comparison=[lost | turned])["falsified"]
    assert back.evidence["second stage minus first"] == words
    for relation in ("another student", "another checkpoint", "continuation", "same weights"):
        rows = [lost | {"relation": relation}]
        other = _decide(routing=_routing_rows("linear"), comparison=rows)["falsified"]
        assert other.evidence["second stage minus first"] == "not measured"
        assert _decide(comparison=rows) == {}


def test_explained_is_the_last_layer_of_taught_domains() -> None:
    variance = [
        {"domain": domain, "layer": layer, "corrected_total": 0.1 * layer, "n_clips": 300}
        for domain in ("speech", "machines")
        for layer in (2, 4)
    ]
    found = _decide(routing=_routing_rows("linear"), variance=variance)
    assert found["general-or-mixture"].evidence["explained share"] == {
        "speech": "+0.400, no interval, n = 300"
    }
