"""One sum of several runs of pytest: ``python -m tests.summary RESULTS.xml…``."""

import sys
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

COUNTS = ("tests", "failures", "errors", "skipped")


def summary(results: Sequence[Path]) -> str:
    """How many tests ran, how they ended and how long they took, over files of ``--junitxml``."""
    suites = [s for path in results for s in ElementTree.parse(path).getroot().iter("testsuite")]
    tests, failed, broken, skipped = (sum(int(s.get(n, 0)) for s in suites) for n in COUNTS)
    minutes = sum(float(s.get("time", 0)) for s in suites) / 60
    passed = tests - failed - broken - skipped
    return (
        f"{tests:,} tests: {passed:,} passed, {failed + broken:,} failed, {skipped:,} skipped, "
        f"in {minutes:.1f} minutes"
    )


if __name__ == "__main__":
    sys.stdout.write(summary([Path(name) for name in sys.argv[1:]]) + "\n")
