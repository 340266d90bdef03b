"""Which rows the rules read: domains by name, the linear probe, what is unseen."""

import math
from collections.abc import Sequence
from dataclasses import replace

from usad_workbench.core.diagnosis.comparison import ComparisonRow
from usad_workbench.core.diagnosis.inheritance_row import InheritanceRow
from usad_workbench.core.diagnosis.panel import Panel, PanelRow
from usad_workbench.core.diagnosis.panels.errors import ErrorsRow
from usad_workbench.core.diagnosis.panels.routing import RoutingRow
from usad_workbench.core.diagnosis.panels.variance import VarianceRow
from usad_workbench.core.diagnosis.rules import load_rules
from usad_workbench.core.diagnosis.suite import Diagnosis, Provenance, Settings
from usad_workbench.core.diagnosis.verdict_inputs import decide
from usad_workbench.core.diagnosis.verdicts import DETECTABLE, MISSING, Verdict

RULES = load_rules()[0]
LEADS = {
    "teachers-pca-mixture": {"speech": 0.0, "machines": 0.05},
    "oracle-domain-router": {"speech": -0.2, "machines": 0.02},
    "t": {"speech": -0.1, "machines": 0.1},
    "u": {"speech": 0.2, "machines": 0.02},
}
ROLES = {"t": "teacher", "u": "teacher"}


def _routing_rows(protocol: str, sign: float = 1.0) -> list[RoutingRow]:
    rows = []
    for domain in ("speech", "machines"):
        student = RoutingRow(
            system="s",
            role="student",
            task="mean of tasks",
            domain=domain,
            protocol=protocol,
            value=0.5,
            n_params=10.0,
            n_clips=300,
            n_clusters=30,
        )
        rows.append(student)
        for system, leads in LEADS.items():
            lead = sign * leads[domain]
            rows.append(
                replace(
                    student,
                    system=system,
                    role=ROLES.get(system, "system"),
                    value=0.5 - lead,
                    student_minus=lead,
                    student_minus_ci_low=lead - 0.01,
                    student_minus_ci_high=lead + 0.01,
                    break_even=0.7,
                )
            )
        rows.append(
            replace(
                student,
                system="learned-domain-router",
                role="system",
                router_accuracy=0.9,
                router_ci_low=0.85,
                router_ci_high=0.95,
            )
        )
    return rows


def _diagnosis(**panels: Sequence[PanelRow]) -> Diagnosis:
    return Diagnosis(
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
        panels={name: Panel(name=name, row_type=PanelRow, rows=panels[name]) for name in panels},
        warnings=[],
        alpha=RULES.alpha,
        margin=RULES.margin,
        provenance=Provenance(
            usad_workbench="1",
            python="3",
            packages={},
            weights_sha256={},
            settings=Settings(
                seed=0,
                n_permutations=19,
                k=10,
                max_clips=99,
                max_domain_clips=500,
                layers=(4,),
                associations=(),
            ),
        ),
    )


def _decide(**panels: Sequence[PanelRow]) -> dict[str, Verdict]:
    return {one.question: one for one in decide(_diagnosis(**panels), RULES)}


def test_only_what_was_computed_is_decided() -> None:
    assert _decide() == {}
    row = InheritanceRow(
        teacher="t",
        domain="speech",
        layer=4,
        teacher_layer=4,
        measure="debiased_linear_cka",
        inherited="no",
        n_clips=300,
        n_clusters=30,
    )
    assert set(_decide(inheritance=[row])) == {"inherited"}


def test_unseen_domains_decide_and_the_linear_probe_is_read() -> None:
    rows = _routing_rows("linear") + _routing_rows("knn", sign=-1.0)
    error = ErrorsRow(
        task="word",
        domain="speech",
        teacher="t",
        protocol="linear",
        q_value=0.5,
        copied="no",
        excess=0.0,
        excess_ci_low=-0.05,
        excess_ci_high=0.05,
        df=7.0,
        detectable=0.04,
        n_test=300,
        n_clips=300,
    )
    found = _decide(routing=rows, errors=[error])
    general = found["general-or-mixture"]
    assert general.verdict == "more general"
    assert general.evidence["gain over the mixture on unseen domains"] == {
        "machines": "+0.050 [+0.040, +0.060], n = 300"
    }
    # Best teacher in speech is t (behind it by .1), in machines u (ahead of it by .02).
    lead = general.evidence["lead on taught minus lead on unseen domains"]
    assert lead.startswith("-0.120 [-0.134, -0.106]")
    assert general.evidence["shared errors above controls"] == {
        "speech": "no: largest upper limit +0.050, t on word, n = 300"
    }
    # The best of many cells has an interval above 0, and no correction lets it stand: no verdict.
    lucky = replace(error, copied="undecided", excess=0.1, excess_ci_low=0.02, excess_ci_high=0.18)
    unsure = _decide(routing=rows, errors=[error, lucky])["general-or-mixture"]
    assert unsure.verdict == "undecided"
    assert unsure.evidence["shared errors above controls"]["speech"] == (
        "undecided: an excess up to +0.180 is not ruled out (t on word); one of +0.040 could have "
        "been found"
    )
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
    lost = ComparisonRow(
        kind="task",
        quantity="mean of tasks",
        relation="second stage",
        name="mean of tasks",
        domain="speech",
        other="s1",
        difference=-0.1,
        ci_low=-0.15,
        ci_high=-0.05,
        q_value=0.01,
        n_clips=300,
    )
    found = _decide(routing=_routing_rows("linear"), comparison=[lost])["falsified"]
    assert found.verdict == "falsified: the second stage makes it worse in speech"
    words = {"speech": "-0.100 [-0.150, -0.050], n = 300, q = 0.01"}
    assert found.evidence["second stage minus first"] == words
    # The first stage minus the second: the same loss with the opposite sign.
    turned = replace(lost, relation="first stage", difference=0.1, ci_low=0.05, ci_high=0.15)
    back = _decide(comparison=[turned])["falsified"]
    assert back.evidence["second stage minus first"] == words
    for relation in ("another student", "another checkpoint", "continuation", "same weights"):
        rows = [replace(lost, relation=relation)]
        other = _decide(routing=_routing_rows("linear"), comparison=rows)["falsified"]
        assert other.evidence["second stage minus first"] == "not measured"
        assert _decide(comparison=rows) == {}


