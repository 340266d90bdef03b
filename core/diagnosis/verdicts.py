"""What all verdicts share: answers, estimates that a rule reads, evidence; by rules fixed beforehand.

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
MISSING = "what is missing"
"""Key of the evidence that names what would decide an open question, and the command for it."""
DETECTABLE = "smallest difference that would have been seen"
"""Key of the evidence with the half width of each interval that a rule read."""
SHOWN_CONFIDENCE = 0.95
"""Of every interval that is shown."""
Answer = Literal["yes", "no", "undecided"]


def answer_of(is_shown: bool, low: float, high: float, smallest: float) -> Answer:
    """What one tested excess says: "no" only where one that would matter is ruled out.

    Args:
        is_shown: Whether it stands out after correction over the panel.
        low: Lower limit of its interval as the rules read it.
        high: Upper limit.
        smallest: The smallest excess that would matter.

    >>> answer_of(True, .1, .3, .1), answer_of(False, -.1, .05, .1)
    ('yes', 'no')
    >>> answer_of(False, -.1, .3, .1), answer_of(False, .01, .05, .1)
    ('undecided', 'undecided')
    """
    if is_shown:
        return "yes"
    return "no" if low <= 0 <= high < smallest else "undecided"


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


def limit_at(value: float, limit: float, alpha: float, df: float = math.inf) -> float:
    """The limit of the interval at 1 - alpha, from that of the 95% interval.

    >>> limit_at(0.1, 0.3, 0.05), round(limit_at(0.1, 0.3, 0.01), 3)
    (0.3, 0.363)
    """
    reach = reach_at(alpha, df)
    return limit if reach == 1.0 else value + reach * (limit - value)


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
        low, high = (limit_at(self.value, limit, alpha) for limit in (self.ci_low, self.ci_high))
        return replace(self, ci_low=low, ci_high=high)

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


def rounded(value: float) -> float | str:
    """A number of three decimals, or the words that it was not measured."""
    return round(value, 3) if math.isfinite(value) else NOT_MEASURED


def judged_estimates(estimates: Estimates, rules: Rules) -> dict[str, Estimate]:
    """The domains with enough clips, their intervals at the level of the rules."""
    return {d: e.at(rules.alpha) for d, e in estimates.items() if e.n_clips >= rules.min_clips}


def detectable(estimates: Estimates, rules: Rules) -> dict[str, float | str]:
    """Half of the width of each interval at the level of the rules.

    >>> from usad_workbench.core.diagnosis.rules import shipped_rules
    >>> lead = Estimate(value=.1, ci_low=0., ci_high=.2, n_clips=90)
    >>> detectable({"speech": lead}, shipped_rules())
    {'speech': 0.1}
    """
    at_level = {name: estimate.at(rules.alpha) for name, estimate in estimates.items()}
    return {name: rounded((e.ci_high - e.ci_low) / 2) for name, e in at_level.items()}


def describe_limits(rules: Rules) -> str:
    """Which limits a rule reads and which are shown, for its text."""
    return (
        f"limits are those of {percent(1 - rules.alpha)} intervals, shown are "
        f"{percent(SHOWN_CONFIDENCE)} intervals"
    )


def describe_estimates(estimates: Estimates) -> dict[str, str] | str:
    """Each estimate with its interval, or the words that none was measured."""
    return {name: estimate.describe() for name, estimate in estimates.items()} or NOT_MEASURED
