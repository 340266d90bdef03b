"""From panels to verdicts: which rows the rules read.

Routing and errors are read by the linear probe where it was evaluated, else by k-NN. A
domain's number is the mean of its tasks, of those that have an interval where some have none.

A question whose panels were computed has an answer, also where they hold nothing to decide it
by: "undecided", with what is missing and the command that gives it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from usad_workbench.core.diagnosis.comparison import ComparisonRow, changed_by_stage_2
from usad_workbench.core.diagnosis.inheritance_row import InheritanceRow
from usad_workbench.core.diagnosis.llm_results import LlmRow
from usad_workbench.core.diagnosis.panels.errors import ErrorsRow
from usad_workbench.core.diagnosis.panels.routing import RoutingRow
from usad_workbench.core.diagnosis.panels.variance import VarianceRow
from usad_workbench.core.diagnosis.rules import Rules
from usad_workbench.core.diagnosis.shared_errors import shared_errors
from usad_workbench.core.diagnosis.suite import Diagnosis
from usad_workbench.core.diagnosis.verdict_on_falsification import StageChange, falsified
from usad_workbench.core.diagnosis.verdict_on_inheritance import inherited
from usad_workbench.core.diagnosis.verdict_on_mixture import general_or_mixture
from usad_workbench.core.diagnosis.verdict_on_routing import AgainstRouter, universal_or_routing
from usad_workbench.core.diagnosis.verdicts import (
    DETECTABLE,
    MISSING,
    UNDECIDED,
    Estimate,
    Verdict,
    detectable,
)
from usad_workbench.core.diagnosis.what_is_missing import what_is_missing
from usad_workbench.core.evaluation.domain_router import LEARNED_ROUTER
from usad_workbench.core.evaluation.systems import MIXTURE, ORACLE_ROUTER
from usad_workbench.core.evaluation.tasks import MEANS

NORMAL_95 = 1.959964
"""Two-sided 95% quantile of the normal, to add variances of independent domains."""


def decide(diagnosis: Diagnosis, rules: Rules) -> list[Verdict]:
    """The verdicts on the questions for which panels were computed."""
    verdicts = []
    if "inheritance" in diagnosis.panels:
        verdicts.append(inherited(diagnosis.rows_of(InheritanceRow), rules))
    routing = _of_preferred_protocol(diagnosis.rows_of(RoutingRow))
    means = [row for row in routing if row.task in MEANS and row.domain]
    stages = changed_by_stage_2(diagnosis.rows_of(ComparisonRow))
    if "routing" in diagnosis.panels:
        verdicts.append(_general_or_mixture(diagnosis, means, rules))
        verdicts.append(_universal_or_routing(means, rules))
    if "routing" in diagnosis.panels or stages:
        verdicts.append(_falsified(diagnosis, means, stages, rules))
    return [_with_missing(one, diagnosis, means, rules) for one in verdicts]


def _with_missing(
    verdict: Verdict, diagnosis: Diagnosis, means: Sequence[RoutingRow], rules: Rules
) -> Verdict:
    """An open verdict with what would decide it, and how much would have been seen."""
    if verdict.question == "inherited" or not verdict.verdict.startswith(UNDECIDED):
        return verdict
    missing = what_is_missing(diagnosis, verdict.question, means, rules.min_clips)
    system = MIXTURE if verdict.question == "general-or-mixture" else ORACLE_ROUTER
    seen = detectable({r.domain: _student_minus(r) for r in means if r.system == system}, rules)
    if verdict.question == "falsified":
        seen = {}
    more = {DETECTABLE: seen} if seen else {}
    return replace(
        verdict,
        evidence={**verdict.evidence, **more, **({MISSING: dict(missing)} if missing else {})},
    )


def _general_or_mixture(diagnosis: Diagnosis, means: Sequence[RoutingRow], rules: Rules) -> Verdict:
    mixture = {row.domain: _student_minus(row) for row in means if row.system == MIXTURE}
    return general_or_mixture(
        explained=_explained(diagnosis),
        gains={d: e for d, e in mixture.items() if d in diagnosis.unseen_domains},
        errors=shared_errors(_of_preferred_protocol(diagnosis.rows_of(ErrorsRow)), rules),
        specificity=_specificity(diagnosis, means),
        rules=rules,
    )


def _universal_or_routing(means: Sequence[RoutingRow], rules: Rules) -> Verdict:
    own = {row.domain: row.n_params for row in means if row.role == "student"}
    learned = {row.domain: row for row in means if row.system == LEARNED_ROUTER}
    domains = {
        row.domain: AgainstRouter(
            lead=_student_minus(row),
            cost_ratio=own[row.domain] / row.n_params if row.n_params > 0 else math.nan,
            break_even=row.break_even,
            router_accuracy=_router_accuracy(learned.get(row.domain)),
        )
        for row in means
        if row.system == ORACLE_ROUTER
    }
    return universal_or_routing(domains, rules)


def _router_accuracy(learned: RoutingRow | None) -> Estimate | None:
    """None where the domain has no learned router, or no route in it is right."""
    if learned is None or not math.isfinite(learned.router_accuracy):
        return None
    return Estimate(
        value=learned.router_accuracy,
        ci_low=learned.router_ci_low,
        ci_high=learned.router_ci_high,
        n_clips=learned.n_clips,
    )


def _falsified(
    diagnosis: Diagnosis,
    means: Sequence[RoutingRow],
    stages: Mapping[str, StageChange] | None,
    rules: Rules,
) -> Verdict:
    single = [row for row in means if row.role in ("teacher", "control")]
    best: dict[str, RoutingRow] = {}
    for row in single:
        is_unseen = row.domain in diagnosis.unseen_domains and row.role == "teacher"
        beaten = best[row.domain].value if row.domain in best else -math.inf
        if is_unseen and row.value > beaten:
            best[row.domain] = row
    others: dict[str, dict[str, Estimate]] = {}
    for row in single:
        difference = _student_minus(row)
        others.setdefault(row.system, {})[row.domain] = Estimate(
            value=-difference.value,
            ci_low=-difference.ci_high,
            ci_high=-difference.ci_low,
            n_clips=difference.n_clips,
        )
    return falsified(
        unseen={domain: _student_minus(row) for domain, row in best.items()},
        stage_2=stages,
        llm=_describe_llm(diagnosis.rows_of(LlmRow)),
        supervised=others,
        rules=rules,
        n_teachers=len({row.system for row in single if row.role == "teacher"}),
    )


def _explained(diagnosis: Diagnosis) -> dict[str, Estimate]:
    """The corrected total of the student's last layer, per taught domain."""
    rows = diagnosis.rows_of(VarianceRow)
    last = max((row.layer for row in rows), default=0)
    return {
        row.domain: Estimate(
            value=row.corrected_total, ci_low=math.nan, ci_high=math.nan, n_clips=row.n_clips
        )
        for row in rows
        if row.layer == last and row.domain not in diagnosis.unseen_domains
    }


