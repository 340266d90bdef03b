"""The names that scripts and notebooks import: they exist, say what they take, and stay light."""

import importlib
import inspect
import re
import subprocess
import sys
from importlib.metadata import version

import pytest

from usad_workbench import core, indexes

PUBLIC = [(package, name) for package in (core, indexes) for name in package.__all__]


@pytest.mark.parametrize(("package", "name"), PUBLIC, ids=lambda one: str(one))
def test_every_public_name_is_there_and_documented(package: object, name: str) -> None:
    value = getattr(package, name)
    assert name in dir(package)
    if name == "__version__":
        assert value == version("usad-workbench")
        return
    if not inspect.isclass(value) and not inspect.isfunction(value):
        return  # a type of words
    text = inspect.getdoc(value) or ""
    assert text.split("\n")[0].endswith("."), name
    if inspect.isfunction(value):
        assert all(part in text for part in ("Args:", "Returns:", "Raises:")), name
        for parameter in inspect.signature(value).parameters:
            assert re.search(rf"^\s+\*?{parameter}:", text, re.MULTILINE), (name, parameter)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        core.no_such_name  # noqa: B018


def test_the_package_imports_nothing_heavy() -> None:
    code = (
        "import sys, usad_workbench.core; "
        "print([m for m in ('torch', 'duckdb', 'pandas', 'numpy', 'faiss') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("usad_workbench.core", "Workspace load_encoder embed evaluate diagnose __version__"),
        ("usad_workbench.core.audio", "read_audio"),
        ("usad_workbench.core.clips", "Clip"),
        ("usad_workbench.core.errors", "UsadError"),
        ("usad_workbench.core.similarity", "debiased_linear_cka"),
        ("usad_workbench.indexes", "search update_index project evaluate_index __version__"),
    ],
)
def test_what_scripts_import_stays(module: str, names: str) -> None:
    for name in names.split():
        assert hasattr(importlib.import_module(module), name)
