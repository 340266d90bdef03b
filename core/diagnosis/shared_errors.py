"""Whether the student makes its teachers' mistakes in a domain, as the verdicts read the panel.

The panel has many cells, and the best of them stands out by chance (4 of 18 diagnoses in which
nothing was copied). So a domain is a "yes" only where a cell is one after correction over the
panel, and a "no" only where every tested cell is.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from usad_workbench.core.diagnosis.panels.errors import ErrorsRow
from usad_workbench.core.diagnosis.rules import Rules
from usad_workbench.core.diagnosis.verdicts import UNDECIDED, Answer, Estimate, limit_at


@dataclass(frozen=True, kw_only=True, slots=True)
class SharedErrors:
    """The answer for one domain, and the cell that it rests on."""

    answer: Answer
    words: str
    """With the excess of that cell, its interval and the size that could have been found."""


def shared_errors(rows: Sequence[ErrorsRow], rules: Rules) -> dict[str, SharedErrors]:
    """By domain; one without a tested cell is left out.

    >>> from usad_workbench.core.diagnosis.rules import shipped_rules
    >>> row = ErrorsRow(task="digit", domain="speech", teacher="t", protocol="linear", n_test=9,
    ...     n_clips=9, copied="undecided", excess=.1, excess_ci_low=-.2, excess_ci_high=.4, df=3.,
    ...     detectable=.3, q_value=.4)
    >>> shared_errors([row], shipped_rules())["speech"].words
    'undecided: an excess up to +0.400 is not ruled out (t on digit); one of +0.300 could have been found'
    """
    by_domain: dict[str, list[ErrorsRow]] = {}
    for row in rows:
        if row.copied in ("yes", "no", "undecided"):
            by_domain.setdefault(str(row.domain), []).append(row)
    return {domain: _of_domain(tested, rules) for domain, tested in by_domain.items()}


def _of_domain(rows: Sequence[ErrorsRow], rules: Rules) -> SharedErrors:
    copied = [row for row in rows if row.copied == "yes"]
    if copied:
        first = min(copied, key=lambda row: (row.pair_p_value, row.q_value))
        return SharedErrors(answer="yes", words=f"yes: {_estimate(first)}, {_cell(first)}")
    open_ones = [row for row in rows if row.copied == UNDECIDED]
    worst = max(open_ones or rows, key=lambda row: _reach(row, rules))
    if not open_ones:
        return SharedErrors(
            answer="no",
            words=f"no: largest upper limit {_upper(worst, rules):+.3f}, {_cell(worst)}, "
            f"n = {worst.n_clips}",
        )
    limit = _upper(worst, rules)
    if _reach(worst, rules) < 1:  # open for its interval leaves 0 out
        words = f"{_estimate(worst)} does not stand out after correction ({_cell(worst)})"
    else:
        words = f"an excess up to {limit:+.3f} is not ruled out ({_cell(worst)})"
    if math.isfinite(worst.detectable) and worst.detectable < 2:
        words += f"; one of {worst.detectable:+.3f} could have been found"
    return SharedErrors(answer="undecided", words=f"{UNDECIDED}: {words}")


def _reach(row: ErrorsRow, rules: Rules) -> float:
    """The upper limit in units of the smallest excess that would count."""
    return _upper(row, rules) / rules.errors.smallest_excess(row.kind)


def _upper(row: ErrorsRow, rules: Rules) -> float:
    limit = limit_at(row.excess, row.excess_ci_high, rules.alpha, row.df)
    return limit if math.isfinite(limit) else math.inf


def _estimate(row: ErrorsRow) -> str:
    return Estimate(
        value=row.excess,
        ci_low=row.excess_ci_low,
        ci_high=row.excess_ci_high,
        n_clips=row.n_clips or 0,
    ).describe()


def _cell(row: ErrorsRow) -> str:
    of_class = f", class {row.true_class}" if row.true_class else ""
    return f"{row.teacher} on {row.task}{of_class}"
