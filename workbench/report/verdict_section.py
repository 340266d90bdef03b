"""The first part of the report: what was decided, by which rule, on which numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

from usad_workbench.core.diagnosis.verdicts import Verdict
from usad_workbench.workbench.presenters.diagnosis.verdicts import (
    describe_question,
    is_open,
    meaning,
)
from usad_workbench.workbench.report.markup import Html, tag
from usad_workbench.workbench.report.tables import matrix, pairs


def verdict_section(verdicts: Sequence[Verdict]) -> Html:
    """One card per question; says so where there is none."""
    if not verdicts:
        cards = [
            tag("p", "The panels that the rules need were not computed, so nothing is decided.")
        ]
    else:
        cards = [verdict_card(one) for one in verdicts]
    return tag(
        "section",
        tag("h2", "Verdicts"),
        tag(
            "p",
            "Decided by rules that were fixed beforehand, quoted below. “Undecided” is a "
            "verdict, and the usual one on few clips.",
            class_="lead",
        ),
        tag("div", *cards, class_="verdicts"),
        id="verdicts",
    )


def verdict_card(verdict: Verdict) -> Html:
    """Question, answer, what the answer means, evidence, rule."""
    return tag(
        "article",
        tag("h3", describe_question(verdict.question)),
        tag("p", verdict.verdict[:1].upper() + verdict.verdict[1:], class_="answer"),
        tag("p", meaning(verdict.verdict)) if meaning(verdict.verdict) else None,
        tag("h4", "Evidence"),
        evidence(verdict.evidence),
        tag("p", tag("b", "Rule. "), verdict.rule, class_="rule"),
        class_="verdict open" if is_open(verdict.verdict) else "verdict",
        id=f"verdict-{verdict.question}",
    )


def evidence(values: Mapping[str, Any]) -> Html:
    """Evidence as it was given: a table where all of it is names by names, else one by one."""
    if not values:
        return tag("p", "none", class_="none")
    flat = {name: one for name, one in values.items() if isinstance(one, Mapping) and _is_flat(one)}
    rest = [(str(name), _value(one)) for name, one in values.items() if name not in flat]
    if flat and not any(isinstance(values[name], Mapping) for name, _ in rest):
        # Names by names, as teachers by domains; what is said of all of them stands below.
        more = pairs(rest) if rest else None
        return tag("div", matrix(flat), more, class_="scroll")
    return tag("div", pairs([(str(k), _value(v)) for k, v in values.items()]), class_="scroll")


def _is_flat(values: Mapping[str, Any]) -> bool:
    return bool(values) and not any(isinstance(one, Mapping) for one in values.values())


def _value(value: Any) -> Any:
    if isinstance(value, Mapping):
        return evidence(value)
    if isinstance(value, (list, tuple)):
        return ", ".join(str(one) for one in value)
    return value
