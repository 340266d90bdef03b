"""Results alone on standard output; on standard error one bar per job, whatever it describes."""

import subprocess
import sys

import pytest

from usad_workbench.workbench.output import Output, results_alone


def test_one_bar_per_job(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(as_json=True)
    for step in range(1, 4):
        output.progress(step, 3, f"loss {3 - step}")
    for done in (1, 2):
        output.progress(done, 2, "embed")
    shown = capsys.readouterr()
    assert shown.out == ""
    lines = [line for line in shown.err.split("\n") if line.strip()]
    assert len(lines) == 2
    assert lines[0].split("\r")[-1].startswith("loss 0: 100%")
    assert lines[1].split("\r")[-1].startswith("embed: 100%")


def test_json_is_alone_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(as_json=True)
    output.note("a word on the way")
    output.result({"value": float("inf")}, "the text")
    shown = capsys.readouterr()
    assert shown.out == '{\n  "value": null\n}\n'
    assert shown.err == "a word on the way\n"


CODE_THAT_PRINTS = """
import os, subprocess, sys
from usad_workbench.workbench.output import Output, results_alone

with results_alone() as results:
    print("in this process")
    os.write(1, b"below Python\\n")
    subprocess.run([sys.executable, "-c", "print('in another process')"], check=True)
    Output(as_json=True, results=results).result({"value": 1}, "the text")
print("afterwards")
"""


def test_what_foreign_code_prints_is_no_result() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE_THAT_PRINTS], capture_output=True, text=True, check=True
    )
    assert done.stdout == '{\n  "value": 1\n}\nafterwards\n'
    assert sorted(done.stderr.splitlines()) == [
        "below Python", "in another process", "in this process",
    ]  # fmt: skip


def test_the_same_where_standard_output_is_no_file(capsys: pytest.CaptureFixture[str]) -> None:
    with results_alone() as results:
        sys.stdout.write("by the way\n")
        Output(as_json=False, results=results).result({}, "the text")
    sys.stdout.write("afterwards\n")
    shown = capsys.readouterr()
    assert shown.out == "the text\nafterwards\n"
    assert shown.err == "by the way\n"
