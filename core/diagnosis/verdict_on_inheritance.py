"""The verdict on inheritance: what the student took from its teachers beyond what controls show."""

from collections.abc import Sequence

from usad_workbench.core.diagnosis.excess_doubt import NOT_TESTABLE, doubt_of
from usad_workbench.core.diagnosis.panels.inheritance import InheritanceRow, tested_excess
from usad_workbench.core.diagnosis.rules import Rules
from usad_workbench.core.diagnosis.verdicts import UNDECIDED, Verdict, describe_limits

RESTS_ON = "controls"
"""Key of the evidence on inheritance that says what the choice of controls rests on."""


def inherited(rows: Sequence[InheritanceRow], rules: Rules) -> Verdict:
    """What the student took from its teachers beyond what controls show.

    Args:
        rows: Of the panel ``inheritance``.
        rules: Thresholds.

    >>> from usad_workbench.core.diagnosis.rules import shipped_rules
    >>> row = InheritanceRow(teacher="t", domain="speech", layer=1, teacher_layer=1,
    ...     measure="mutual_knn", inherited="no", excess=.1, ci_low=-.5, ci_high=.7,
    ...     n_clips=200, n_clusters=20)
    >>> verdict = inherited([row], shipped_rules())
    >>> verdict.verdict, verdict.evidence["t"]["speech"]
    ('undecided', 'undecided: an excess of up to +0.700 is not ruled out')
    """
    pairs: dict[tuple[str, str], list[InheritanceRow]] = {}
    for row in rows:
        pairs.setdefault((row.teacher, row.domain), []).append(row)
    answers: dict[str, dict[str, str]] = {}
    for (teacher, domain), cells in pairs.items():
        answers.setdefault(teacher, {})[domain] = _answer(cells, rules)
    shown = [
        f"{teacher} in {', '.join(d for d, answer in domains.items() if answer == 'yes')}"
        for teacher, domains in answers.items()
        if "yes" in domains.values()
    ]
    all_answers = [answer for domains in answers.values() for answer in domains.values()]
    tested = [answer for answer in all_answers if not answer.startswith(NOT_TESTABLE)]
    verdict = UNDECIDED
    if shown:
        verdict = "inherited: " + "; ".join(shown)
    elif all_answers and not tested:
        verdict = NOT_TESTABLE
    elif tested and all(answer == "no" for answer in tested):
        verdict = "no inheritance found"
    smallest = rules.inheritance
    rests_on = sorted({row.rests_on for row in rows if row.rests_on})
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
        f"every pair that is testable, at least one, is a no. {describe_limits(rules).capitalize()}",
        evidence={**answers, **({RESTS_ON: "; ".join(rests_on)} if rests_on else {})},
    )


def _answer(rows: Sequence[InheritanceRow], rules: Rules) -> str:
    """The answer for one teacher in one domain."""
    if any(row.inherited == "yes" for row in rows):
        return "yes"
    tested = [tested_excess(row) for row in rows if row.inherited != NOT_TESTABLE]
    if not tested:
        return NOT_TESTABLE
    doubts = [doubt for excess in tested if (doubt := doubt_of(excess, rules))]
    if not doubts:
        return "no"
    worst = max(tested, key=lambda excess: excess.upper_limit(rules.alpha))
    return f"{UNDECIDED}: {doubt_of(worst, rules) or doubts[0]}"
