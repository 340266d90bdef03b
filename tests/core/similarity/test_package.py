import doctest
import importlib
import pkgutil
import subprocess
import sys

import pytest

from usad_workbench.core import probes, similarity

MODULES = [
    f"{package.__name__}.{module.name}"
    for package in (similarity, probes)
    for module in pkgutil.iter_modules(package.__path__)
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_are_true(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_measures_import_no_models_and_no_storage():
    code = (
        "import sys, usad_workbench.core.similarity, usad_workbench.core.probes; "
        "print([m for m in ('torch', 'duckdb', 'faiss', 'streamlit') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "[]"
