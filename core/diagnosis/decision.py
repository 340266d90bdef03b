"""From panels to verdicts: which rows the rules read."""

from collections.abc import Iterable, Mapping
from typing import Any

from usad_workbench.core.diagnosis.rules import Rules
from usad_workbench.core.diagnosis.suite import Diagnosis
from usad_workbench.core.diagnosis.verdicts import Verdict, inherited


def decide(diagnosis: Diagnosis, rules: Rules) -> list[Verdict]:
    """The verdicts that the panels of a diagnosis allow."""
    verdicts = []
    rows = _rows(diagnosis, "inheritance")
    if rows:
        verdicts.append(inherited(list(rows)))
    return verdicts


def _rows(diagnosis: Diagnosis, panel: str) -> list[Mapping[str, Any]]:
    found = diagnosis.panels.get(panel)
    rows: Iterable[Mapping[str, Any]] = found.rows if found else ()
    return list(rows)
