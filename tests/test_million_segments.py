"""The run of a million segments, in small: every step ends, and every answer is right."""

import csv
import re
from pathlib import Path

import pytest

from tests.docs.measured import merge
from tests.million_segments import ENCODERS, K, MillionRun, write_results


@pytest.mark.slow
def test_every_step_answers_what_is_planted(tmp_path: Path) -> None:
    run = MillionRun(size=3000, folder=tmp_path / "run")
    run.run()
    assert run.failed == []
    answers = {step.step: step.answer for step in run.steps}
    for encoder in ENCODERS:
        assert answers[f"import {encoder}"].startswith("3,000 vectors")
        score = float(re.findall(r"trustworthiness ([\d.]+)", answers[f"project {encoder}"])[0])
        assert score > 0.9
    assert answers["import again"] == "3,000 were there, 0 added"
    found = {name: answer for name, answer in answers.items() if name.startswith("search")}
    assert len(found) == 6 and set(found.values()) == {f"{K} of {K} nearest"}
    opened = [answer for name, answer in answers.items() if name.startswith("open search")]
    assert len(opened) == 6 and all(answer.startswith("recall 1.0000") for answer in opened)
    assert answers["duplicates"].startswith("3 of 3 planted pairs")
    assert answers["check"] == "no problems"
    write_results(run, tmp_path / "million.csv")
    again = MillionRun(size=3000, folder=tmp_path / "run")
    again.run()  # all is done: nothing is run or noted twice
    assert again.steps == run.steps


def test_measured_rows_replace_those_of_the_same_name_and_peer(tmp_path: Path) -> None:
    row = {"name": "a", "unit": "s", "peer": "p", "peer_value": 2.0, "ratio": 0.5, "machine": "m"}
    merge(tmp_path / "s.csv", [row | {"value": 1.0}, row | {"value": 3.0, "peer": "q"}], "day 1")
    merge(tmp_path / "s.csv", [row | {"value": 7.123456}], "day 2")
    with (tmp_path / "s.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(r["peer"], r["value"], r["date"]) for r in rows] == [
        ("p", "7.1235", "day 2"),
        ("q", "3", "day 1"),
    ]
