"""Which numbers a field of a configuration can have; stands beside the field."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Between:
    """From ``low`` to ``high``; the ends belong to it unless they are left out.

    >>> Between(0, 1, without_high=True).words, Between(1).holds(0)
    ('from 0 to below 1', False)
    """

    low: float
    high: float = math.inf
    without_low: bool = False
    without_high: bool = False

    def holds(self, value: float) -> bool:
        """Whether a number is inside; one that is none is not."""
        above = value > self.low if self.without_low else value >= self.low
        below = value < self.high if self.without_high else value <= self.high
        return above and below

    @property
    def words(self) -> str:
        """The same for people."""
        if math.isinf(self.high):
            return f"more than {self.low:g}" if self.without_low else f"{self.low:g} or more"
        low = f"above {self.low:g}" if self.without_low else f"from {self.low:g}"
        return f"{low} to {'below ' if self.without_high else ''}{self.high:,g}"
