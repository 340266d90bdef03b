"""Verdicts: the three questions and the falsifiers, decided by rules fixed beforehand.

A verdict needs evidence on every condition of its rule. Where one is missing or its
interval reaches over the threshold, the verdict is "undecided", and the evidence says what
is missing. Sources of the rules: ``rules.toml``, quoted in every report.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from usad_workbench.core.diagnosis.rules import InheritanceRules, Rules

UNDECIDED = "undecided"
NOT_MEASURED = "not measured"
NOT_TESTABLE = "not testable"


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """The answer to one question, the rule that gave it, and the numbers behind it."""

    question: str
    """general-or-mixture, universal-or-routing, falsified or inherited."""
    verdict: str
    rule: str
    evidence: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A number with its interval as the rules read it."""

    value: float
    ci_low: float
    ci_high: float
    n_clips: int

    def is_above(self, level: float) -> bool:
        """Whether the whole interval lies above the level."""
        return math.isfinite(self.ci_low) and self.ci_low > level

    def is_below(self, level: float) -> bool:
        """Whether the whole interval lies below the level."""
        return math.isfinite(self.ci_high) and self.ci_high < level

    def words(self) -> str:
        """The number as evidence.

        >>> Estimate(value=.1, ci_low=0., ci_high=.2, n_clips=90).words()
        '+0.100 [+0.000, +0.200], n = 90'
        """
        if not (math.isfinite(self.ci_low) and math.isfinite(self.ci_high)):
            return f"{self.value:+.3f}, no interval, n = {self.n_clips}"
        return f"{self.value:+.3f} [{self.ci_low:+.3f}, {self.ci_high:+.3f}], n = {self.n_clips}"


Estimates = Mapping[str, Estimate]
"""By domain."""


