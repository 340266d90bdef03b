"""A docstring's first line can be read without the line above it: help and editors show it alone."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = (
    "core/bias",
    "core/evaluation",
    "core/interventions",
    "core/probes",
    "core/similarity",
    "training",
)
LEANING = re.compile(r"(Of|By|The same|As ``|With the|In a sentence)\b")
"""Beginnings that lean on a name: "Of the last step." says nothing by itself."""


def _docstrings(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of every string that documents something: a bare string is a docstring."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        body = getattr(node, "body", ())
        for statement in body if isinstance(body, list) else ():
            match statement:
                case ast.Expr(value=ast.Constant(value=str(text))):
                    yield statement.lineno, text


@pytest.mark.parametrize("folder", FOLDERS)
def test_first_lines_can_be_read_alone(folder: str) -> None:
    leaning = [
        f"{path.relative_to(ROOT)}:{line} {text.splitlines()[0]}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for line, text in _docstrings(path)
        if LEANING.match(text)
    ]
    assert leaning == []
