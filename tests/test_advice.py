"""Advice that can be followed: what messages and docstrings name in backticks exists."""

import ast
import builtins
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("core", "training", "indexes", "workbench", "sample_data")
SOURCES = sorted(path for name in FOLDERS for path in (ROOT / name).rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}
QUOTED = re.compile(r"(`+)([^`\n]+)\1")
PATH = re.compile(r"[\w./-]*\w+\.(?:py|toml|md)")
CALL = re.compile(r"(?:\w+\.)*(\w+)\([^)]*\)")
DOTTED = re.compile(r"(?:usad_workbench\.)?[a-z_]\w*(?:\.\w+)+")
NAME = re.compile(r"_*[a-z]\w*_\w+")
SUFFIXES = {"csv", "duckdb", "json", "md", "py", "safetensors", "toml"}
"""What stands after a dot is one of these: a file, no member of a module."""
OF_OTHERS = {
    "RidgeClassifier",
    "check_audio_encoder",
    "commands/NAME_command.py",
    "fingerprint",  # a column
    "interrupt",
    "layer_i",  # layer_0, layer_1 and so on
    "mcnemar",
    "model_spec.py",
    "n_points",  # a field, of an object and not of the module of its name
    "subsample_normalization",
    "upstream/example/expert.py",
}
"""Names of other programs, of columns, fields and tensors, and patterns."""
TABLES = re.compile(r"diagnosis_\w+")
"""Named after the panels."""


def docstrings(tree: ast.Module) -> set[int]:
    """The ids of the constants that are docstrings, those of fields included."""
    found = set()
    for node in ast.walk(tree):
        for child in ast.iter_child_nodes(node):
            is_text = isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)
            if is_text and isinstance(child.value.value, str):
                found.add(id(child.value))
    return found


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Docstrings, and the texts of everything that is raised or said, with their lines."""
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "`" in node.value:
            yield node.lineno, node.value


def in_use() -> set[str]:
    """Every word that code uses: names, attributes, arguments, and words of plain strings."""
    found = set(dir(builtins))
    for path, tree in TREES.items():
        found.add(path.stem)
        found.update(path.parent.parts)
        described = docstrings(tree)
        for node in ast.walk(tree):
            for field in ("id", "attr", "arg", "name", "asname", "module"):
                value = getattr(node, field, None)
                if isinstance(value, str):
                    found.update(value.split("."))
            is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
            if is_text and id(node) not in described:
                found.update(re.findall(r"\w+", QUOTED.sub("", node.value)))
    return found


USED = in_use()
FILES = {path.name for path in SOURCES}


def modules() -> dict[str, set[str]]:
    """By the last two and the last part of a module's path: the names at its top."""
    found: dict[str, set[str]] = {}
    for path, tree in TREES.items():
        names = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                names.add(node.name)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.add(node.id)
        stem = path.parent.name if path.stem == "__init__" else path.stem
        found.setdefault(stem, set()).update(names)
        folder = path.parent.parent if path.stem == "__init__" else path.parent
        found.setdefault(folder.name, set()).add(stem)
    return found


MODULES = modules()


def mistake(name: str) -> str:
    """What is wrong with something in backticks; empty where it is fine, or no name of ours."""
    if PATH.fullmatch(name) and name.split("/")[0] in FOLDERS:
        return "" if (ROOT / name).exists() else "no such file"
    if name.endswith(".py"):
        is_there = Path(name).name in FILES or (ROOT / name).exists() or name in OF_OTHERS
        return "" if is_there else "no such file"
    call = CALL.fullmatch(name)
    if call:
        return "" if call[1] in USED | OF_OTHERS else "no such function"
    if DOTTED.fullmatch(name):
        parts = name.removeprefix("usad_workbench.").split(".")
        if parts[0] not in MODULES or parts[-1] in SUFFIXES | OF_OTHERS:
            return ""
        for module, member in pairwise(parts):
            if module in MODULES and member not in MODULES[module]:
                return f"{module} has no {member}"
        return ""
    if NAME.fullmatch(name) and not TABLES.fullmatch(name) and name not in USED | OF_OTHERS:
        return "no such name"
    return ""


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_is_named_exists(path: Path) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: `{name}`: {fault}"
        for line, text in texts(path)
        for _, name in QUOTED.findall(text)
        if (fault := mistake(name))
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "name",
    ["equal_length_batches()", "core/storage/store.py", "weights.no_such_thing", "no_such_name"],
)
def test_what_does_not_exist_is_noticed(name: str) -> None:
    assert mistake(name)
