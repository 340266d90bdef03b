"""Tables of results are those of the files they are made from."""

import csv
import re
from pathlib import Path

import pytest

from tests.docs.evaluated import write
from tests.docs.tables import BEFORE, PAGES, RESULTS, ROOT, TABLES, read_results, with_tables
from usad_workbench.core.evaluation.tasks import MEAN_OF_TASKS, MEAN_WITH_INTERVAL

NO_INTERVAL = ("voice", "track")
"""Tasks with too few clusters for one."""
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
        key = (row["tasks"], row["protocol"], row["quantity"])
        if row["sample_data"] != BEFORE and key == ("9", "linear", "value"):
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


def test_an_evaluation_is_put_where_the_tables_read_it(tmp_path: Path) -> None:
    """Documents that say what the files say make the same files."""
    today = [row for row in read_results("means") if row["sample_data"] != BEFORE]
    names = {"9": MEAN_OF_TASKS, "7": MEAN_WITH_INTERVAL}
    documents = []
    for against in ("untrained-student", "teachers-concatenated"):
        rows = [
            _score(row["system"], row | {"ci_low": "" if row["task"] in NO_INTERVAL else "0"})
            for row in read_results("tasks")
        ]
        rows += [row | {"protocol": "knn"} for row in rows]
        for row in today:
            if row["quantity"] == "value":
                difference = [
                    other
                    for other in today
                    if (other["system"], other["protocol"]) == (row["system"], row["protocol"])
                    and (other["tasks"], other["quantity"]) == (row["tasks"], f"minus {against}")
                ]
                score = _score(row["system"], row | {"task": names[row["tasks"]]})
                rows.append(score | _difference(against, difference))
        documents.append(rows)
    write(documents, tmp_path)
    for name in ("means", "tasks"):
        with (tmp_path / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            written = list(csv.DictReader(file))
        stored = read_results(name)
        for row in (*written, *stored):
            row.pop("sample_data", None)
        assert written == stored
    columns = (tmp_path / "domains.csv").read_text(encoding="utf-8").splitlines()
    assert columns[0] == "domain,protocol,system,value" and len(columns) == 49


def _score(system: str, row: dict[str, str]) -> dict[str, object]:
    millions = row.get("n_params_millions")
    return {
        "encoder": system,
        "task": row["task"].replace(" ", "_") if "n_clips" in row else row["task"],
        "protocol": row["protocol"],
        "value": float(row["value"]),
        "ci_low": float(row["ci_low"]) if row.get("ci_low") else None,
        "ci_high": float(row["ci_high"]) if row.get("ci_high") else None,
        "chance": float(row.get("chance", 0)),
        "n_test": int(row.get("n_clips", 0)),
        "n_params": float(millions) * 1e6 if millions else None,
    } | _difference("", [])


def _difference(against: str, rows: list[dict[str, str]]) -> dict[str, object]:
    row = rows[0] if rows else {"value": None, "ci_low": None, "ci_high": None}
    return {
        "against": against if rows else None,
        "difference": float(row["value"]) if row["value"] else None,
        "difference_ci_low": float(row["ci_low"]) if row["ci_low"] else None,
        "difference_ci_high": float(row["ci_high"]) if row["ci_high"] else None,
    }


def test_the_ablation_says_what_its_findings_say() -> None:
    text = (ABLATION / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| .+? \| .+? \| (.+?) \|$", text, re.MULTILINE)
    said = re.findall(r"[+−]\d\.\d{3} \[[^]]+\]", " ".join(rows))
    found = set((ABLATION / "TABLE.md").read_text(encoding="utf-8").replace("-", "−").split("|"))
    assert len(said) >= 9
    assert [words for words in said if f" {words} " not in found] == []


def test_results_have_no_other_files() -> None:
    assert {file.name for file in RESULTS.iterdir()} == {
        *("means.csv", "tasks.csv", "domains.csv", "demo.json"),
        *("million.csv", "speed.csv"),
    }