def _specificity(diagnosis: Diagnosis, means: Sequence[RoutingRow]) -> Estimate | None:
    """The lead over the best teacher on taught domains minus that on unseen ones."""
    leads: dict[bool, list[Estimate]] = {True: [], False: []}
    for domain in diagnosis.domains:
        teachers = [row for row in means if row.domain == domain and row.role == "teacher"]
        if teachers:
            best = max(teachers, key=lambda row: row.value)
            leads[domain in diagnosis.unseen_domains].append(_student_minus(best))
    taught, unseen = leads[False], leads[True]
    if not taught or not unseen:
        return None
    sides = [(sum(e.value for e in side) / len(side), _variance(side)) for side in (taught, unseen)]
    value = sides[0][0] - sides[1][0]
    half = NORMAL_95 * math.sqrt(sides[0][1] + sides[1][1])
    return Estimate(
        value=value,
        ci_low=value - half,
        ci_high=value + half,
        n_clips=sum(e.n_clips for e in (*taught, *unseen)),
    )


def _variance(estimates: Sequence[Estimate]) -> float:
    """Of the mean of independent estimates; NaN if one has no interval."""
    errors = [(estimate.ci_high - estimate.ci_low) / (2 * NORMAL_95) for estimate in estimates]
    return sum(error**2 for error in errors) / len(errors) ** 2


def _describe_llm(rows: Sequence[LlmRow]) -> dict[str, str]:
    """By benchmark and encoder: the student minus it, mean over the tasks that both have."""
    differences: dict[str, list[float]] = {}
    for row in rows:
        if row.other:
            name = f"{row.benchmark}, student minus {row.other}"
            differences.setdefault(name, []).append(row.student_minus)
    return {
        name: f"{sum(values) / len(values):+.3f}, no interval, n = {len(values)} tasks"
        for name, values in differences.items()
    }


def _student_minus(row: RoutingRow) -> Estimate:
    return Estimate(
        value=row.student_minus,
        ci_low=row.student_minus_ci_low,
        ci_high=row.student_minus_ci_high,
        n_clips=row.n_clips,
    )


ProbedRow = TypeVar("ProbedRow", RoutingRow, ErrorsRow)


def _of_preferred_protocol(rows: Sequence[ProbedRow]) -> list[ProbedRow]:
    """The rows of the linear probe where it was evaluated, else of the first other protocol."""
    protocols = {str(row.protocol) for row in rows}
    chosen = "linear" if "linear" in protocols else min(protocols, default="")
    return [row for row in rows if row.protocol == chosen]
