"""Runs ``usad bench`` and puts what it measures into ``docs/results/speed.csv``.

``python -m tests.docs.measured ARGUMENTS``, which are those of ``usad bench``, then
``make tables``: rows of the same name and peer are replaced, all others stay.
"""

import csv
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.docs.tables import RESULTS
from usad_workbench.workbench.cli import build_parser
from usad_workbench.workbench.speed.processes import run_usad

FILE = RESULTS / "speed.csv"
COLUMNS = ("name", "value", "unit", "peer", "peer_value", "ratio", "machine", "date")


def merge(file: Path, measured: list[dict[str, Any]], date: str) -> None:
    """Replaces rows of the same name and peer, and adds the others in their order."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    if file.exists():
        with file.open(encoding="utf-8", newline="") as stored:
            rows = {(row["name"], row["peer"]): row for row in csv.DictReader(stored)}
    for row in measured:
        numbers = {name: f"{row[name]:.5g}" for name in ("value", "peer_value", "ratio")}
        rows[row["name"], row["peer"]] = row | numbers | {"date": date}
    with file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows.values())


def main() -> int:
    """The command line: what ``usad bench`` takes."""
    build_parser().parse_args(["bench", *sys.argv[1:]])  # shows help, refuses what it does not take
    done = run_usad("bench", *sys.argv[1:], log=Path("bench.log"))
    kept = [row for row in done.document if row["ratio"] is not None]
    merge(FILE, kept, f"{datetime.now(UTC):%Y-%m-%d}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
