"""Whether an excess over peers and placebos that is not shown may be called absent.

And what several readings of one teacher in one domain say together.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from usad_workbench.core.diagnosis.rules import Rules

NOT_TESTABLE: Final = "not testable"
Kind = Literal["yes", "through", "undecided", "no", "not testable"]
ORDER: tuple[Kind, ...] = ("yes", "through", "undecided", "no", NOT_TESTABLE)
"""Of several readings the first that any has is the answer."""


def kind_of(inherited: str) -> Kind:
    """The kind of an answer that may name a column.

    >>> kind_of("through loudness_db"), kind_of("no"), kind_of("")
    ('through', 'no', 'not testable')
    """
    first = inherited.split(" ")[0]
    return next((one for one in ORDER if one == first), NOT_TESTABLE)


def deciding_cell(
    answers: Sequence[str],
    measures: Sequence[str],
    p_values: Sequence[float],
    uppers: Sequence[float],
) -> int:
    """Which of the cells of one teacher in one domain its answer is shown by.

    The clearest where something was found, else the least certain, of readings that are not partial
    where there is one: those rule sizes out, and a partial one has another scale.

    Args:
        answers: Of each cell.
        measures: Names of their readings.
        p_values: Likewise; NaN where nothing was tested.
        uppers: Upper limits of their intervals; NaN where unknown.

    >>> deciding_cell(["no", "undecided", "undecided"], ["partial_linear_cka"] * 3,
    ...     [.5, .4, .3], [.9, .2, .3])
    2
    """
    kinds = [kind_of(one) for one in answers]
    kind = min(kinds, key=ORDER.index)
    cells = [i for i, one in enumerate(kinds) if one == kind]
    if kind in ("yes", "through"):
        return min(cells, key=lambda i: math.inf if math.isnan(p_values[i]) else p_values[i])
    plain = [i for i in cells if not is_partial(measures[i])] or cells
    return max(plain, key=lambda i: math.inf if math.isnan(uppers[i]) else uppers[i])


def is_partial(measure: str) -> bool:
    """Whether a reading frees encoders of each other, and so says no size."""
    return "partial" in measure


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

    def at(self, ci_low: float, ci_high: float, detectable: float) -> "TestedExcess":
        """The same with the limits, and what could have been found, at another level."""
        return replace(self, ci_low=ci_low, ci_high=ci_high, detectable=detectable)


def doubt_of(excess: TestedExcess, rules: Rules) -> str:
    """Why an excess that is not shown is no "no" either; empty where it is one.

    Args:
        excess: That could be tested, with limits at 1 - ``rules.alpha``.
        rules: Level, and the excess that would matter.

    >>> from usad_workbench.core.diagnosis.rules import shipped_rules
    >>> excess = TestedExcess(value=.05, ci_low=.01, ci_high=.07, detectable=.03, level=.8)
    >>> doubt_of(excess, shipped_rules())
    'its interval lies above 0, but it does not stand out after correction'
    >>> doubt_of(excess.at(-.01, .1, .03), shipped_rules())
    'an excess of up to +0.100 is not ruled out, +0.080 would matter; one of 0.030 could have been found'
    >>> doubt_of(excess.at(-.01, .05, .03), shipped_rules())
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


def what_would_narrow(
    *, n_peers: int, p_peers: float, p_placebos: float, n_families: int, n_students: int
) -> str:
    """What would narrow the interval of an excess most, with the option or command for it.

    Args:
        n_peers: Students of the same recipe without the teacher.
        p_peers: Of the difference to them.
        p_placebos: Of the difference to placebos; NaN where none could be tested.
        n_families: Of placebos.
        n_students: Seeds of the diagnosed student.

    >>> what_would_narrow(n_peers=8, p_peers=.01, p_placebos=.2, n_families=4, n_students=8)
    'more than 4 families of placebos (`usad embed --encoders`) would narrow it'
    """
    if not n_peers:
        return "students without this teacher as peers (--controls) would narrow it"
    if p_placebos >= p_peers or math.isnan(p_placebos):
        return (
            f"more than {n_families} families of placebos (`usad embed --encoders`) would narrow it"
        )
    more = "more seeds of student and peers (--student A,B,C)" if n_students < 3 else "more peers"
    return f"{more} would narrow it"
