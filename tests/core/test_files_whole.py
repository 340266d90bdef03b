"""Files that are there whole or as they were, whoever writes them and whatever stops it."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.full_disk import full_after
from usad_workbench.core.files import write_whole, written_at_once
from usad_workbench.training import release as ship
from usad_workbench.training.run_folder import write_json
from usad_workbench.workbench.commands import ablate_command

WRITES_HALF_AND_WAITS = """
import sys, time
from pathlib import Path
from usad_workbench.core.files import written_at_once
with written_at_once(Path(sys.argv[1])) as partial:
    partial.write_text("half")
    print("written", flush=True)
    time.sleep(60)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_killed_process_leaves_what_was_there_and_the_next_one_clears_up(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("before")
    process = subprocess.Popen(
        [sys.executable, "-c", WRITES_HALF_AND_WAITS, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout and process.stdout.readline() == "written\n"
    write_whole(tmp_path / "b.txt", "other")
    assert len(names(tmp_path)) == 4  # what a living process writes is not cleared away
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert path.read_text() == "before"
    write_whole(path, "after\r\nall")
    assert path.read_bytes() == b"after\r\nall" and names(tmp_path) == ["a.txt", "b.txt"]


def test_a_block_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no"), written_at_once(tmp_path / "a") as partial:
        partial.write_text("half")
        raise ValueError("no")
    assert names(tmp_path) == []


def test_it_can_be_read_by_whom_the_folder_lets(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    write_whole(tmp_path / "whole", "")
    assert (tmp_path / "whole").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize(
    "write",
    [
        lambda path, rows: write_whole(path, str(rows)),
        write_json,
        ablate_command._write_csv,
        pytest.param(ship._write_curve, id="curve"),
    ],
)
def test_a_full_disk_leaves_what_was_there(
    write: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"step": step, "loss": 0.5} for step in range(1000)]
    path = tmp_path / "out"
    monkeypatch.setattr(ship, "read_log", lambda folder: rows)
    words = (tmp_path, path, 1000) if write is ship._write_curve else (path, rows)
    path.write_text("before")
    with full_after(500), pytest.raises(OSError, match="too large"):
        write(*words)
    assert path.read_text() == "before" and names(tmp_path) == ["out"]
    write(*words)
    assert path.stat().st_size > 500 and names(tmp_path) == ["out"]
