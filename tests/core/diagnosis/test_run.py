"""One call from a workspace to a diagnosis that is stored."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from usad_workbench.core.diagnosis.record import diagnosis_document, stored_panels
from usad_workbench.core.diagnosis.rules import (
    AssociationRule,
    load_rules,
    rules_as_toml,
    shipped_rules,
)
from usad_workbench.core.diagnosis.run import diagnose
from usad_workbench.core.errors import UnknownNameError
from usad_workbench.core.storage.workspace import Workspace

PANELS = ("similarity", "partial")


def test_what_comes_back_is_what_is_stored(copied: Workspace) -> None:
    found = diagnose(
        copied, "s", panels=PANELS, layers=(2,), n_permutations=19, n_processes=1, compare="twin"
    )
    assert list(found.panels) == [*PANELS, "comparison"]
    tables = stored_panels(copied, "s")
    assert len(tables["partial"]) == len(found.panels["partial"].rows) > 0
    assert tables["verdicts"].question.tolist() == [v.question for v in found.verdicts]
    assert {row.student for row in found.nearest} == {"s"}
    assert [row.statement for row in found.nearest] == (
        copied.sql(
            "SELECT statement FROM nearest_teachers ORDER BY measure, domain"
        ).statement.tolist()
    )
    document = diagnosis_document(found)
    (kept,) = tables["runs"].document
    head = json.loads(kept)
    assert head["rules"] == load_rules()[1]
    assert head["panels"] == list(found.panels)
    names = set(document) & set(head) - {"panels"}
    assert {"layers", "teachers", "alpha", "seed", "warnings", "provenance"} <= names
    as_json = json.loads(json.dumps({name: document[name] for name in names}))
    assert as_json == {name: head[name] for name in names}


def test_a_selection_has_no_nearest_teachers(copied: Workspace) -> None:
    where = "domain = 'speech'"
    found = diagnose(copied, "s", panels=["similarity"], where=where, n_permutations=19)
    assert (found.selection, list(found.nearest)) == (where, [])
    assert "nearest" not in diagnosis_document(found)


def test_rules_made_in_python_are_quoted_as_a_file(copied: Workspace, tmp_path: Path) -> None:
    extra = AssociationRule(name="w", x="word = 'w0'", y="word = 'w1'", a="true", b="false")
    rules = replace(shipped_rules(), alpha=0.01, associations=(extra,))
    file = tmp_path / "rules.toml"
    file.write_text(rules_as_toml(rules), encoding="utf-8")
    assert load_rules(file)[0] == rules
    found = diagnose(copied, "s", panels=["partial"], rules=rules, n_processes=1)
    assert (found.alpha, found.rules_text) == (0.01, rules_as_toml(rules))


def test_a_wrong_panel_is_refused_before_anything_is_stored(
    copied: Workspace, tmp_path: Path
) -> None:
    results = tmp_path / "llm.csv"
    results.write_text("encoder,benchmark,task,metric,value\ns,b,t,m,0.5\n", encoding="utf-8")
    with pytest.raises(UnknownNameError, match="partial"):
        diagnose(copied, "s", panels=["partail"], llm_results=results)
    assert copied.sql("FROM llm_results").empty
