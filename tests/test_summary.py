"""The sum that `make test` prints is that of all its runs."""

from pathlib import Path

from tests.summary import summary

RESULTS = '<testsuites><testsuite tests="{}" failures="{}" errors="0" skipped="1" time="90"/></testsuites>'


def test_runs_are_added_up(tmp_path: Path) -> None:
    files = [tmp_path / "doctests.xml", tmp_path / "tests.xml"]
    for file, counts in zip(files, ((300, 0), (3000, 2)), strict=True):
        file.write_text(RESULTS.format(*counts), encoding="utf-8")
    assert summary(files) == "3,300 tests: 3,296 passed, 2 failed, 2 skipped, in 3.0 minutes"
