"""Tables of results are those of the files they are made from."""

import re
from pathlib import Path

import pytest

from tests.docs.tables import PAGES, RESULTS, ROOT, TABLES, read_results, with_tables

ABLATION = ROOT / "training" / "ablation" / "results"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tables_are_those_of_the_results(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert with_tables(text) == text, "`python -m tests.docs.tables` makes them"
    assert "<!-- table " in text


def test_every_table_is_shown() -> None:
    shown = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert {name for name in TABLES if f"<!-- table {name} -->" in shown} == set(TABLES)


def test_values_lie_in_their_intervals() -> None:
    rows = [row for row in read_results("means") if row["ci_low"]]
    assert len(rows) > 30
    for row in rows:
        assert float(row["ci_low"]) <= float(row["value"]) <= float(row["ci_high"]), row


def test_means_are_those_of_the_tasks() -> None:
    """Task values have two digits, so their mean is exact to half a point."""
    tasks = read_results("tasks")
    for row in read_results("means"):
        key = (row["sample_data"], row["tasks"], row["protocol"], row["quantity"])
        if key == ("1134 clips", "9", "linear", "value"):
            values = [float(task["value"]) for task in tasks if task["system"] == row["system"]]
            assert abs(sum(values) / len(values) - float(row["value"])) < 0.006, row["system"]


def test_numbers_of_the_text_are_in_the_results() -> None:
    """What a sentence says of all seven tasks is in the table, digit for digit."""
    text = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    (said,) = re.findall(r"gains (\S+ \[[^]]+\]) over its untrained self", text)
    gains = {
        f"{row['value']} [{row['ci_low']}, {row['ci_high']}]"
        for row in read_results("means")
        if row["quantity"] == "minus untrained-student"
    }
    assert said in gains


def test_the_ablation_says_what_its_findings_say() -> None:
    text = (ABLATION / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| .+? \| .+? \| (.+?) \|$", text, re.MULTILINE)
    said = re.findall(r"[+−]\d\.\d{3} \[[^]]+\]", " ".join(rows))
    found = set((ABLATION / "TABLE.md").read_text(encoding="utf-8").replace("-", "−").split("|"))
    assert len(said) >= 9
    assert [words for words in said if f" {words} " not in found] == []


def test_results_have_no_other_files() -> None:
    assert {file.name for file in RESULTS.iterdir()} == {
        *("means.csv", "tasks.csv", "domains.csv"),
        *("million.csv", "speed.csv"),
    }
