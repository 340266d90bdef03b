"""Distillation of several frozen teachers into one student.

``train`` runs a recipe, ``load_recipe`` reads one, ``read_log`` reads the log of a run,
``ship`` copies a finished run to a folder to pass on, ``fine_tune`` trains a student on a
benchmark's labels. Each is imported when it is first used: what only looks at run folders
stays free of torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from usad_workbench.training.finetune import fine_tune
    from usad_workbench.training.recipe import load_recipe
    from usad_workbench.training.release import ship
    from usad_workbench.training.run import TrainResult, train
    from usad_workbench.training.runlog import read_log

__all__ = ["TrainResult", "fine_tune", "load_recipe", "read_log", "ship", "train"]

_MODULES = {
    "TrainResult": "run",
    "fine_tune": "finetune",
    "load_recipe": "recipe",
    "read_log": "runlog",
    "ship": "release",
    "train": "run",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
