"""The library: audio, encoders, measures, workspaces, diagnosis.

Put ``usad_workbench.`` before the folder path: ``core/storage/workspace.py`` is
``usad_workbench.core.storage.workspace``. The names that most people need are here: a
workspace and an encoder, one call for each job, and a few measures. Each is imported when it is
first used, so that ``usad --help`` and the measures stay light.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from usad_workbench.core.diagnosis.run import diagnose
    from usad_workbench.core.embedding import embed
    from usad_workbench.core.encoders.registry import get_weights, load_encoder
    from usad_workbench.core.evaluation.evaluate import evaluate
    from usad_workbench.core.probes import evaluate_probe
    from usad_workbench.core.similarity import (
        cknna,
        debiased_linear_cka,
        layer_similarity,
        mutual_knn,
    )
    from usad_workbench.core.storage.segment_frame import selection
    from usad_workbench.core.storage.workspace import Workspace

    __version__: str

__all__ = [
    "Workspace",
    "__version__",
    "cknna",
    "debiased_linear_cka",
    "diagnose",
    "embed",
    "evaluate",
    "evaluate_probe",
    "get_weights",
    "layer_similarity",
    "load_encoder",
    "mutual_knn",
    "selection",
]

_MODULES = {
    "Workspace": "storage.workspace",
    "cknna": "similarity",
    "debiased_linear_cka": "similarity",
    "diagnose": "diagnosis.run",
    "embed": "embedding",
    "evaluate": "evaluation.evaluate",
    "evaluate_probe": "probes",
    "get_weights": "encoders.registry",
    "layer_similarity": "similarity",
    "load_encoder": "encoders.registry",
    "mutual_knn": "similarity",
    "selection": "storage.segment_frame",
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("usad-workbench")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
