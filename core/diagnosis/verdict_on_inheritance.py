"""The verdict on inheritance: what the student has of its teachers beyond peers and placebos."""

import math
from collections.abc import Sequence

from usad_workbench.core.diagnosis.controls import NO_PEERS
from usad_workbench.core.diagnosis.excess_doubt import (
    NOT_TESTABLE,
    deciding_cell,
    doubt_of,
    kind_of,
    what_would_narrow,
)
from usad_workbench.core.diagnosis.inheritance_row import InheritanceRow
from usad_workbench.core.diagnosis.rules import Rules, percent
from usad_workbench.core.diagnosis.verdicts import UNDECIDED, Verdict, describe_limits

RESTS_ON = "controls"
"""Key of the evidence on inheritance that says what the choice of controls rests on."""
YES, NO, THROUGH = "yes", "no", "through"


def inherited(rows: Sequence[InheritanceRow], rules: Rules) -> Verdict:
    """What the student has of its teachers beyond what peers and placebos show.

    Args:
        rows: Of the panel ``inheritance``.
        rules: Thresholds.

    >>> from usad_workbench.core.diagnosis.rules import shipped_rules
    >>> row = InheritanceRow(teacher="t", domain="speech", layer=1, teacher_layer=1,
    ...     measure="debiased_linear_cka", inherited="undecided", excess=.1, ci_low=-.5, ci_high=.7,
    ...     detectable=.6, level=.5, n_clips=200, n_clusters=20)
    >>> verdict = inherited([row], shipped_rules())
    >>> verdict.verdict, verdict.evidence["t"]["speech"].split(",")[0]
    ('undecided', 'undecided: an excess of up to +0.700 is not ruled out')
    """
    pairs: dict[tuple[str, str], list[InheritanceRow]] = {}
    for row in rows:
        pairs.setdefault(row.pair, []).append(row)
    answers: dict[str, dict[str, str]] = {}
    for (teacher, domain), cells in pairs.items():
        answers.setdefault(teacher, {})[domain] = _answer(cells, rules)
    words = [answer.split(":")[0] for of in answers.values() for answer in of.values()]
    tested = [word for word in words if word != NOT_TESTABLE]
    verdict = UNDECIDED
    found = [_named(answers, "inherited", YES), *_through(answers)]
    if any(found):
        verdict = "; ".join(filter(None, found))
    elif words and not tested:
        verdict = NOT_TESTABLE
    elif tested and all(word == NO for word in tested):
        verdict = "no inheritance found"
    rests_on = sorted({row.rests_on for row in rows if row.rests_on})
    return Verdict(
        question="inherited",
        verdict=verdict,
        rule=_rule(rules),
        evidence={**answers, **({RESTS_ON: "; ".join(rests_on)} if rests_on else {})},
    )


def _rule(rules: Rules) -> str:
    of = rules.inheritance
    return (
        "The excess is what the student gained over its peers (students of the same architecture "
        "and training without this teacher) in similarity to the teacher, minus the mean of the same "
        "with placebos (encoders that never taught) in the teacher's place; without peers, "
        "similarity to the teacher minus that to encoders of its home domain that did not teach. "
        "Four readings of it count within one correction: CKA over clips of different clusters, the "
        "same with dimensions standardised, and the partial of both. Yes where it stands out from "
        "peers and from placebos, as a difference and, but for partial readings, in proportion, with a "
        f"q-value at or below {rules.alpha:g} (Benjamini-Hochberg "
        "over the panel), on other clips too, and for teacher and domain as a whole (Simes over "
        f"the cells of a pair; Holm over pairs, of which those at home have {percent(of.home_weight)} "
        "of the level until they are rejected). Through a column where it would be yes, but at "
        f"least {percent(of.carried_share)} of the excess goes once the column is erased from all "
        "encoders. No where it is not yes, every interval holds 0 and the upper limits of the readings "
        f"that are not partial are below {percent(of.smallest_share)} of the similarity that everybody "
        "has. Undecided else. Not testable where fewer than two families of "
        "placebos stand beside, or where accuracies differ by more than "
        f"{rules.margin:g} beyond their error between those that stand in one place, unless "
        "architecture and training of all are on record. No inheritance is found if every pair "
        f"that is testable, at least one, is a no. {describe_limits(rules).capitalize()}"
    )


