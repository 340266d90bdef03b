"""Distillation of several frozen teachers into one student.

``train`` runs a recipe; the modules below it are its parts.
"""

from usad_workbench.training.run import TrainResult, train
from usad_workbench.training.runlog import read_log

__all__ = ["TrainResult", "read_log", "train"]
