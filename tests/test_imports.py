"""Imports: one way, one name per module, nothing heavy where it is not needed."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.stored_vectors import store


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


def test_a_search_from_a_stored_clip_imports_neither_maps_nor_models(tmp_path: Path) -> None:
    store(tmp_path / "w", np.eye(4))
    loaded = _loaded_after(
        "from usad_workbench.workbench.cli import main\n"
        f"assert main(['search', '--workspace', {str(tmp_path / 'w')!r}, '--clip', 'c000001', "
        "'--encoder', 'made', '--layer', '0', '--json']) == 0"
    )
    assert "duckdb" in loaded
    assert loaded.isdisjoint({"torch", "sklearn", "umap", "scipy", "librosa", "streamlit"})


@pytest.mark.parametrize(
    ("n", "method"), [(4, "pca"), pytest.param(40, "umap", marks=pytest.mark.slow)]
)
def test_without_faiss_everything_but_an_index_works(tmp_path: Path, n: int, method: str) -> None:
    """Maps too; and the demo passes over its indexes."""
    store(tmp_path / "w", np.random.default_rng(0).normal(size=(n, 6)))
    folder = str(tmp_path / "w")
    _loaded_with_blocked(
        "import contextlib, io\n"
        "from usad_workbench.core import Workspace\n"
        "from usad_workbench.indexes import search\n"
        "from usad_workbench.indexes.check import check_workspace\n"
        "from usad_workbench.workbench.cli import main\n"
        f"w = Workspace.open({folder!r})\n"
        "hits = search(w, w.embeddings('made', 0).vectors[2], 'made', 0, k=1)\n"
        "assert hits.segment_ids.tolist() == [2]\n"
        "assert check_workspace(w) == []\n"
        f"assert main(['project', '--workspace', {folder!r}, '--json']) == 0\n"
        "made = w.read('SELECT method, count(*) AS n FROM projections GROUP BY ALL')\n"
        f"assert made.values.tolist() == [[{method!r}, {n}]]\n"
        "said = io.StringIO()\n"
        "with contextlib.redirect_stderr(said):\n"
        f"    assert main(['index', '--workspace', {folder!r}]) == 2\n"
        "assert 'usad-workbench[faiss]' in said.getvalue(), said.getvalue()\n"
        "from usad_workbench.workbench import demo\n"
        "demo._index_and_project(demo._Demo(workspace=w), lambda *_: None)\n"
        "assert w.read('SELECT count(*) AS n FROM indexes').n[0] == 0\n",
        ("faiss",),
    )
