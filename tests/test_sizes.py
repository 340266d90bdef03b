"""Short functions, flat files: 60 lines per function, 500 per file, no exceptions list."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("core", "training", "indexes", "workbench", "sample_data")
FUNCTION_LINES = 60
FILE_LINES = 500


def _sources() -> list[Path]:
    return [file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py")]


def test_files_are_short() -> None:
    sources = _sources()
    assert len(sources) > 40
    lengths = {file: len(file.read_text().splitlines()) for file in sources}
    assert {str(f): n for f, n in lengths.items() if n > FILE_LINES} == {}


def test_functions_are_short() -> None:
    long = [
        f"{file.relative_to(ROOT)}:{node.lineno} {node.name} {_lines(node)}"
        for file in _sources()
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and _lines(node) > FUNCTION_LINES
    ]
    assert long == []


def _lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring, which may be as long as it needs."""
    body = node.body
    first = body[0]
    has_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    docstring = (first.end_lineno or 0) - first.lineno + 1 if has_docstring else 0
    return (node.end_lineno or 0) - node.lineno + 1 - docstring
