"""Puts what the demo's diagnosis says of the family into ``docs/results``, for ``make tables``.

After ``usad demo --no-serve --short`` (or without ``--short``)::

    python -m tests.docs.answered demo-workspace
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from tests.docs.tables import RESULTS
from usad_workbench.core.diagnosis.data import DiagnosisConfig, load_diagnosis_data
from usad_workbench.core.diagnosis.record import diagnosis_document
from usad_workbench.core.diagnosis.rules import load_rules
from usad_workbench.core.diagnosis.suite import compute_diagnosis
from usad_workbench.core.diagnosis.verdict_inputs import decide
from usad_workbench.core.storage.told_recipes import told_recipes
from usad_workbench.core.storage.workspace import Workspace
from usad_workbench.workbench.output import json_value

DIGITS = 6
"""More is rounding of the machine."""


def answer_of(workspace: Workspace) -> dict[str, Any]:
    """The document of ``usad diagnose --panels inheritance`` for the family; stores nothing."""
    first, *others = told_recipes(workspace)[0].seeds
    rules, _ = load_rules(None)
    data = load_diagnosis_data(
        workspace,
        first,
        group=others,
        config=DiagnosisConfig(associations=rules.associations, rules=rules),
    )
    found = compute_diagnosis(data, ["inheritance"])
    verdicts = [one for one in decide(found, rules) if one.question == "inherited"]
    document: dict[str, Any] = json_value(diagnosis_document(found))
    document["verdicts"] = json_value(verdicts)
    return rounded(document)


def rounded(value: Any) -> Any:
    """All numbers of a document with few digits."""
    if isinstance(value, float):
        return round(value, DIGITS)
    if isinstance(value, dict):
        return {name: rounded(one) for name, one in value.items()}
    return [rounded(one) for one in value] if isinstance(value, list) else value


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workspace", type=Path, help="of the demo")
    document = answer_of(Workspace.open(parser.parse_args().workspace))
    text = json.dumps(document, indent=1, ensure_ascii=False)
    (RESULTS / "demo.json").write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
