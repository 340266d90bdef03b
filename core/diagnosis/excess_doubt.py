"""Whether an excess over the controls that is not shown may be called absent."""

import math
from dataclasses import dataclass

from usad_workbench.core.diagnosis.rules import Rules
from usad_workbench.core.diagnosis.verdicts import limit_at

NOT_TESTABLE = "not testable"
LARGEST_EXCESS = 1.0
"""No similarity exceeds another by more: both lie within 0 and 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TestedExcess:
    """A similarity above that of controls, as the rules read it; NaN where a limit is unknown."""

    __test__ = False  # no test class, whatever pytest makes of the name

    measure: str
    value: float
    ci_low: float
    """Limits of its 95% interval."""
    ci_high: float
    n_controls: int

    def limits(self, alpha: float) -> tuple[float, float]:
        """The limits at 1 - alpha, not above 1; NaN where none is known."""
        if math.isnan(self.value):
            return self.ci_low, min(self.ci_high, LARGEST_EXCESS)
        df = self.n_controls - 1 if self.n_controls > 1 else math.inf
        low, high = (limit_at(self.value, x, alpha, df) for x in (self.ci_low, self.ci_high))
        return low, min(high, LARGEST_EXCESS)

    def upper_limit(self, alpha: float) -> float:
        """The upper limit at 1 - alpha; 1 where none is known."""
        return LARGEST_EXCESS if math.isnan(self.ci_high) else self.limits(alpha)[1]


def doubt_of(excess: TestedExcess, rules: Rules) -> str:
    """Why an excess that is not shown is no "no" either; empty where it is one.

    Args:
        excess: That could be tested.
        rules: Level, and the excess that would matter.

    >>> from usad_workbench.core.diagnosis.rules import shipped_rules
    >>> excess = TestedExcess(
    ...     measure="mutual_knn", value=.13, ci_low=.04, ci_high=.19, n_controls=0
    ... )
    >>> doubt_of(excess, shipped_rules())
    'its interval lies above 0, but it does not stand out after correction'
    """
    limit = excess.upper_limit(rules.alpha)
    if limit >= rules.inheritance.smallest_excess(excess.measure):
        reach = f"up to {limit:+.3f}" if limit < LARGEST_EXCESS else "any size"
        return f"an excess of {reach} is not ruled out"
    low, high = excess.limits(rules.alpha)
    if low > 0:
        return "its interval lies above 0, but it does not stand out after correction"
    if high < 0:
        return "its interval lies below 0: controls that are nearer than the student are no peers"
    return ""
