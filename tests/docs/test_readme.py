"""The README says what is true: its commands parse, its Python prints what it shows."""

import argparse
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from torch.distributed.run import parse_args as parse_torchrun

from usad_workbench.core.diagnosis.teacher_similarity import MIN_CLIPS
from usad_workbench.core.models.sizes import SIZES, count_parameters
from usad_workbench.workbench.cli import COMMANDS, build_parser

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)


def _blocks(language: str) -> list[str]:
    return [text for kind, text in BLOCK.findall(README) if kind == language]


def _shell_lines() -> list[str]:
    return [
        line.split("#")[0].strip()
        for block in _blocks("sh")
        for line in block.splitlines()
        if line.split("#")[0].strip()
    ]


def test_every_usad_command_parses() -> None:
    lines = [line for line in _shell_lines() if line.startswith("usad ")]
    assert len(lines) >= 8
    parser = build_parser()
    for line in lines:
        parser.parse_args(shlex.split(line)[1:])


def test_every_other_command_exists() -> None:
    others = [line for line in _shell_lines() if not line.startswith("usad ")]
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for line in others:
        words = shlex.split(line)
        if words[0] == "make":
            assert words[1] in targets
        elif words[0] == "torchrun":
            _check_torchrun(words)
        else:
            assert words[:2] == ["python", "-m"]
            done = subprocess.run(
                [sys.executable, "-m", words[2], "--help"],
                capture_output=True,
                text=True,
                check=True,
            )
            assert all(flag in done.stdout for flag in words if flag.startswith("--"))


def _check_torchrun(words: list[str]) -> None:
    launched = parse_torchrun(words[1:])
    assert launched.module and launched.training_script == "usad_workbench.workbench.cli"
    build_parser().parse_args(launched.training_script_args)


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
        words = shlex.split(line.split(" #")[0])
        assert any(stem in word for word in words), line
        if words[0] == "torchrun":
            _check_torchrun(words)
        else:
            build_parser().parse_args(words[1:])


def test_numbers_that_the_code_knows() -> None:
    count = count_parameters(SIZES["demo"])
    assert f"A domain needs {MIN_CLIPS} clips" in README
    for n in (count.published, count.up_to_last_layer, count.total):
        assert f"{n:,}" in README


def test_every_command_that_can_run_foreign_code_is_named() -> None:
    (told,) = re.findall(r"runs only with `--trust-remote-code`, which (.*?) take\.", README)
    takes = {name for name, parser in _parsers() if "--trust-remote-code" in parser.format_help()}
    assert {word for word in re.findall(r"`([a-z ]+)`", told.replace("encoders ", ""))} == takes


def _parsers() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every command, and the actions of those that have some, by their last word."""
    pending = [("", build_parser())]
    while pending:
        name, parser = pending.pop()
        found = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
        pending += [item for action in found for item in action.choices.items()]
        if not found:
            yield name, parser


def test_nothing_is_left_to_fill_in() -> None:
    assert "@@" not in README


def test_pictures_and_links_are_there() -> None:
    local = [
        target
        for target in re.findall(r"\]\(([^)]+)\)", README)
        if not target.startswith(("http://", "https://"))
    ]
    headings = {
        f"#{title.strip().lower().replace(' ', '-')}"
        for title in re.findall(r"^#+ (.+)$", README, re.MULTILINE)
    }
    assert len(local) >= 4
    assert [t for t in local if t not in headings and not (ROOT / t).is_file()] == []


def test_every_command_is_in_the_help() -> None:
    shown = build_parser().format_help()
    for name in COMMANDS:
        assert re.search(rf"^\s+{name}\b", shown, re.MULTILINE), name


@pytest.mark.weights
def test_python_prints_what_is_shown(demo: dict[str, Any]) -> None:
    (code,) = _blocks("python")
    (expected,) = _blocks("text")
    code = code.replace('"demo-workspace"', repr(demo["workspace"]))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == expected.strip()
