"""One table of all simulations, made from the files that the simulations wrote.

``python -m tests.simulations`` writes ``tests/SIMULATIONS.md``; ``test_simulations`` fails
where a number in it is not the one in its file.
"""

import re
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent
TABLE = TESTS / "SIMULATIONS.md"
BIAS, SIMILARITY = TESTS / "core" / "bias", TESTS / "core" / "similarity"
ERRORS = BIAS / "SIMULATIONS_errors.md"
SHARES = SIMILARITY / "SIMULATIONS_shares.md"
INHERITANCE = SIMILARITY / "SIMULATIONS_inheritance.md"
INTERVALS = SIMILARITY / "SIMULATIONS_intervals.md"
SCRIPTS = {
    ERRORS: "core/bias/test_simulations_errors.py",
    SHARES: "core/similarity/test_simulations_shares.py",
    INHERITANCE: "core/similarity/simulate_inheritance.py",
    INTERVALS: "core/similarity/simulate_intervals.py",
}
HEAD = """# Coverage and false positives of every estimator

Intervals are meant to hold the truth in 95% of data sets, tests to reject in 5% where nothing
is there. Each number is that of the file in the last column, written by the script beside it;
there stand sizes, what was tried, and why some numbers are off. This table is made from these
files by `python -m tests.simulations`. The verdicts on whole planted worlds:
[INHERITANCE_WORLDS.md](core/diagnosis/INHERITANCE_WORLDS.md).

| simulation | data sets | interval holds | falsely rejected | power | numbers from |
|---|---:|---:|---:|---:|---|
"""
FOOT = """
Where a number is off: the interval of mutual k-NN is too wide where encoders are unrelated, as
neighbours change in jumps. A share that is not there costs predictions, so unique to c is never
found; a weight cannot be below 0, so the interval of c always holds it.
With 1000 data sets a rate of 5% is measured to within 1.4 points.
"""
Row = dict[str, str]


def tables_of(path: Path) -> list[list[Row]]:
    """The tables of a Markdown file, each a list of rows by column name."""
    tables: list[list[Row]] = []
    header: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            header = []
        elif not header:
            header = cells
            tables.append([])
        elif not set(line) <= set("|-: "):
            tables[-1].append(dict(zip(header, cells, strict=True)))
    return tables


def lines() -> Iterator[str]:
    """The rows of the table, one line each."""
    yield from (_line(ERRORS, *one) for one in _errors())
    yield from (_line(SHARES, *one) for one in _shares())
    yield from (_line(INHERITANCE, *one) for one in _inheritance())
    yield from (_line(INTERVALS, *one) for one in _intervals())


def _errors() -> Iterator[tuple[str, str, str, str]]:
    for row in tables_of(ERRORS)[0]:
        rejected = row["null rejected"]
        share = _percent(rejected)
        is_power = "power" in rejected
        yield (
            row["simulation"],
            row["interval holds the truth"],
            "" if is_power else share,
            share if is_power else "",
        )


def _shares() -> Iterator[tuple[str, str, str, str]]:
    partition, attribution = tables_of(SHARES)[:2]
    for row in partition:
        is_false = row["partition"] == "unique to c"
        share = _percent(row["interval above 0"])
        yield (
            f"variance partition: {row['partition']}",
            row["interval holds the mean"],
            share if is_false else "",
            "" if is_false else share,
        )
    for row in attribution:
        is_false = row["attribution"] == "c"
        share = _percent(row["p at most .05"])
        yield (
            f"attribution: {row['attribution']}",
            row["interval holds the truth"],
            share if is_false else "",
            "" if is_false else share,
        )


def _inheritance() -> Iterator[tuple[str, str, str, str]]:
    for row in tables_of(INHERITANCE)[0]:
        false = _percent(row["false positives at 5%"])
        yield row["measure"], _percent(row["coverage of the 95% interval"]), false, ""


def _intervals() -> Iterator[tuple[str, str, str, str, str]]:
    for row in tables_of(INTERVALS)[0]:
        is_false = row["truth"] in ("0.000", "-0.000")
        is_share = row["quantity"] == "mutual_knn"  # above 0 by chance alone
        yield (
            f"{row['data']}: {row['quantity']}, {row['clusters']} clusters",
            row["holds the truth"],
            row["above 0"] if is_false else "",
            "" if is_false or is_share else row["above 0"],
            row["data sets"],
        )


def _line(path: Path, what: str, coverage: str, false: str, power: str, n: str = "") -> str:
    found = re.search(r"([\d,]+) simulated data sets", path.read_text(encoding="utf-8"))
    n = found.group(1).replace(",", "") if found else n
    name = path.relative_to(TESTS)
    source = f"[{path.name}]({name}), `{SCRIPTS[path]}`"
    return f"| {what} | {n} | {coverage} | {false} | {power} | {source} |"


def _percent(cell: str) -> str:
    """A share as a percentage, words after it left out; empty where there is none.

    >>> _percent("0.962"), _percent("90.0% (power)"), _percent("")
    ('96.2%', '90.0%', '')
    """
    number = cell.split(" ")[0]
    return number if number.endswith("%") or not number else f"{100 * float(number):.1f}%"


def text() -> str:
    """The whole page."""
    return HEAD + "\n".join(lines()) + "\n" + FOOT


if __name__ == "__main__":
    TABLE.write_text(text(), encoding="utf-8")
