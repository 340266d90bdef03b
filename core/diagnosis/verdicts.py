"""Verdicts: general or mixture, universal or routing, falsified; by rules fixed beforehand.

A verdict needs evidence on every condition of its rule. Where one is missing or its
interval reaches over the threshold, the verdict is "undecided", and the evidence says what
is missing. Sources of the rules: ``rules.toml``, quoted in every report. Intervals are shown
at 95%; a rule reads them stretched or shrunk to 1 - ``alpha``.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from scipy.special import ndtri, stdtrit

from usad_workbench.core.diagnosis.rules import Rules, percent

UNDECIDED = "undecided"
NOT_MEASURED = "not measured"
SHOWN_CONFIDENCE = 0.95
"""Of every interval that is shown."""
Answer = Literal["yes", "no", "undecided"]


def answer_of(is_shown: bool, low: float, high: float) -> Answer:
    """What one tested excess says: "no" is not said where its own interval leaves 0 out.

    Args:
        is_shown: Whether it stands out after correction over the panel.
        low: Lower limit of its 95% interval.
        high: Upper limit.

    >>> answer_of(True, .1, .3), answer_of(False, -.1, .3), answer_of(False, .04, .22)
    ('yes', 'no', 'undecided')
    """
    if is_shown:
        return "yes"
    return "undecided" if low > 0 or high < 0 else "no"


def reach_at(alpha: float, df: float = math.inf) -> float:
    """How many times as wide as the 95% interval the one at 1 - alpha is.

    >>> reach_at(0.05), round(reach_at(0.01), 3), round(reach_at(0.01, df=3), 3)
    (1.0, 1.314, 1.835)
    """
    if alpha == 1 - SHOWN_CONFIDENCE or math.isclose(alpha, 1 - SHOWN_CONFIDENCE):
        return 1.0
    sides = [(1 + level) / 2 for level in (1 - alpha, SHOWN_CONFIDENCE)]
    wide, shown = (ndtri(p) if math.isinf(df) else stdtrit(df, p) for p in sides)
    return float(wide / shown)


Evidence = str | float | Mapping[str, "Evidence"]
"""A number or words, or several of them by domain, encoder or benchmark."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """The answer to one question, the rule that gave it, and the numbers behind it."""

    question: str
    """general-or-mixture, universal-or-routing, falsified or inherited."""
    verdict: str
    rule: str
    evidence: Mapping[str, Evidence] = field(default_factory=dict)


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

    def at(self, alpha: float) -> "Estimate":
        """The same with the interval at 1 - alpha, as the rules read it (normal quantiles).

        >>> Estimate(value=0., ci_low=-.1, ci_high=.2, n_clips=9).at(0.32).ci_high < 0.11
        True
        """
        reach = reach_at(alpha)
        return replace(
            self,
            ci_low=self.value - reach * (self.value - self.ci_low),
            ci_high=self.value + reach * (self.ci_high - self.value),
        )

    def describe(self) -> str:
        """The number as evidence, with its 95% interval.

        >>> Estimate(value=.1, ci_low=0., ci_high=.2, n_clips=90).describe()
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
    judged = _judged(gains, rules)
    better = [d for d, g in judged.items() if g.is_above(0.0)]
    no_gain = [d for d, g in judged.items() if g.ci_high <= rules.margin]
    shared = [d for d, e in error_excess.items() if e.at(rules.alpha).is_above(0.0)]
    is_explained = bool(explained) and all(e.value >= mixture.explained for e in explained.values())
    verdict = UNDECIDED
    if specificity is not None and specificity.at(rules.alpha).is_above(0.0):
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
        f"mostly mixture: the teachers explain at least {percent(mixture.explained)} of the student in "
        f"every domain, its gain over the mixture baseline on unseen domains is at most "
        f"{percent(rules.margin)} (upper limit), and it shares errors above the controls in at least "
        f"{mixture.min_error_domains} domains; more general: a gain above 0 in at least "
        f"{percent(general.unseen_share)} of the unseen domains and no shared errors above the "
        f"controls; benchmark-optimised: its lead over the best teacher is larger on taught than "
        f"on unseen domains; {describe_limits(rules)}; domains with fewer than {rules.min_clips} "
        "test clips decide nothing"
    )
    return Verdict(
        question="general-or-mixture",
        verdict=verdict,
        rule=rule,
        evidence={
            "explained share": _describe_all(explained),
            "gain over the mixture on unseen domains": _describe_all(gains),
            "shared errors above controls": _describe_all(error_excess),
            "lead on taught minus lead on unseen domains": NOT_MEASURED
            if specificity is None
            else specificity.describe(),
        },
    )


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

    def at(self, alpha: float) -> "AgainstRouter":
        """The same with the intervals at 1 - alpha."""
        accuracy = self.router_accuracy and self.router_accuracy.at(alpha)
        return replace(self, lead=self.lead.at(alpha), router_accuracy=accuracy)

    def is_universal(self, margin: float) -> bool:
        """Whether the student is the better choice: as good for less, or routes fail."""
        as_good = self.lead.is_above(-margin) and self.cost_ratio < 1.0
        accuracy = self.router_accuracy
        return as_good or (accuracy is not None and accuracy.is_below(self.break_even))

    def is_routing(self, margin: float) -> bool:
        """Whether the learned router is the better choice."""
        accuracy = self.router_accuracy
        pays = accuracy is not None and accuracy.is_above(self.break_even)
        return self.lead.is_below(-margin) and pays


