"""Imports: one way, one name per module, nothing heavy where it is not needed."""

import json
import subprocess
import sys


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
