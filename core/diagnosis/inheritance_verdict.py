"""The verdict on inheritance: what the student took from its teachers beyond what controls show."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from usad_workbench.core.diagnosis.rules import Rules
from usad_workbench.core.diagnosis.verdicts import UNDECIDED, Verdict, limits_words, reach_at

NOT_TESTABLE = "not testable"
LARGEST_EXCESS = 1.0
"""No similarity exceeds another by more: both lie within 0 and 1."""
RESTS_ON = "controls"
"""Key of the evidence on inheritance that says what the choice of controls rests on."""


def inherited(rows: Sequence[Mapping[str, Any]], rules: Rules) -> Verdict:
    """What the student took from its teachers beyond what controls show.

    Args:
        rows: Of the panel ``inheritance``.
        rules: Thresholds.

    >>> from usad_workbench.core.diagnosis.rules import load_rules
    >>> row = {"teacher": "t", "domain": "speech", "measure": "mutual_knn", "inherited": "no",
    ...     "excess": .1, "ci_low": -.5, "ci_high": .7, "n_clips": 200}
    >>> found = inherited([row], load_rules()[0])
    >>> found.verdict, found.evidence["t"]["speech"]
    ('undecided', 'undecided: an excess of up to +0.700 is not ruled out')
    """
    pairs: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        pairs.setdefault((str(row["teacher"]), str(row["domain"])), []).append(row)
    answers: dict[str, dict[str, str]] = {}
    for (teacher, domain), cells in pairs.items():
        answers.setdefault(teacher, {})[domain] = _answer(cells, rules)
    found = [
        f"{teacher} in {', '.join(d for d, answer in domains.items() if answer == 'yes')}"
        for teacher, domains in answers.items()
        if "yes" in domains.values()
    ]
    given = [answer for domains in answers.values() for answer in domains.values()]
    tested = [answer for answer in given if not answer.startswith(NOT_TESTABLE)]
    verdict = UNDECIDED
    if found:
        verdict = "inherited: " + "; ".join(found)
    elif given and not tested:
        verdict = NOT_TESTABLE
    elif tested and all(answer == "no" for answer in tested):
        verdict = "no inheritance found"
    smallest = rules.inheritance
    rests_on = sorted({str(row["rests_on"]) for row in rows if row.get("rests_on")})
    return Verdict(
        question="inherited",
        verdict=verdict,
        rule="yes where similarity to the teacher exceeds that of exchangeable controls with a "
        f"q-value at or below {rules.alpha:g} (Benjamini-Hochberg over the panel), on other clips "
        "too, and so for teacher and domain as a whole (Simes over its cells, Holm over all "
        "pairs); no where that is not so, every interval holds 0 and the upper limit of every "
        f"excess is below {smallest.smallest_cka:g} (CKA) or {smallest.smallest_mutual_knn:g} "
        "(mutual k-NN); undecided where an interval leaves 0 out or a limit reaches higher, as "
        "with few controls it does; not testable where no control is a peer: a student's controls "
        "are students of the same architecture and training, as far as these are on record, a "
        "teacher's are encoders of its home domain that did not teach. No inheritance is found if "
        f"every pair that is testable, at least one, is a no. {limits_words(rules).capitalize()}",
        evidence={**answers, **({RESTS_ON: "; ".join(rests_on)} if rests_on else {})},
    )


def _answer(cells: Sequence[Mapping[str, Any]], rules: Rules) -> str:
    """The answer for one teacher in one domain."""
    if any(cell["inherited"] == "yes" for cell in cells):
        return "yes"
    tested = [cell for cell in cells if cell["inherited"] != NOT_TESTABLE]
    if not tested:
        return NOT_TESTABLE
    doubts = [one for cell in tested if (one := doubt_of(cell, rules))]
    if not doubts:
        return "no"
    worst = max(tested, key=lambda cell: _limit(cell, rules))
    return f"{UNDECIDED}: {doubt_of(worst, rules) or doubts[0]}"


def doubt_of(cell: Mapping[str, Any], rules: Rules) -> str:
    """Why an excess that is not shown is no "no" either; empty where it is one.

    Args:
        cell: A row of the panel ``inheritance`` that could be tested.
        rules: Level, and the excess that would matter.

    >>> from usad_workbench.core.diagnosis.rules import load_rules
    >>> cell = {"measure": "mutual_knn", "excess": .13, "ci_low": .04, "ci_high": .19}
    >>> doubt_of(cell, load_rules()[0])
    'its interval lies above 0, but it does not stand out after correction'
    """
    limit = _limit(cell, rules)
    if limit >= rules.inheritance.smallest_excess(str(cell["measure"])):
        reach = f"up to {limit:+.3f}" if limit < LARGEST_EXCESS else "any size"
        return f"an excess of {reach} is not ruled out"
    if _number(cell.get("ci_low")) > 0:
        return "its interval lies above 0, but it does not stand out after correction"
    if _number(cell.get("ci_high")) < 0:
        return "its interval lies below 0: controls that are nearer than the student are no peers"
    return ""


def _limit(cell: Mapping[str, Any], rules: Rules) -> float:
    """The upper limit of a cell's excess at the level of the rules; 1 where none is known."""
    high, value = _number(cell.get("ci_high")), _number(cell.get("excess"))
    if math.isnan(high):
        return LARGEST_EXCESS
    if math.isnan(value):
        return min(high, LARGEST_EXCESS)
    n_controls = len(cell.get("controls") or ())
    df = n_controls - 1 if n_controls > 1 else math.inf
    return min(value + reach_at(rules.alpha, df) * (high - value), LARGEST_EXCESS)


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
