"""The table of simulations quotes the files that it names."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "SIMULATIONS.md"
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.read_text().splitlines()
    if line.startswith(("| D", "| difference"))
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_every_number_of_a_row_stands_together_in_a_row_of_its_file(row: list[str]) -> None:
    _, n_data_sets, *numbers, link = row
    target = re.search(r"\((.+)\)", link)
    assert target is not None
    text = (PAGE.parent / target[1]).read_text()
    assert n_data_sets in text.replace(",", "")
    wanted = [number for number in numbers if number]
    lines = [re.split(r"[|()\s]+", line) for line in text.splitlines()]
    assert any(all(number in line for number in wanted) for line in lines), (row, target[1])


def test_the_table_has_the_estimators_that_were_asked_for() -> None:
    named = {row[0].split()[0] for row in ROWS}
    assert {"D1", "D2", "D3", "D5", "D6", "D7", "D11", "difference"} <= named
