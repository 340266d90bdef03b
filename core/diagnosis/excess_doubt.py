"""Whether an excess over peers and placebos that is not shown may be called absent."""

import math
from dataclasses import dataclass, replace

from usad_workbench.core.diagnosis.rules import Rules

NOT_TESTABLE = "not testable"


@dataclass(frozen=True, kw_only=True, slots=True)
class TestedExcess:
    """An excess with its interval as the rules read it; NaN where a limit is unknown."""

    __test__ = False  # no test class, whatever pytest makes of the name

    value: float
    ci_low: float
    ci_high: float
    detectable: float
    """The smallest excess whose interval would have left 0 out."""
    level: float
    """The similarity that everybody has; NaN of a reading that says no size."""

    def at(self, ci_low: float, ci_high: float) -> "TestedExcess":
        """The same with the limits at another level."""
        return replace(self, ci_low=ci_low, ci_high=ci_high)


def doubt_of(excess: TestedExcess, rules: Rules) -> str:
    """Why an excess that is not shown is no "no" either; empty where it is one.

    Args:
        excess: That could be tested, with limits at 1 - ``rules.alpha``.
        rules: Level, and the excess that would matter.

    >>> from usad_workbench.core.diagnosis.rules import shipped_rules
    >>> excess = TestedExcess(value=.05, ci_low=.01, ci_high=.07, detectable=.03, level=.8)
    >>> doubt_of(excess, shipped_rules())
    'its interval lies above 0, but it does not stand out after correction'
    >>> doubt_of(replace(excess, ci_low=-.01, ci_high=.1), shipped_rules())
    'an excess of up to +0.100 is not ruled out, +0.080 would matter; one of 0.030 could have been found'
    >>> doubt_of(replace(excess, ci_low=-.01, ci_high=.05), shipped_rules())
    ''
    """
    if math.isnan(excess.ci_high):
        return "no excess is ruled out: it has no interval"
    if excess.ci_low > 0:
        return "its interval lies above 0, but it does not stand out after correction"
    smallest = rules.inheritance.smallest_share * excess.level
    if excess.ci_high >= smallest:
        return (
            f"an excess of up to {excess.ci_high:+.3f} is not ruled out, {max(smallest, 0.0):+.3f} would "
            f"matter; one of {excess.detectable:.3f} could have been found"
        )
    return ""