def test_a_question_without_numbers_is_open_and_says_what_gives_them() -> None:
    found = _decide(routing=[], errors=[], variance=[])
    assert {one.verdict for one in found.values()} == {"undecided"}
    assert set(found) == {"general-or-mixture", "universal-or-routing", "falsified"}
    for one in found.values():
        assert "usad evaluate --workspace W" in one.evidence[MISSING]["labelled tasks"]
    # Evaluated by the diagnosis itself, which has no systems.
    alone = [row for row in _routing_rows("knn") if row.role != "system"]
    found = _decide(routing=alone)
    assert set(found["general-or-mixture"].evidence[MISSING]) == {
        "the teachers' mixture",
        "the panel variance",
        "the panel errors",
    }
    assert set(found["universal-or-routing"].evidence[MISSING]) == {
        "the oracle domain router",
        "the learned domain router",
    }
    assert "--compare" in found["falsified"].evidence[MISSING]["the second stage against the first"]
    assert MISSING not in _decide(routing=_routing_rows("linear"))["universal-or-routing"].evidence


def test_what_evaluating_again_cannot_give_is_said_to_come_otherwise() -> None:
    """A router needs two teachers, a learned one a baseline, costs the encoders themselves."""
    alone = [row for row in _routing_rows("knn") if row.role != "system"]
    found = _decide(routing=alone)["universal-or-routing"]  # a diagnosis without baselines
    assert "log-mel-statistics" in found.evidence[MISSING]["the learned domain router"]
    assert "embed" not in found.evidence[MISSING]["the oracle domain router"]
    one = replace(_diagnosis(routing=alone), teachers=["t"], baselines=["base"])
    for verdict in decide(one, RULES):
        for system in ("the teachers' mixture", "the oracle domain router"):
            how = verdict.evidence[MISSING].get(system)
            assert how is None or how.startswith("it takes two teachers: `usad embed")
    unknown = [replace(row, n_params=math.nan, student_minus=0.0) for row in _routing_rows("knn")]
    level = [replace(r, student_minus_ci_low=-0.005, student_minus_ci_high=0.005) for r in unknown]
    found = _decide(routing=level)["universal-or-routing"]
    assert found.verdict == "undecided"
    assert set(found.evidence[MISSING]) == {"how many parameters are in use"}


def test_an_open_question_says_how_much_would_have_been_seen() -> None:
    rows = [replace(row, n_clips=54) for row in _routing_rows("linear")]
    found = _decide(routing=rows, variance=[], errors=[])
    general = found["general-or-mixture"]
    assert general.verdict == found["universal-or-routing"].verdict == "undecided"
    assert general.evidence[DETECTABLE] == {"speech": 0.01, "machines": 0.01}
    assert "two controls or more, to hold shared errors against" in general.evidence[MISSING]
    few = "100 test clips of machines, of which there are 54"
    assert all(few in one.evidence[MISSING] for one in found.values())
    assert "usad evaluate" in general.evidence[MISSING][few]


def test_the_mean_may_be_of_the_tasks_with_intervals() -> None:
    rows = [replace(row, task="mean of tasks with intervals") for row in _routing_rows("linear")]
    assert _decide(routing=rows)["universal-or-routing"].verdict == "routing"


def test_explained_is_the_last_layer_of_taught_domains() -> None:
    variance = [
        VarianceRow(
            domain=domain, layer=layer, corrected_total=0.1 * layer, n_clips=300, n_clusters=30
        )
        for domain in ("speech", "machines")
        for layer in (2, 4)
    ]
    found = _decide(routing=_routing_rows("linear"), variance=variance)
    assert found["general-or-mixture"].evidence["explained share"] == {
        "speech": "+0.400, no interval, n = 300"
    }
