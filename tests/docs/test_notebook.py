"""The notebook runs from top to bottom, and prints what is kept in it.

Its cells are executed by Python alone: a kernel of Jupyter would bring forty packages for
what is here one loop.
"""

import ast
import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import ROOT

NOTEBOOK = ROOT / "docs" / "first_look.ipynb"


def _cells() -> list[dict[str, Any]]:
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    cells: list[dict[str, Any]] = notebook["cells"]
    return cells


def test_it_is_a_notebook() -> None:
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids)
    assert {cell["cell_type"] for cell in notebook["cells"]} == {"markdown", "code"}
    assert all(cell["execution_count"] is None for cell in _code())


def test_it_runs_and_prints_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    last: object = None
    for cell in _code():
        printed, last = _execute("".join(cell["source"]), names)
        shown = "".join(text for output in cell["outputs"] for text in output["text"])
        assert printed == shown, cell["id"]
    assert len(last.data) == 3  # type: ignore[attr-defined]  # the map, a trace for each kind


def _code() -> list[dict[str, Any]]:
    return [cell for cell in _cells() if cell["cell_type"] == "code"]


def _execute(source: str, names: dict[str, Any]) -> tuple[str, object]:
    """What a cell prints, and the value of its last line where that is an expression."""
    tree = ast.parse(source)
    ending = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, "cell", "exec"), names)  # noqa: S102 - the notebook is our own
        if not isinstance(ending, ast.Expr):
            return printed.getvalue(), None
        value = eval(compile(ast.Expression(ending.value), "cell", "eval"), names)
    return printed.getvalue(), value
