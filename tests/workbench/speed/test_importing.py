"""The command, its size and its document; and what a process of its own is said to cost."""

import json
from pathlib import Path

import pytest

from usad_workbench.core.errors import WorkerError
from usad_workbench.workbench.cli import main
from usad_workbench.workbench.speed.processes import memory_of, run_usad


@pytest.mark.long
def test_an_import_of_a_size_prints_its_rows(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "import-embeddings", "--size", "300", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == [
        f"import-embeddings, 300 × 384, {measure}"
        for measure in ("processor", "wall", "peak memory")
    ]
    assert all(row["ratio"] == pytest.approx(row["value"] / row["peer_value"]) for row in rows)
    assert 20 < rows[2]["value"] < 2000


def test_a_size_that_says_nothing_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "search", "--size", "3"]) == 2
    assert "expected 200 vectors or more" in capsys.readouterr().err


def test_a_command_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match=r"usad check.*no workspace\.duckdb"):
        run_usad("check", "--workspace", str(tmp_path), log=tmp_path / "log")
    assert "no workspace.duckdb" in (tmp_path / "log").read_text(encoding="utf-8")


def test_memory_is_that_of_the_process() -> None:
    before = memory_of()
    held = bytearray(b"x" * 200_000_000)
    assert memory_of()["VmRSS"] - before["VmRSS"] > 150_000_000 and len(held) == 200_000_000
    assert memory_of(0) == {}
