"""The first section of the report: what was decided, by which rule, on which numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import pandas as pd
from markupsafe import Markup

from usad_workbench.core.diagnosis.inheritance_row import InheritanceRow
from usad_workbench.core.diagnosis.verdicts import Verdict
from usad_workbench.workbench.presenters.diagnosis.findings import (
    Finding,
    describe_headline,
    findings,
)
from usad_workbench.workbench.presenters.diagnosis.placebo_strip import OF_REPORT, reach_of, strip
from usad_workbench.workbench.presenters.diagnosis.verdicts import (
    describe_number,
    describe_question,
    is_open,
    meaning,
)
from usad_workbench.workbench.report.tables import Matrix, matrix


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """The numbers of a verdict: a table of names by names, or names with their values."""

    matrix: Matrix | None = None
    pairs: tuple[tuple[str, "str | Evidence"], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """One finding: who, where, what, and the teacher beside its placebos."""

    title: str
    answer: str
    picture: Markup
    """Empty where teacher or placebos have no number."""
    picture_words: str
    words: str


@dataclass(frozen=True, kw_only=True, slots=True)
class VerdictCard:
    """Question, answer, what the answer means, evidence, rule."""

    name: str
    question: str
    answer: str
    meaning: str
    is_open: bool
    number: str
    """The estimates that it rests on first, and what would have been seen; may be empty."""
    answers: tuple[Answer, ...]
    """Of the question on inheritance, one for each teacher and domain."""
    evidence: Evidence
    rule: str


def verdict_card(verdict: Verdict, rows: Sequence[InheritanceRow] = ()) -> VerdictCard:
    """A verdict as a person reads it.

    Args:
        verdict: Of one question.
        rows: Of the panel ``inheritance``, where the verdict is the one on it.
    """
    found = findings(pd.DataFrame([asdict(row) for row in rows])) if rows else []
    return VerdictCard(
        name=verdict.question,
        question=describe_question(verdict.question),
        answer=verdict.verdict[:1].upper() + verdict.verdict[1:],
        meaning=meaning(verdict.verdict),
        is_open=is_open(verdict.verdict),
        number=describe_number(verdict, describe_headline(found)),
        answers=_answers(found),
        evidence=evidence(verdict.evidence),
        rule=verdict.rule,
    )


def _answers(found: Sequence[Finding]) -> tuple[Answer, ...]:
    reach, answers = reach_of(found), []
    for one in found:
        picture, words = strip(one, reach, {}, OF_REPORT)
        told = f"{one.words}." if one.words else ""
        answers.append(
            Answer(
                title=f"{one.teacher} in {one.domain}",
                answer=one.answer,
                # Drawn here from numbers alone: names stand in the words.
                picture=Markup(picture),
                picture_words=words,
                words=" ".join(filter(None, (told, one.lacking, one.advice))),
            )
        )
    return tuple(answers)


def evidence(values: Mapping[str, object]) -> Evidence:
    """Evidence as it was given: a table where all of it is names by names, else one by one."""
    flat = {
        str(name): value
        for name, value in values.items()
        if isinstance(value, Mapping) and _is_flat(value)
    }
    rest = {str(name): value for name, value in values.items() if str(name) not in flat}
    if flat and not any(isinstance(value, Mapping) for value in rest.values()):
        # Names by names, as teachers by domains; what is said of all of them stands below.
        return Evidence(matrix=matrix(flat), pairs=_pairs(rest))
    return Evidence(pairs=_pairs(values))


def _is_flat(values: Mapping[str, object]) -> bool:
    return bool(values) and not any(isinstance(value, Mapping) for value in values.values())


def _pairs(values: Mapping[str, object]) -> tuple[tuple[str, str | Evidence], ...]:
    return tuple((str(name), _value(value)) for name, value in values.items())


def _value(value: object) -> str | Evidence:
    if isinstance(value, Mapping):
        return evidence(value)
    if isinstance(value, (list, tuple)):
        return ", ".join(str(item) for item in value)
    return "" if value is None else str(value)
