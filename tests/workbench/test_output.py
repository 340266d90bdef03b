"""Results alone on standard output; on standard error one bar per job, whatever it describes."""

import json
import os
import subprocess
import sys

import pytest

from usad_workbench.workbench.output import Output, results_alone

_PATH = {"PATH": os.environ["PATH"]}


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
        "below Python",
        "in another process",
        "in this process",
    ]


def test_the_same_where_standard_output_is_no_file(capsys: pytest.CaptureFixture[str]) -> None:
    with results_alone() as results:
        sys.stdout.write("by the way\n")
        Output(as_json=False, results=results).result({}, "the text")
    sys.stdout.write("afterwards\n")
    shown = capsys.readouterr()
    assert shown.out == "the text\nafterwards\n"
    assert shown.err == "by the way\n"


PRINTS_A_NAME = """
from usad_workbench.workbench.output import Output, results_alone

with results_alone() as results:
    Output(as_json={as_json}, results=results).result({{"caf\\udce9": "käse\\udcff"}}, "käse\\udcff")
"""


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
@pytest.mark.parametrize("as_json", [True, False])
def test_names_that_are_no_utf8_can_be_results(as_json: bool, encoding: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PRINTS_A_NAME.format(as_json=as_json)],
        capture_output=True,
        check=True,
        env={"PYTHONIOENCODING": encoding, **_PATH},
    )
    said = done.stdout.decode(encoding)
    if as_json:
        assert json.loads(said) == {"caf\\udce9": "käse\\udcff"}
    else:
        assert said == ("k\\xe4se" if encoding == "ascii" else "käse") + "\\udcff\n"


def test_a_reader_that_has_seen_enough_is_no_fault() -> None:
    done = subprocess.run(
        f"{sys.executable} -m usad_workbench.workbench.cli encoders list --json | true",
        shell=True,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr
