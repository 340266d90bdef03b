"""Folders that are there whole or not at all, whatever happened before."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from usad_workbench.core.errors import ConfigError
from usad_workbench.core.files import new_folder

WRITES_AND_WAITS = """
import sys, time
from usad_workbench.core.files import new_folder
with new_folder(sys.argv[1]) as partial:
    (partial / "half").write_text("half")
    print("written", flush=True)
    time.sleep(60)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@contextmanager
def writing(target: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process that is writing the folder, and is killed at the end."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITES_AND_WAITS, str(target)], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout and process.stdout.readline() == "written\n"
            yield process
        finally:
            process.kill()


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with writing(tmp_path / "out"):
        pass
    assert len(names(tmp_path)) == 2
    with new_folder(tmp_path / "out") as partial:
        (partial / "whole").write_text("whole")
    assert names(tmp_path) == ["out"] and names(tmp_path / "out") == ["whole"]


def test_what_another_process_writes_stays(tmp_path: Path) -> None:
    with writing(tmp_path / "out"):
        (name,) = names(tmp_path)
        with new_folder(tmp_path / "out"):
            pass
        assert (tmp_path / name / "half").read_text() == "half"


def test_other_names_are_not_touched(tmp_path: Path) -> None:
    kept = [".out2.partial-1", ".outer.partial-2", "out.partial-3"]
    for name in kept:
        (tmp_path / name).mkdir()
    (tmp_path / ".out.partial-999999").mkdir()
    with new_folder(tmp_path / "out"):
        pass
    assert names(tmp_path) == sorted([*kept, "out"])


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "a" / "out") as partial:
        (partial / "half").write_text("half")
        raise ZeroDivisionError
    assert names(tmp_path / "a") == []
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(ConfigError, match="not an empty folder"), new_folder(tmp_path / "full"):
        pass