def _named(answers: dict[str, dict[str, str]], word: str, wanted: str) -> str:
    """The pairs with an answer, behind a word; empty where there is none."""
    shown = {
        teacher: [d for d, answer in of.items() if answer.split(":")[0] == wanted]
        for teacher, of in answers.items()
    }
    named = [f"{teacher} in {', '.join(domains)}" for teacher, domains in shown.items() if domains]
    return f"{word}: {'; '.join(named)}" if named else ""


def _through(answers: dict[str, dict[str, str]]) -> list[str]:
    words = dict.fromkeys(a.split(":")[0] for of in answers.values() for a in of.values())
    return [_named(answers, word, word) for word in words if word.startswith(THROUGH)]


def _answer(rows: Sequence[InheritanceRow], rules: Rules) -> str:
    """The answer for one teacher in one domain: a word, and after a colon what it rests on."""
    tested = [row for row in rows if row.inherited != NOT_TESTABLE]
    if not tested:
        # Who is no peer, and why, stands in the rows and in a warning.
        reason = next((row.reason for row in rows if row.reason), "").split(NO_PEERS)[0]
        return f"{NOT_TESTABLE}: {reason}" if reason else NOT_TESTABLE
    row = tested[
        deciding_cell(
            [one.inherited for one in tested],
            [one.measure for one in tested],
            [one.p_value for one in tested],
            [one.ci_high for one in tested],
        )
    ]
    kind = kind_of(row.inherited)
    if kind in (YES, THROUGH):
        more = f"; {row.reason}" if row.reason else ""
        return f"{row.inherited}: {describe_excess(row)}{more}"
    if kind == NO:
        return f"{NO}: {describe_excess(row)}, the least certain of {len(tested)} cells"
    # The reason was given at the level of the rules, the limits of the row are 95% ones.
    doubt = row.reason or doubt_of(row.tested(), rules)
    narrowing = what_would_narrow(
        n_peers=len(row.peers),
        p_peers=row.p_peers,
        p_placebos=row.p_placebos,
        n_families=row.n_families,
        n_students=len(row.students),
    )
    return f"{UNDECIDED}: {doubt}; {describe_excess(row)}; {narrowing}"


def describe_excess(row: InheritanceRow) -> str:
    """The excess with its interval, what it is made of, the placebos beside it, and n.

    >>> row = InheritanceRow(teacher="t", domain="speech", layer=8, teacher_layer=4,
    ...     measure="partial_linear_cka", excess=.21, ci_low=.12, ci_high=.3, n_clips=200,
    ...     n_clusters=40, over_peers=.2, placebos={"a": -.02, "b": .01}, peers=("p", "q"))
    >>> describe_excess(row)
    'excess +0.210 [+0.120, +0.300] (partial linear cka, layer 8), over 2 peers +0.200, placebos -0.020 to +0.010, n = 200 clips in 40 clusters'
    """
    parts = [
        f"excess {row.excess:+.3f} [{row.ci_low:+.3f}, {row.ci_high:+.3f}]"
        + f" ({row.measure.replace('_', ' ')}, layer {row.layer})"
    ]
    if row.peers:
        parts.append(f"over {len(row.peers)} peers {row.over_peers:+.3f}")
    if row.placebos:
        low, high = min(row.placebos.values()), max(row.placebos.values())
        parts.append(f"placebos {low:+.3f} to {high:+.3f}")
    if row.carrier and math.isfinite(row.excess_after_erasure):
        parts.append(
            f"{row.excess_after_erasure:+.3f} without {row.carrier} "
            f"({row.excess_by_chance:+.3f} with values of other clusters in its place)"
        )
    parts.append(f"n = {row.n_clips} clips in {row.n_clusters} clusters")
    return ", ".join(parts)
