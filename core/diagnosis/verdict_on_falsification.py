"""The verdict whether something that would overturn the claim of a universal student was seen."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from usad_workbench.core.diagnosis.rules import Rules, percent
from usad_workbench.core.diagnosis.verdicts import (
    NOT_MEASURED,
    UNDECIDED,
    Estimate,
    Estimates,
    Verdict,
    describe_estimates,
    describe_limits,
    judged_estimates,
)

MINUS_BEST_TEACHER = "student minus best teacher on unseen domains"
"""Key of the evidence with the lead over the best single teacher, by domain."""


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
    n_teachers: int = 1,
) -> Verdict:
    """Whether one of the named falsifiers holds.

    Args:
        unseen: Student minus the best single teacher, per unseen domain.
        stage_2: What the second stage changed, by domain; none where it is not compared.
        llm: Imported results of an LLM benchmark, in words; they have no intervals and
            decide nothing.
        supervised: For each supervised encoder, it minus the student per domain.
        rules: Thresholds.
        n_teachers: Of which the best was picked on the same clips: the level is divided by them.
    """
    judged = judged_estimates(unseen, rules)
    picked = judged_estimates(unseen, replace(rules, alpha=rules.alpha / max(1, n_teachers)))
    per_encoder = rules.alpha / max(1, len(supervised))
    worse = [d for d, e in picked.items() if e.is_below(-rules.margin)]
    on_unseen = bool(judged) and len(worse) > rules.falsified.unseen_share * len(judged)
    winners = [
        name
        for name, domains in supervised.items()
        if domains and all(e.at(per_encoder).is_above(0.0) for e in domains.values())
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
        f"{percent(rules.margin)} (upper limit, the level divided by the number of teachers, as the "
        f"best is picked on the same clips) in more than {percent(rules.falsified.unseen_share)} of the "
        f"unseen domains, or the second stage is worse than the first by more than "
        f"{percent(rules.margin)} (upper limit) in a domain with a q-value at or below {rules.alpha:g} "
        "(Benjamini-Hochberg over domains), or one supervised encoder is better in every domain "
        "(each interval above 0: an intersection-union test, the level divided by the number of "
        "encoders); not falsified if the intervals "
        f"rule out each of them; {describe_limits(rules)}; domains with fewer than {rules.min_clips} test clips decide "
        "neither the first nor the second"
    )
    return Verdict(
        question="falsified",
        verdict=verdict,
        rule=rule,
        evidence={
            MINUS_BEST_TEACHER: describe_estimates(unseen),
            "second stage minus first": {d: c.describe() for d, c in (stage_2 or {}).items()}
            or NOT_MEASURED,
            "after alignment to an LLM": dict(llm) or NOT_MEASURED,
            "supervised encoder minus student": {
                name: describe_estimates(domains) for name, domains in supervised.items()
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
