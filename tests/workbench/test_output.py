"""Progress on standard error: one bar per job, however its description changes."""

import pytest

from usad_workbench.workbench.output import Output


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
