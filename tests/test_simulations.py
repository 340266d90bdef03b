"""The table of all simulations says what their own files say."""

from tests.simulations import (
    ERRORS,
    INHERITANCE,
    INTERVALS,
    SCRIPTS,
    SHARES,
    TABLE,
    TESTS,
    tables_of,
    text,
)


def test_the_table_is_made_from_the_files() -> None:
    assert TABLE.read_text(encoding="utf-8") == text(), "run `python -m tests.simulations`"


def test_every_row_of_the_files_is_there_with_its_number() -> None:
    (rows,) = tables_of(TABLE)
    n_rows = [len(tables_of(ERRORS)[0]), *(len(one) for one in tables_of(SHARES)[:2])]
    others = [*tables_of(INHERITANCE), *tables_of(INTERVALS)]
    assert len(rows) == sum(n_rows) + sum(len(one) for one in others)
    by_name = {row["simulation"]: row for row in rows}
    assert len(by_name) == len(rows)
    # Read by eye from the files, so that a mistake of the parser is seen.
    probes = by_name["difference of two probes"]
    assert (probes["data sets"], probes["interval holds"], probes["falsely rejected"]) == (
        "1000",
        "94.0%",
        "6.0%",
    )
    weight = by_name["attribution: c"]
    assert (weight["data sets"], weight["falsely rejected"], weight["power"]) == ("300", "4.0%", "")
    gap = by_name["gap of 2 groups at 0.8 and 0.6"]
    assert (gap["falsely rejected"], gap["power"]) == ("", "90.0%")


def test_the_scripts_exist() -> None:
    assert all((TESTS / script).is_file() for script in SCRIPTS.values())
