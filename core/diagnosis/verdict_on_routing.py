"""The verdict whether a student is universal, or whether routing to its teachers does as well."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from usad_workbench.core.diagnosis.rules import Rules, percent
from usad_workbench.core.diagnosis.verdicts import (
    NOT_MEASURED,
    UNDECIDED,
    Estimate,
    Verdict,
    describe_limits,
    rounded,
)

MINUS_ROUTER = "student minus oracle domain router"
"""Key of the evidence with the lead over the router, by domain."""


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
            MINUS_ROUTER: {d: e.lead.describe() for d, e in domains.items()},
            "parameters in use, student / specialist": {
                d: rounded(e.cost_ratio) for d, e in domains.items()
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
