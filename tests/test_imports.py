"""Imports: one way, one name per module, nothing heavy where it is not needed."""

import json
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter

import grimp
import pytest

ROOTS = ("core", "training", "indexes", "workbench", "sample_data")
CIRCLES = {"usad_workbench.core.encoders", "usad_workbench.training"}
"""Folders that still hold a circle: none may be added."""


def _loaded_after(code: str) -> set[str]:
    """Top names in ``sys.modules`` of a fresh interpreter after some code."""
    script = f"{code}\nimport sys, json\nsys.stdout.write(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout[done.stdout.rindex("[") :]))


def _loaded_with_blocked(code: str, blocked: tuple[str, ...]) -> None:
    """Runs code in an interpreter where some packages cannot be imported."""
    block = f"import sys\nfor name in {blocked!r}: sys.modules[name] = None\n"
    done = subprocess.run(
        [sys.executable, "-c", block + code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_help_imports_neither_torch_nor_streamlit() -> None:
    loaded = _loaded_after(
        "import contextlib, io\n"
        "from usad_workbench.workbench.cli import build_parser\n"
        "with contextlib.redirect_stdout(io.StringIO()): build_parser().print_help()"
    )
    assert "argparse" in loaded
    assert loaded.isdisjoint({"torch", "streamlit", "duckdb", "faiss"})


def test_measures_import_neither_torch_nor_streamlit() -> None:
    loaded = _loaded_after("from usad_workbench.core.similarity import debiased_linear_cka")
    assert "usad_workbench.core.similarity" in loaded
    assert loaded.isdisjoint({"torch", "streamlit", "duckdb", "faiss"})


def test_model_and_trainer_import_on_a_bare_gpu_machine() -> None:
    """It may have no duckdb, faiss, librosa, soundfile or Streamlit."""
    _loaded_with_blocked(
        "import usad_workbench.core.models.student, usad_workbench.training\n"
        "from usad_workbench.training import train",
        ("duckdb", "faiss", "librosa", "soundfile", "soxr", "streamlit", "umap", "plotly"),
    )


def test_no_module_is_imported_under_a_second_name() -> None:
    loaded = _loaded_after(
        "import usad_workbench.core.encoders.registry, usad_workbench.indexes, usad_workbench.training"
    )
    folders = ("core", "training", "indexes", "workbench", "sample_data")
    assert "usad_workbench.indexes" in loaded
    assert [name for name in loaded if name.split(".")[0] in folders] == []


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    """All imports, those inside functions and for type checkers only included."""
    return grimp.build_graph(
        *(f"usad_workbench.{root}" for root in ROOTS), exclude_type_checking_imports=False
    )


def test_no_folder_holds_a_circle(graph: grimp.ImportGraph) -> None:
    """Of the modules and subfolders of a folder, each imports only what does not import it.

    A subfolder counts as one, so that nothing in it may lean on a module beside it that is
    built on the subfolder. What its contents have of each other is asked of the subfolder.
    """
    folders = [name for name in graph.modules if graph.find_children(name)]
    assert len(folders) > 20
    circles = {}
    for folder in folders:
        try:
            TopologicalSorter(_neighbours_in(graph, folder)).prepare()
        except CycleError as error:
            circles[folder] = error.args[1]
    assert {name: circle for name, circle in circles.items() if name not in CIRCLES} == {}


def _neighbours_in(graph: grimp.ImportGraph, folder: str) -> dict[str, set[str]]:
    """Of each child of a folder, and the folder's own ``__init__``, what it imports of them."""
    owner = {folder: folder}
    for child in graph.find_children(folder):
        owner |= dict.fromkeys({child} | graph.find_descendants(child), child)
    neighbours: dict[str, set[str]] = {name: set() for name in owner.values()}
    for module, child in owner.items():
        imported = {
            owner.get(name, child) for name in graph.find_modules_directly_imported_by(module)
        }
        neighbours[child] |= imported - {child}
    return neighbours


def test_names_of_a_run_folder_need_no_torch() -> None:
    """The pages and commands that only look at runs import them."""
    loaded = _loaded_after("from usad_workbench.training.run_folder import LOG_FILE, read_json")
    assert loaded.isdisjoint({"torch", "streamlit", "duckdb", "faiss", "pandas"})
