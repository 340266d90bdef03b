"""From panels to verdicts: which rows the rules read.

Routing and errors are read by the linear probe where it was evaluated, else by k-NN. A
domain's number is the mean of its tasks.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from usad_workbench.core.diagnosis.comparison import NAME as COMPARISON
from usad_workbench.core.diagnosis.comparison import changed_by_stage_2
from usad_workbench.core.diagnosis.inheritance_verdict import inherited
from usad_workbench.core.diagnosis.llm_results import NAME as LLM
from usad_workbench.core.diagnosis.rules import Rules
from usad_workbench.core.diagnosis.suite import Diagnosis
from usad_workbench.core.diagnosis.verdicts import (
    AgainstRouter,
    Estimate,
    Verdict,
    falsified,
    general_or_mixture,
    universal_or_routing,
)
from usad_workbench.core.evaluation.systems import LEARNED_ROUTER, MIXTURE, ORACLE_ROUTER
from usad_workbench.core.evaluation.tasks import MEAN_OF_TASKS

Rows = Sequence[Mapping[str, Any]]
NORMAL_95 = 1.959964
"""Two-sided 95% quantile of the normal, to add variances of independent domains."""


def decide(diagnosis: Diagnosis, rules: Rules) -> list[Verdict]:
    """The verdicts on the questions for which panels were computed."""
    verdicts = []
    inheritance = _rows(diagnosis, "inheritance")
    if inheritance:
        verdicts.append(inherited(inheritance, rules))
    routing = _one_protocol(_rows(diagnosis, "routing"))
    means = [row for row in routing if row["task"] == MEAN_OF_TASKS and row["domain"]]
    if means:
        verdicts.append(_general_or_mixture(diagnosis, means, rules))
        verdicts.append(_universal_or_routing(means, rules))
    if means or changed_by_stage_2(_rows(diagnosis, COMPARISON)):
        verdicts.append(_falsified(diagnosis, means, rules))
    return verdicts


def _general_or_mixture(diagnosis: Diagnosis, means: Rows, rules: Rules) -> Verdict:
    mixture = {str(r["domain"]): _student_minus(r) for r in means if r["system"] == MIXTURE}
    return general_or_mixture(
        explained=_explained(diagnosis),
        gains={d: e for d, e in mixture.items() if d in diagnosis.unseen_domains},
        error_excess=_error_excess(diagnosis),
        specificity=_specificity(diagnosis, means),
        rules=rules,
    )


def _universal_or_routing(means: Rows, rules: Rules) -> Verdict:
    own = {str(r["domain"]): _number(r["n_params"]) for r in means if r["role"] == "student"}
    learned = {str(r["domain"]): r for r in means if r["system"] == LEARNED_ROUTER}
    domains = {}
    for row in means:
        if row["system"] == ORACLE_ROUTER:
            domain, size = str(row["domain"]), _number(row["n_params"])
            domains[domain] = AgainstRouter(
                lead=_student_minus(row),
                cost_ratio=own[domain] / size if size > 0 else math.nan,
                break_even=_number(row["break_even"]),
                router_accuracy=_router_accuracy(learned.get(domain)),
            )
    return universal_or_routing(domains, rules)


def _router_accuracy(learned: Mapping[str, Any] | None) -> Estimate | None:
    """None where the domain has no learned router, or no route in it is right."""
    if learned is None or not math.isfinite(_number(learned["router_accuracy"])):
        return None
    return Estimate(
        value=_number(learned["router_accuracy"]),
        ci_low=_number(learned["router_ci_low"]),
        ci_high=_number(learned["router_ci_high"]),
        n_clips=int(learned["n_clips"]),
    )


def _falsified(diagnosis: Diagnosis, means: Rows, rules: Rules) -> Verdict:
    single = [row for row in means if row["role"] in ("teacher", "control")]
    best: dict[str, Mapping[str, Any]] = {}
    for row in single:
        domain = str(row["domain"])
        is_unseen = domain in diagnosis.unseen_domains and row["role"] == "teacher"
        if is_unseen and row["value"] > best.get(domain, {"value": -math.inf})["value"]:
            best[domain] = row
    others: dict[str, dict[str, Estimate]] = {}
    for row in single:
        difference = _student_minus(row)
        others.setdefault(str(row["system"]), {})[str(row["domain"])] = Estimate(
            value=-difference.value,
            ci_low=-difference.ci_high,
            ci_high=-difference.ci_low,
            n_clips=difference.n_clips,
        )
    return falsified(
        unseen={domain: _student_minus(row) for domain, row in best.items()},
        stage_2=changed_by_stage_2(_rows(diagnosis, COMPARISON)),
        llm=_llm_words(_rows(diagnosis, LLM)),
        supervised=others,
        rules=rules,
    )


def _explained(diagnosis: Diagnosis) -> dict[str, Estimate]:
    """The corrected total of the student's last layer, per taught domain."""
    rows = _rows(diagnosis, "variance")
    last = max((int(row["layer"]) for row in rows), default=0)
    return {
        str(row["domain"]): Estimate(
            value=_number(row.get("corrected_total")),
            ci_low=math.nan,
            ci_high=math.nan,
            n_clips=int(row["n_clips"]),
        )
        for row in rows
        if int(row["layer"]) == last and row["domain"] not in diagnosis.unseen_domains
    }


