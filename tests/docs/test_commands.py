"""Every command, recipe and piece of Python in the pages is one that this version takes."""

import argparse
import ast
import importlib
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest
from torch.distributed.run import parse_args as parse_torchrun

from tests.docs.pages import ROOT, Block, blocks, languages, page_name, pages
from usad_workbench.workbench.cli import COMMANDS, build_parser

PAGES = pytest.mark.parametrize("page", pages(), ids=page_name)
LANGUAGES = {"sh", "bash", "python", "py", "text", "toml", "sql", "csv"}
OUTSIDE = {
    "git",
    "cd",
    "pip",
    "source",
    "export",
    "ls",
    "pre-commit",
    "cp",
    "embedding-atlas",
    "spotlight",
}
"""First words of commands that are no affair of this package."""


@PAGES
def test_every_block_says_how_it_is_tested(page: Path) -> None:
    assert languages(page) <= LANGUAGES


@PAGES
def test_every_command_is_taken(page: Path) -> None:
    for block in blocks(page, "sh", "bash"):
        for words in block.commands():
            _check(words, f"{page_name(page)}, block of line {block.line}: {' '.join(words)}")


@PAGES
def test_imports_of_python_exist(page: Path) -> None:
    for block in blocks(page, "python", "py"):
        for node in ast.walk(ast.parse(block.text)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
                "usad_workbench"
            ):
                module = importlib.import_module(str(node.module))
                for alias in node.names:
                    assert hasattr(module, alias.name), f"{node.module}.{alias.name}"


@PAGES
def test_toml_can_be_read(page: Path) -> None:
    for block in blocks(page, "toml"):
        tomllib.loads(block.text)


def test_commands_in_recipes_exist() -> None:
    recipes = sorted((ROOT / "training" / "recipes").glob("*.toml"))
    lines = [
        (recipe.stem, line.removeprefix("#").strip())
        for recipe in recipes
        for line in recipe.read_text(encoding="utf-8").splitlines()
        if re.match(r"#\s+(torchrun|usad) ", line)
    ]
    assert len(lines) >= 4
    for stem, line in lines:
        words = Block(language="bash", text=line, line=1, printed=None, file="").commands()[0]
        assert any(stem in word for word in words), line
        _check(words, line)


def test_every_command_is_in_the_help() -> None:
    shown = build_parser().format_help()
    for name in COMMANDS:
        assert re.search(rf"^\s+{name}\b", shown, re.MULTILINE), name


def test_every_command_stands_on_a_page() -> None:
    written = {
        words[1]
        for page in pages()
        for block in blocks(page, "sh", "bash")
        for words in block.commands()
        if words[0].endswith("usad") and len(words) > 1
    }
    assert set(COMMANDS) <= written


def _check(words: list[str], where: str) -> None:
    program = words[0].removeprefix(".venv/bin/")
    if program == "usad":
        _parse(words[1:], where)
    elif program == "make":
        assert words[1] in _targets(), where
    elif program == "torchrun":
        launched = parse_torchrun(words[1:])
        assert launched.module and launched.training_script == "usad_workbench.workbench.cli", where
        _parse(launched.training_script_args, where)
    elif program == "python":
        assert words[1] == "-m", where
        if words[2] not in ("pip", "pytest", "venv"):
            shown = _help_of(words[2])
            assert all(flag in shown for flag in words if flag.startswith("--")), where
    else:
        assert program in OUTSIDE, where


def _parse(words: list[str], where: str) -> None:
    try:
        build_parser().parse_args(words)
    except SystemExit as stop:
        assert stop.code == 0 and ("--help" in words or "--version" in words), where
    except argparse.ArgumentError as error:
        raise AssertionError(where) from error


@cache
def _targets() -> set[str]:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))


@cache
def _help_of(module: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", module, "--help"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    ).stdout
