"""The pages are followed: their commands and their Python run, and print what is shown.

``docs/getting-started.md`` is followed from a folder of sixty generated sounds. Each other
page begins with a copy of the folder that this leaves, and is followed from top to bottom.
"""

import contextlib
import doctest
import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import ROOT, Block, blocks, page_name, pages
from tests.docs.sounds import write_sounds
from usad_workbench.workbench.cli import main

START = ROOT / "docs" / "getting-started.md"
RUN = ("sh", "python", "csv", "toml")
OTHERS = [
    page
    for page in pages()
    if page not in (START, ROOT / "README.md") and blocks(page, "sh", "python")
]
SAME = doctest.OutputChecker()
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of somebody who has followed ``getting-started``."""
    folder = tmp_path_factory.mktemp("started")
    write_sounds(folder / "my_sounds")
    follow(START, folder)
    return folder


def test_getting_started(started: Path) -> None:
    assert (started / "W" / "workspace.duckdb").is_file()


@pytest.mark.parametrize("page", OTHERS, ids=page_name)
def test_page(page: Path, started: Path, tmp_path: Path) -> None:
    folder = tmp_path / "followed"
    shutil.copytree(started, folder)
    follow(page, folder)


def follow(page: Path, folder: Path) -> None:
    """Does what a page says, in this folder, and compares what is printed."""
    names: dict[str, Any] = {"__name__": "__main__"}
    with _inside(folder):
        for block in blocks(page, *RUN):
            where = f"{page_name(page)}, block of line {block.line}"
            if block.language in ("csv", "toml"):
                _write(block)
                continue
            printed = _run_commands(block, where) if block.language == "sh" else _run(block, names)
            if block.printed is not None:
                assert SAME.check_output(block.printed, printed, FLAGS), f"{where}:\n{printed}"


def _write(block: Block) -> None:
    if block.file:
        Path(block.file).write_text(block.text, encoding="utf-8")


def _run_commands(block: Block, where: str) -> str:
    printed = io.StringIO()
    for words in block.commands():
        assert words[0] == "usad", where
        said = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(said):
            code = main(words[1:])
        assert code == 0, f"{where}: {' '.join(words)}\n{said.getvalue()}"
    return printed.getvalue()


def _run(block: Block, names: dict[str, Any]) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(block.text, f"line {block.line}", "exec"), names)  # noqa: S102 - the pages are our own
    return printed.getvalue()


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