def _error_excess(diagnosis: Diagnosis) -> dict[str, Estimate]:
    """The tested excess with the smallest q in each domain; domains without a test are left out."""
    found: dict[str, Mapping[str, Any]] = {}
    for row in _one_protocol(_rows(diagnosis, "errors")):
        q, domain = _number(row["q_value"]), str(row["domain"])
        if math.isfinite(q) and q < found.get(domain, {"q_value": math.inf})["q_value"]:
            found[domain] = row
    return {
        domain: Estimate(
            value=_number(row["excess"]),
            ci_low=_number(row["excess_ci_low"]),
            ci_high=_number(row["excess_ci_high"]),
            n_clips=int(row["n_clips"]),
        )
        for domain, row in found.items()
    }


def _specificity(diagnosis: Diagnosis, means: Rows) -> Estimate | None:
    """The lead over the best teacher on taught domains minus that on unseen ones."""
    leads: dict[bool, list[Estimate]] = {True: [], False: []}
    for domain in diagnosis.domains:
        teachers = [r for r in means if r["domain"] == domain and r["role"] == "teacher"]
        if teachers:
            best = max(teachers, key=lambda row: float(row["value"]))
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
    errors = [(one.ci_high - one.ci_low) / (2 * NORMAL_95) for one in estimates]
    return sum(error**2 for error in errors) / len(errors) ** 2


def _llm_words(rows: Rows) -> dict[str, str]:
    """By benchmark and encoder: the student minus it, mean over the tasks that both have."""
    differences: dict[str, list[float]] = {}
    for row in rows:
        if row["other"]:
            name = f"{row['benchmark']}, student minus {row['other']}"
            differences.setdefault(name, []).append(_number(row["student_minus"]))
    return {
        name: f"{sum(values) / len(values):+.3f}, no interval, n = {len(values)} tasks"
        for name, values in differences.items()
    }


def _student_minus(row: Mapping[str, Any]) -> Estimate:
    return Estimate(
        value=_number(row["student_minus"]),
        ci_low=_number(row["student_minus_ci_low"]),
        ci_high=_number(row["student_minus_ci_high"]),
        n_clips=int(row["n_clips"]),
    )


def _one_protocol(rows: Rows) -> Rows:
    protocols = {str(row["protocol"]) for row in rows}
    chosen = "linear" if "linear" in protocols else min(protocols, default="")
    return [row for row in rows if row["protocol"] == chosen]


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _rows(diagnosis: Diagnosis, panel: str) -> Rows:
    found = diagnosis.panels.get(panel)
    rows: Iterable[Mapping[str, Any]] = found.rows if found else ()
    return list(rows)