def universal_or_routing(domains: Mapping[str, AgainstRouter], rules: Rules) -> Verdict:
    """One universal encoder, or routing the input to the specialists.

    Args:
        domains: The student beside the router, per domain; each is judged by itself, since
            a router that fails in one domain says nothing about another.
        rules: Thresholds.
    """
    judged = [
        beside_router.at(rules.alpha)
        for beside_router in domains.values()
        if beside_router.lead.n_clips >= rules.min_clips
    ]
    verdict = UNDECIDED
    if judged and all(beside_router.is_universal(rules.margin) for beside_router in judged):
        verdict = "universal"
    elif any(beside_router.is_routing(rules.margin) for beside_router in judged):
        verdict = "routing"
    rule = (
        f"universal: in every domain either not worse than the oracle domain router by "
        f"{percent(rules.margin)} (lower limit) at fewer parameters in use, or the learned router is "
        "right less often than the break-even accuracy (upper limit); routing: in a domain worse "
        "by more than that (upper limit), and the learned router is right more often than the "
        f"break-even accuracy (lower limit); {describe_limits(rules)}; domains with fewer than "
        f"{rules.min_clips} test clips decide nothing"
    )
    return Verdict(
        question="universal-or-routing",
        verdict=verdict,
        rule=rule,
        evidence={
            "student minus oracle domain router": {
                d: e.lead.describe() for d, e in domains.items()
            },
            "parameters in use, student / specialist": {
                d: _rounded(e.cost_ratio) for d, e in domains.items()
            },
            "break-even accuracy of a router": {
                d: describe_break_even(e.break_even) for d, e in domains.items()
            },
            "learned router's accuracy": {
                d: e.router_accuracy.describe() if e.router_accuracy else NOT_MEASURED
                for d, e in domains.items()
            },
        },
    )


def describe_break_even(value: float) -> float | str:
    """The accuracy that a router needs, or that none does or any: an accuracy is 0 to 1.

    >>> describe_break_even(0.71234), describe_break_even(1.0)
    (0.712, 'no accuracy would do: the student is at least as good as the best route')
    """
    if not math.isfinite(value):
        return NOT_MEASURED
    if value >= 1:
        return "no accuracy would do: the student is at least as good as the best route"
    if value <= 0:
        return "any accuracy would do: the student is behind the other routes too"
    return round(value, 3)


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
        is_below = self.estimate.at(rules.alpha).is_below(-rules.margin)
        return is_below and self.q_value <= rules.alpha

    def describe(self) -> str:
        """The change as evidence."""
        if not math.isfinite(self.q_value):
            return self.estimate.describe()
        return f"{self.estimate.describe()}, q = {self.q_value:.2g}"


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
    judged = _judged(unseen, rules)
    worse = [d for d, e in judged.items() if e.is_below(-rules.margin)]
    on_unseen = bool(judged) and len(worse) > rules.falsified.unseen_share * len(judged)
    winners = [
        name
        for name, domains in supervised.items()
        if domains and all(e.at(rules.alpha).is_above(0.0) for e in domains.values())
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
        f"{percent(rules.margin)} (upper limit) in more than "
        f"{percent(rules.falsified.unseen_share)} of the "
        f"unseen domains, or the second stage is worse than the first by more than "
        f"{percent(rules.margin)} (upper limit) in a domain with a q-value at or below {rules.alpha:g} "
        "(Benjamini-Hochberg over domains), or one supervised encoder is better in every domain "
        "(each interval above 0: an intersection-union test); not falsified if the intervals "
        f"rule out each of them; {describe_limits(rules)}; domains with fewer than {rules.min_clips} test clips decide "
        "neither the first nor the second"
    )
    return Verdict(
        question="falsified",
        verdict=verdict,
        rule=rule,
        evidence={
            "student minus best teacher on unseen domains": _describe_all(unseen),
            "second stage minus first": {d: c.describe() for d, c in (stage_2 or {}).items()}
            or NOT_MEASURED,
            "after alignment to an LLM": dict(llm) or NOT_MEASURED,
            "supervised encoder minus student": {
                name: _describe_all(domains) for name, domains in supervised.items()
            }
            or NOT_MEASURED,
        },
    )


def _none_open(
    judged: Estimates,
    changes: Mapping[str, StageChange],
    supervised: Mapping[str, Estimates],
    rules: Rules,
) -> bool:
    """Whether every falsifier is ruled out, rather than only not shown."""
    unseen_fine = all(e.is_above(-rules.margin) for e in judged.values())
    stages_fine = all(c.estimate.at(rules.alpha).is_above(-rules.margin) for c in changes.values())
    beaten = all(
        any(e.at(rules.alpha).is_below(0.0) for e in domains.values())
        for domains in supervised.values()
    )
    return unseen_fine and stages_fine and beaten


def _judged(estimates: Estimates, rules: Rules) -> dict[str, Estimate]:
    """The domains with enough clips, their intervals at the level of the rules."""
    return {d: e.at(rules.alpha) for d, e in estimates.items() if e.n_clips >= rules.min_clips}


def describe_limits(rules: Rules) -> str:
    """Which limits a rule reads and which are shown, for its text."""
    return (
        f"limits are those of {percent(1 - rules.alpha)} intervals, shown are "
        f"{percent(SHOWN_CONFIDENCE)} intervals"
    )


def _describe_all(estimates: Estimates) -> dict[str, str] | str:
    return {name: estimate.describe() for name, estimate in estimates.items()} or NOT_MEASURED
