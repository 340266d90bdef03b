"""The first section of the report: what was decided, by which rule, on which numbers."""

from collections.abc import Mapping
from dataclasses import dataclass

from usad_workbench.core.diagnosis.verdicts import Verdict
from usad_workbench.workbench.presenters.diagnosis.verdicts import (
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
class VerdictCard:
    """Question, answer, what the answer means, evidence, rule."""

    name: str
    question: str
    answer: str
    meaning: str
    is_open: bool
    evidence: Evidence
    rule: str


def verdict_card(verdict: Verdict) -> VerdictCard:
    """A verdict as a person reads it."""
    return VerdictCard(
        name=verdict.question,
        question=describe_question(verdict.question),
        answer=verdict.verdict[:1].upper() + verdict.verdict[1:],
        meaning=meaning(verdict.verdict),
        is_open=is_open(verdict.verdict),
        evidence=evidence(verdict.evidence),
        rule=verdict.rule,
    )


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