def general_or_mixture(
    explained: Estimates,
    gains: Estimates,
    error_excess: Estimates,
    specificity: Estimate | None,
    rules: Rules,
) -> Verdict:
    """Whether the student is more general than its teachers, or a mixture of them.

    Args:
        explained: Share of the student that the teachers explain (corrected R2), per domain.
        gains: Student minus mixture baseline on the tasks of each unseen domain.
        error_excess: Shared errors with its teacher above the controls, per domain.
        specificity: What it gains over its best teacher on taught domains minus the same on
            unseen ones.
        rules: Thresholds.

    >>> from usad_workbench.core.diagnosis.rules import load_rules
    >>> found = general_or_mixture({}, {}, {}, None, load_rules()[0])
    >>> found.verdict, found.evidence["explained share"]
    ('undecided', 'not measured')
    """
    mixture, general = rules.mixture, rules.general
    judged = {d: g for d, g in gains.items() if g.n_clips >= rules.min_clips}
    better = [d for d, g in judged.items() if g.is_above(0.0)]
    no_gain = [d for d, g in judged.items() if g.ci_high <= rules.margin]
    shared = [d for d, e in error_excess.items() if e.is_above(0.0)]
    is_explained = bool(explained) and all(e.value >= mixture.explained for e in explained.values())
    verdict = UNDECIDED
    if specificity is not None and specificity.is_above(0.0):
        verdict = "benchmark-optimised"
    elif (
        is_explained
        and judged
        and len(no_gain) == len(judged)
        and len(shared) >= mixture.min_error_domains
    ):
        verdict = "mostly mixture"
    elif (
        judged and len(better) >= general.unseen_share * len(judged) and error_excess and not shared
    ):
        verdict = "more general"
    rule = (
        f"mostly mixture: the teachers explain at least {mixture.explained:.0%} of the student in "
        f"every domain, its gain over the mixture baseline on unseen domains is at most "
        f"{rules.margin:.0%} (upper limit), and it shares errors above the controls in at least "
        f"{mixture.min_error_domains} domains; more general: a gain above 0 in at least "
        f"{general.unseen_share:.0%} of the unseen domains and no shared errors above the "
        f"controls; benchmark-optimised: its lead over the best teacher is larger on taught than "
        f"on unseen domains; domains with fewer than {rules.min_clips} test clips decide nothing"
    )
    return Verdict(
        question="general-or-mixture", verdict=verdict, rule=rule,
        evidence={
            "explained share": _words(explained),
            "gain over the mixture on unseen domains": _words(gains),
            "shared errors above controls": _words(error_excess),
            "lead on taught minus lead on unseen domains":
                NOT_MEASURED if specificity is None else specificity.words(),
        },
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class AgainstRouter:
    """The student beside the domain router in one domain."""

    lead: Estimate
    """Student minus the oracle domain router."""
    cost_ratio: float
    """Parameters in use of the student divided by those of the router; NaN if unknown."""
    break_even: float
    """Accuracy at which a router is as good as the student; NaN if unknown."""
    router_accuracy: Estimate | None
    """How often the learned router is right; none where no route is right."""

    def is_universal(self, margin: float) -> bool:
        """Whether the student is the better choice: as good for less, or routes fail."""
        as_good = self.lead.is_above(-margin) and self.cost_ratio < 1.0
        known = self.router_accuracy
        return as_good or (known is not None and known.is_below(self.break_even))

    def is_routing(self, margin: float) -> bool:
        """Whether the learned router is the better choice."""
        known = self.router_accuracy
        pays = known is not None and known.is_above(self.break_even)
        return self.lead.is_below(-margin) and pays


def universal_or_routing(domains: Mapping[str, AgainstRouter], rules: Rules) -> Verdict:
    """One universal encoder, or routing the input to the specialists.

    Args:
        domains: The student beside the router, per domain; each is judged by itself, since
            a router that fails in one domain says nothing about another.
        rules: Thresholds.
    """
    judged = [one for one in domains.values() if one.lead.n_clips >= rules.min_clips]
    verdict = UNDECIDED
    if judged and all(one.is_universal(rules.margin) for one in judged):
        verdict = "universal"
    elif any(one.is_routing(rules.margin) for one in judged):
        verdict = "routing"
    rule = (
        f"universal: in every domain either not worse than the oracle domain router by "
        f"{rules.margin:.0%} (lower limit) at fewer parameters in use, or the learned router is "
        "right less often than the break-even accuracy (upper limit); routing: in a domain worse "
        "by more than that (upper limit), and the learned router is right more often than the "
        f"break-even accuracy (lower limit); domains with fewer than {rules.min_clips} test clips "
        "decide nothing"
    )
    return Verdict(
        question="universal-or-routing", verdict=verdict, rule=rule,
        evidence={
            "student minus oracle domain router": {d: e.lead.words() for d, e in domains.items()},
            "parameters in use, student / specialist":
                {d: _rounded(e.cost_ratio) for d, e in domains.items()},
            "break-even accuracy of a router":
                {d: _rounded(e.break_even) for d, e in domains.items()},
            "learned router's accuracy":
                {d: e.router_accuracy.words() if e.router_accuracy else NOT_MEASURED
                 for d, e in domains.items()},
        },
    )  # fmt: skip


def _rounded(value: float) -> float | str:
    return round(value, 3) if math.isfinite(value) else NOT_MEASURED


@dataclass(frozen=True, kw_only=True, slots=True)
class StageChange:
    """What the second stage changed in one domain."""

    estimate: Estimate
    """Second stage minus first, mean of the domain's tasks that have intervals."""
    q_value: float
    """Over the domains."""

    def is_loss(self, rules: Rules) -> bool:
        """Whether the second stage is worse by more than the margin."""
        return self.estimate.is_below(-rules.margin) and self.q_value <= rules.alpha

    def words(self) -> str:
        """The change as evidence."""
        if not math.isfinite(self.q_value):
            return self.estimate.words()
        return f"{self.estimate.words()}, q = {self.q_value:.2g}"


def falsified(
    unseen: Estimates,
    stage_2: Mapping[str, StageChange] | None,
    llm: Mapping[str, str],
    supervised: Mapping[str, Mapping[str, Estimate]],
    rules: Rules,
) -> Verdict:
    """Whether one of the named falsifiers holds.

    Args:
        unseen: Student minus the best single teacher, per unseen domain.
        stage_2: What the second stage changed, by domain; none where it is not compared.
        llm: Imported results of an LLM benchmark, in words; they have no intervals and
            decide nothing.
        supervised: For each supervised encoder, it minus the student per domain.
        rules: Thresholds.
    """
    judged = {d: e for d, e in unseen.items() if e.n_clips >= rules.min_clips}
    worse = [d for d, e in judged.items() if e.is_below(-rules.margin)]
    on_unseen = bool(judged) and len(worse) > rules.falsified.unseen_share * len(judged)
    winners = [
        name
        for name, domains in supervised.items()
        if domains and all(e.is_above(0.0) for e in domains.values())
    ]
    changes = {d: c for d, c in (stage_2 or {}).items() if c.estimate.n_clips >= rules.min_clips}
    losses = [d for d, c in changes.items() if c.is_loss(rules)]
    reasons = [
        *(["fails on unseen domains"] if on_unseen else []),
        *([f"the second stage makes it worse in {', '.join(losses)}"] if losses else []),
        *([f"{winners[0]} is better everywhere"] if winners else []),
    ]
    measured = bool(judged) and bool(changes) and bool(supervised)
    verdict = "falsified: " + ", ".join(reasons) if reasons else UNDECIDED
    if not reasons and measured and _none_open(judged, changes, supervised, rules):
        verdict = "not falsified"
    rule = (
        f"falsified if the student is worse than its best single teacher by more than "
        f"{rules.margin:.0%} (upper limit) in more than {rules.falsified.unseen_share:.0%} of the "
        f"unseen domains, or the second stage is worse than the first by more than "
        f"{rules.margin:.0%} (upper limit) in a domain with a q-value at or below {rules.alpha:g} "
        "(Benjamini-Hochberg over domains), or one supervised encoder is better in every domain "
        "(each interval above 0: an intersection-union test); not falsified if the intervals "
        f"rule out each of them; domains with fewer than {rules.min_clips} test clips decide "
        "neither the first nor the second"
    )
    return Verdict(
        question="falsified", verdict=verdict, rule=rule,
        evidence={
            "student minus best teacher on unseen domains": _words(unseen),
            "second stage minus first":
                {d: c.words() for d, c in (stage_2 or {}).items()} or NOT_MEASURED,
            "after alignment to an LLM": dict(llm) or NOT_MEASURED,
            "supervised encoder minus student":
                {name: _words(domains) for name, domains in supervised.items()} or NOT_MEASURED,
        },
    )  # fmt: skip


def _none_open(
    judged: Estimates,
    changes: Mapping[str, StageChange],
    supervised: Mapping[str, Estimates],
    rules: Rules,
) -> bool:
    """Whether every falsifier is ruled out, rather than only not shown."""
    unseen_fine = all(e.is_above(-rules.margin) for e in judged.values())
    stages_fine = all(c.estimate.is_above(-rules.margin) for c in changes.values())
    beaten = all(any(e.is_below(0.0) for e in domains.values()) for domains in supervised.values())
    return unseen_fine and stages_fine and beaten


def inherited(rows: Sequence[Mapping[str, Any]], rules: Rules) -> Verdict:
    """What the student took from its teachers beyond what controls show.

    Args:
        rows: Of the panel ``inheritance``.
        rules: Thresholds.

    >>> from usad_workbench.core.diagnosis.rules import load_rules
    >>> row = {"teacher": "t", "domain": "speech", "measure": "mutual_knn", "inherited": "no",
    ...     "excess": .1, "ci_low": -2.1, "ci_high": 2.3, "n_clips": 200}
    >>> found = inherited([row], load_rules()[0])
    >>> found.verdict, found.evidence["t"]["speech"]
    ('undecided', 'undecided: an excess of up to +2.300 is not ruled out')
    """
    pairs: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        pairs.setdefault((str(row["teacher"]), str(row["domain"])), []).append(row)
    evidence: dict[str, dict[str, str]] = {}
    for (teacher, domain), cells in pairs.items():
        evidence.setdefault(teacher, {})[domain] = _answer(cells, rules.inheritance)
    answers = [answer for domains in evidence.values() for answer in domains.values()]
    found = [
        f"{teacher} in {', '.join(d for d, answer in domains.items() if answer == 'yes')}"
        for teacher, domains in evidence.items()
        if "yes" in domains.values()
    ]
    tested = [answer for answer in answers if answer != NOT_TESTABLE]
    verdict = UNDECIDED
    if found:
        verdict = "inherited: " + "; ".join(found)
    elif answers and not tested:
        verdict = NOT_TESTABLE
    elif tested and all(answer == "no" for answer in tested):
        verdict = "no inheritance found"
    return Verdict(
        question="inherited", verdict=verdict,
        rule="yes where similarity to the teacher exceeds that of exchangeable controls with a "
        "q-value at or below 0.05 (Benjamini-Hochberg over the panel), on other clips too, and so for "
        "teacher and domain as a whole (Simes over its cells, Holm over all pairs); no where that "
        f"is not so and the upper limit of every excess is below {rules.inheritance.smallest_cka:g} "
        f"(CKA) or {rules.inheritance.smallest_mutual_knn:g} (mutual k-NN); undecided where a limit "
        "reaches higher, as with few controls it does; not testable where a domain has no "
        "exchangeable control. No inheritance is found if every pair that is testable, at least "
        "one, is a no",
        evidence=dict(evidence),
    )  # fmt: skip


def _answer(cells: Sequence[Mapping[str, Any]], rules: InheritanceRules) -> str:
    """The answer for one teacher in one domain."""
    given = {str(cell["inherited"]) for cell in cells}
    if "yes" in given:
        return "yes"
    if "no" not in given:
        return NOT_TESTABLE
    reached = [
        limit
        for cell in cells
        if cell["inherited"] == "no"
        and (limit := _limit(cell)) >= rules.smallest_excess(str(cell["measure"]))
    ]
    if not reached:
        return "no"
    reach = f"up to {max(reached):+.3f}" if math.isfinite(max(reached)) else "any size"
    return f"{UNDECIDED}: an excess of {reach} is not ruled out"


def _limit(cell: Mapping[str, Any]) -> float:
    """The upper limit of a cell's excess; infinite where none is known."""
    high = cell.get("ci_high")
    return float(high) if high is not None and math.isfinite(high) else math.inf


def _words(estimates: Estimates) -> dict[str, str] | str:
    return {name: one.words() for name, one in estimates.items()} or NOT_MEASURED
